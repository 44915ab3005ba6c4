//! `cgm`: what cgctl is when it is started by that name. It takes the commands of cgmanager's
//! client and prints what that printed, by calls of cgmanager's interface, so that scripts which
//! were written for it go on working. Whatever fails ends in status 1, as it did.

use std::{
    env,
    ffi::OsStr,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use cgroupd_proto::{ADDRESS_VARIABLE, cgmanager::SOCKET};
use serde::{Serialize, de::DeserializeOwned};
use zbus::{DynamicType, Type};

use crate::{
    address::Address,
    connect::{CallError, Link},
    exit::{Exit, Failure, words},
    output::{Output, printable},
    request::{self, Request},
};

/// How long a command may take: as long as one of cgctl.
const TIMEOUT: Duration = Duration::from_secs(25);

/// The most arguments a command has.
const MOST: usize = 4;

/// A command. What is left out at the end is the empty text: the own cgroup.
struct Command {
    word: &'static str,
    /// As the usage shows them; those in brackets may be left out.
    arguments: &'static [&'static str],
    run: fn(&mut Manager, [&str; MOST]) -> Result<(), Failure>,
}

const fn command(
    word: &'static str,
    arguments: &'static [&'static str],
    run: fn(&mut Manager, [&str; MOST]) -> Result<(), Failure>,
) -> Command {
    Command { word, arguments, run }
}

const CGROUP: &[&str] = &["<controller>", "<cgroup>"];
const OWN: &[&str] = &["<controller>", "[cgroup]"];
const PID: &[&str] = &["<controller>", "pid"];
const PID_TO: &[&str] = &["<controller>", "<cgroup>", "pid"];

const COMMANDS: &[Command] = &[
    command("ping", &[], |m, _| m.call("Ping", &0)),
    command("create", CGROUP, create),
    command("chown", &["<controller>", "<cgroup>", "uid", "gid"], |m, [c, path, uid, gid]| {
        m.call("Chown", &(c, path, id(uid)?, id(gid)?))
    }),
    command("chmod", &["<controller>", "<cgroup>", "mode"], |m, [c, path, bits, _]| {
        m.call("Chmod", &(c, path, "", mode(bits)?))
    }),
    command(
        "chmodfile",
        &["<controller>", "<cgroup>", "file", "mode"],
        |m, [c, path, file, bits]| m.call("Chmod", &(c, path, file, mode(bits)?)),
    ),
    command("remove", &["<controller>", "<cgroup>", "[0|1]"], remove),
    command("getpidcgroup", PID, |m, [c, pid, ..]| {
        let path: String = m.call("GetPidCgroup", &(c, number(pid)?))?;
        m.print(&path)
    }),
    command("getpidcgroupabs", PID, |m, [c, pid, ..]| {
        let path: String = m.call("GetPidCgroupAbs", &(c, number(pid)?))?;
        m.print(&path)
    }),
    command("movepid", PID_TO, |m, [c, path, pid, _]| m.call("MovePid", &(c, path, number(pid)?))),
    command("movepidabs", PID_TO, |m, [c, path, pid, _]| {
        m.call("MovePidAbs", &(c, path, number(pid)?))
    }),
    command("getvalue", &["<controller>", "<cgroup>", "file"], get_value),
    command(
        "setvalue",
        &["<controller>", "<cgroup>", "file", "value"],
        |m, [c, path, file, to]| m.call("SetValue", &(c, path, file, to)),
    ),
    command("gettasks", OWN, |m, [c, path, ..]| {
        let pids: Vec<i32> = m.call("GetTasks", &(c, path))?;
        m.print_each(pids)
    }),
    command("gettasksrecursive", OWN, |m, [c, path, ..]| {
        let pids: Vec<i32> = m.call("GetTasksRecursive", &(c, path))?;
        m.print_each(pids)
    }),
    command("listchildren", OWN, |m, [c, path, ..]| {
        let names: Vec<String> = m.call("ListChildren", &(c, path))?;
        m.print_each(names)
    }),
    command("removeonempty", CGROUP, |m, [c, path, ..]| m.call("RemoveOnEmpty", &(c, path))),
    command("prune", OWN, |m, [c, path, ..]| m.call("Prune", &(c, path))),
    command("listcontrollers", &[], |m, _| {
        let names: Vec<String> = m.call("ListControllers", &())?;
        m.print_each(names)
    }),
    command("listkeys", OWN, list_keys),
    command("apiversion", &[], api_version),
];

fn create(manager: &mut Manager, [controller, path, ..]: [&str; MOST]) -> Result<(), Failure> {
    let existed: i32 = manager.call("Create", &(controller, path))?;
    if existed == 1 { manager.print("Path existed") } else { Ok(()) }
}

fn remove(manager: &mut Manager, [controller, path, how, _]: [&str; MOST]) -> Result<(), Failure> {
    let recursive = i32::from(how != "0");
    let existed: i32 = manager.call("Remove", &(controller, path, recursive))?;
    if existed == -1 { manager.print("Path did not exist") } else { Ok(()) }
}

/// As the file has it: it may be several lines.
fn get_value(
    manager: &mut Manager,
    [controller, path, file, _]: [&str; MOST],
) -> Result<(), Failure> {
    let value: String = manager.call("GetValue", &(controller, path, file))?;
    manager.output.raw(value.as_bytes())?;
    Ok(manager.output.raw(b"\n")?)
}

fn list_keys(manager: &mut Manager, [controller, path, ..]: [&str; MOST]) -> Result<(), Failure> {
    let keys: Vec<(String, u32, u32, u32)> = manager.call("ListKeys", &(controller, path))?;
    manager.print_each(
        keys.iter().map(|(name, uid, gid, mode)| format!("{name} {uid} {gid} {mode:o}")),
    )
}

fn api_version(manager: &mut Manager, _: [&str; MOST]) -> Result<(), Failure> {
    let name = "get_api_version";
    let version = manager.ask(request::cgmanager_version(), name)?;
    let garbled = |_| failure(CallError::Garbled("it is no number".to_owned()), name);
    let version = i32::try_from(version).map_err(garbled)?;
    manager.print(&version.to_string())
}

fn number(text: &str) -> Result<i32, Failure> {
    text.parse().map_err(|_| Failure::new(Exit::Other, format!("Bad pid: {text}")))
}

fn id(text: &str) -> Result<i32, Failure> {
    let id = text.parse().ok().filter(|id| (0..i32::MAX).contains(id));
    id.ok_or_else(|| Failure::new(Exit::Other, format!("Bad uid or gid: {text}")))
}

fn mode(text: &str) -> Result<i32, Failure> {
    let mode = i32::from_str_radix(text, 8).ok().filter(|mode| *mode >= 0);
    mode.ok_or_else(|| Failure::new(Exit::Other, format!("Bad mode: {text}")))
}

/// The service that is asked, and where its answers go.
struct Manager {
    link: Link,
    output: Output,
}

impl Manager {
    /// Calls a method of cgmanager's interface.
    fn call<B, R>(&mut self, member: &str, body: &B) -> Result<R, Failure>
    where
        B: Serialize + DynamicType,
        R: DeserializeOwned + Type,
    {
        self.ask(request::cgmanager(member, body), &snake(member))
    }

    fn ask<R>(&mut self, request: Request<R>, name: &str) -> Result<R, Failure>
    where
        R: DeserializeOwned + Type,
    {
        let ticket = self.link.send(request);
        let answer = ticket.and_then(|ticket| self.link.receive(&ticket));
        answer.map_err(|error| failure(error, name))
    }

    fn print(&mut self, line: &str) -> Result<(), Failure> {
        Ok(self.output.line(line)?)
    }

    fn print_each(&mut self, lines: impl IntoIterator<Item: ToString>) -> Result<(), Failure> {
        lines.into_iter().try_for_each(|line| self.print(&line.to_string()))
    }
}

/// What its library called the function.
fn snake(member: &str) -> String {
    let mut name = String::new();
    for (at, letter) in member.char_indices() {
        if letter.is_ascii_uppercase() && at > 0 {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// The texts of its library, which say no more than `invalid request` of whatever is refused.
fn failure(error: CallError, name: &str) -> Failure {
    let why = match error {
        CallError::Refused { text, .. } if !text.is_empty() => text.trim_end().to_owned(),
        CallError::Refused { name, .. } => name,
        CallError::Unreachable(error) => words(&error),
        CallError::Closed(why) => why,
        CallError::TimedOut => format!("no answer within {} s", TIMEOUT.as_secs()),
        CallError::Garbled(what) => what,
    };
    let failure = Failure::new(Exit::Other, format!("call to cgmanager_{name}_sync failed: {why}"));
    match why.as_str() {
        "invalid request" => failure.hint("the daemon's log says why; so does cgctl"),
        _ => failure,
    }
}

/// Whether the program was started as `cgm`.
pub(crate) fn is_meant() -> bool {
    let program = env::args_os().next().unwrap_or_default();
    Path::new(&program).file_name() == Some(OsStr::new("cgm"))
}

/// Runs the command on the command line.
pub(crate) fn main() -> ExitCode {
    let words: Vec<String> =
        env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => Exit::Ok,
        Err(failure) => tell(&failure),
    }
    .into()
}

fn run(words: &[&str]) -> Result<(), Failure> {
    let mut output = Output::new(false, false);
    let Some((word, arguments)) = words.split_first() else { return usage(&mut output) };
    match *word {
        "-h" | "--help" => return usage(&mut output),
        "--version" => return Ok(output.line(env!("CARGO_PKG_VERSION"))?),
        _ => {}
    }
    let Some(command) = COMMANDS.iter().find(|command| command.word == *word) else {
        output.line(&format!("Unknown command: {word}"))?;
        return usage(&mut output);
    };
    let Some(arguments) = command.padded(arguments) else { return usage(&mut output) };
    let address = address()?;
    let link = Link::open(&address, Instant::now() + TIMEOUT);
    let link = link.map_err(|error| unreachable(error, &address))?;
    let mut manager = Manager { link, output };
    let done = (command.run)(&mut manager, arguments);
    // What was printed before a failure counts, too.
    manager.output.flush()?;
    done
}

impl Command {
    /// The arguments with what was left out, if they are as many as they should be.
    fn padded<'a>(&self, given: &[&'a str]) -> Option<[&'a str; MOST]> {
        let needed = self.arguments.iter().filter(|name| !name.starts_with('[')).count();
        let mut all = [""; MOST];
        all.get_mut(..given.len())?.copy_from_slice(given);
        (needed..=self.arguments.len()).contains(&given.len()).then_some(all)
    }
}

/// Where the variable says; else the old socket where there is one, else ours.
fn address() -> Result<Address, Failure> {
    let is_told = env::var_os(ADDRESS_VARIABLE).is_some_and(|value| !value.is_empty());
    let old = !is_told && Path::new(SOCKET).exists();
    Address::choose(old.then(|| SOCKET.to_owned()))
}

fn unreachable(error: CallError, address: &Address) -> Failure {
    let why = match error {
        CallError::Unreachable(error) => words(&error),
        _ => format!("no answer within {} s", TIMEOUT.as_secs()),
    };
    let text = format!("Failed opening dbus connection: {address}: {why}");
    Failure::new(Exit::Other, text).hint(address.how_to_start())
}

/// Ends in failure, as it always did.
fn usage(output: &mut Output) -> Result<(), Failure> {
    output.line("Usage:")?;
    for Command { word, arguments, .. } in COMMANDS {
        output.line(
            &["  cgm", word].iter().chain(*arguments).copied().collect::<Vec<_>>().join(" "),
        )?;
    }
    output.line("A controller is one (memory), several (memory,pids) or all of them (all).")?;
    output.line("A cgroup is relative to your own, which is ''. A mode is octal.")?;
    output.line("remove takes what is below along, but with 0.")?;
    output.flush()?;
    Err(Failure::new(Exit::Other, ""))
}

fn tell(failure: &Failure) -> Exit {
    let lines =
        [Some(failure.text.clone()), failure.hint.as_ref().map(|hint| format!("hint: {hint}"))];
    for line in lines.into_iter().flatten().filter(|line| !line.is_empty()) {
        // There is nowhere left to complain to.
        let _ = writeln!(io::stderr(), "{}", printable(&line));
    }
    failure.exit
}

#[cfg(test)]
mod tests {
    use cgroupd_proto::cgmanager::METHODS;

    use super::*;

    #[test]
    fn every_method_has_its_command() {
        let words: Vec<&str> = COMMANDS.iter().map(|command| command.word).collect();
        for method in METHODS {
            assert!(words.contains(&method.member.to_lowercase().as_str()), "{}", method.member);
        }
        assert_eq!(words.len(), METHODS.len() + ["chmodfile", "apiversion"].len());
    }

    #[test]
    fn only_what_is_in_brackets_may_be_left_out() {
        let padded = |word: &str, given: &[&'static str]| {
            COMMANDS.iter().find(|command| command.word == word).unwrap().padded(given)
        };
        assert_eq!(padded("listkeys", &["memory"]), Some(["memory", "", "", ""]));
        assert_eq!(padded("listkeys", &["memory", "a"]), Some(["memory", "a", "", ""]));
        assert_eq!(padded("chown", &["memory", "a", "1", "2"]), Some(["memory", "a", "1", "2"]));
        for (word, given) in [
            ("listkeys", &[][..]),
            ("create", &["memory"]),
            ("create", &["memory", "a", "b"]),
            ("chown", &["memory", "a", "1", "2", "3"]),
            ("ping", &["0"]),
        ] {
            assert_eq!(padded(word, given), None, "{word} {given:?}");
        }
    }

    #[test]
    fn numbers_are_whole_and_in_range() {
        assert_eq!(
            (number("17").unwrap(), id("0").unwrap(), mode("0775").unwrap()),
            (17, 0, 0o775)
        );
        assert!(number("17x").is_err() && number("").is_err());
        assert!(id("-1").is_err() && id("2147483647").is_err());
        assert!(mode("8").is_err() && mode("-1").is_err());
    }

    #[test]
    fn functions_are_called_as_in_the_library() {
        assert_eq!(snake("GetPidCgroupAbs"), "get_pid_cgroup_abs");
        assert_eq!(snake("Ping"), "ping");
    }
}
