//! `cgm`: what cgctl is when it is started by that name. It takes the commands of cgmanager's
//! client and prints what that printed, by calls of cgmanager's interface, so that scripts which
//! were written for it go on working. Whatever fails ends in status 1, as it did.

mod commands;

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{self, Write},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use cgroupd_proto::{ADDRESS_VARIABLE, cgmanager::SOCKET, printable};
use serde::{Serialize, de::DeserializeOwned};
use zbus::{DynamicType, Type};

use crate::{
    address::Address,
    connect::{CallError, Link},
    exit::{Exit, Failure, words},
    output::Output,
    request::{self, Request},
    session,
};
use commands::{COMMANDS, Command};

/// How long a command may take: as long as one of cgctl.
const TIMEOUT: Duration = Duration::from_secs(25);

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
        self.call_as(&format!("{}_sync", snake(member)), member, body)
    }

    /// The same, where a failure calls the function otherwise.
    fn call_as<B, R>(&mut self, name: &str, member: &str, body: &B) -> Result<R, Failure>
    where
        B: Serialize + DynamicType,
        R: DeserializeOwned + Type,
    {
        self.ask(request::cgmanager(member, body), name)
    }

    fn api_version(&mut self) -> Result<i32, Failure> {
        let name = "get_api_version_sync";
        let version = self.ask(request::cgmanager_version(), name)?;
        let garbled = |_| failure(CallError::Garbled("it is no number".to_owned()), name);
        i32::try_from(version).map_err(garbled)
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

/// What its library called the function of a method.
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

/// Its texts, which say no more than `invalid request` of whatever is refused.
fn failure(error: CallError, name: &str) -> Failure {
    let why = match error {
        CallError::Refused { text, .. } if !text.is_empty() => text.trim_end().to_owned(),
        CallError::Refused { name, .. } => name,
        CallError::Unreachable(error) => words(&error),
        CallError::Closed(why) => why,
        CallError::TimedOut => format!("no answer within {} s", TIMEOUT.as_secs()),
        CallError::Garbled(what) => what,
    };
    let (why, hint) = match why.split_once("\nhint: ") {
        Some((why, hint)) => (why, Some(hint)),
        None if why == "invalid request" => {
            (why.as_str(), Some("the daemon's log says why; so does cgctl"))
        }
        None => (why.as_str(), None),
    };
    let text = format!("call to cgmanager_{name} failed: {why}");
    Failure { hint: hint.map(str::to_owned), ..Failure::new(Exit::Other, text) }
}

/// Whether the program was started as `cgm`.
pub(crate) fn started_as_cgm() -> bool {
    let program = env::args_os().next().unwrap_or_default();
    Path::new(&program).file_name() == Some(OsStr::new("cgm"))
}

/// Runs the command on the command line.
pub(crate) fn main() -> ExitCode {
    let words: Result<Vec<String>, OsString> =
        env::args_os().skip(1).map(OsString::into_string).collect();
    let done = words.map_err(|word| unreadable(&word)).and_then(|words| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        run(&words)
    });
    done.map_or_else(|failure| tell(&failure), |()| Exit::Ok).into()
}

/// A name that is not text cannot be sent, and another one is not meant.
fn unreadable(word: &OsStr) -> Failure {
    Failure::new(Exit::Other, format!("{word:?} is not UTF-8"))
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
    let mut manager = Manager { link: connect()?, output };
    let done = (command.run)(&mut manager, arguments);
    // What was printed before a failure counts, too.
    let flushed = manager.output.flush();
    done?;
    Ok(flushed?)
}

/// Where the variable says; else at the old socket, and where nobody listens there at ours.
fn connect() -> Result<Link, Failure> {
    let end = Instant::now() + TIMEOUT;
    let is_told = env::var_os(ADDRESS_VARIABLE).is_some_and(|value| !value.is_empty());
    if !is_told {
        let old = Address::choose(Some(SOCKET.to_owned()))?;
        match Link::open(&old, end) {
            Err(CallError::Unreachable(error)) if is_nobody(&error) => {}
            opened => return opened.map_err(|error| unreachable(error, &old)),
        }
    }
    let address = Address::choose(None)?;
    Link::open(&address, end).map_err(|error| unreachable(error, &address))
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn unreachable(error: CallError, address: &Address) -> Failure {
    let doing = "connect";
    let CallError::Unreachable(error) = error else {
        return failure(error, doing);
    };
    let text = format!("Failed opening dbus connection: {address}: {}", words(&error));
    Failure { text, ..session::unreachable(&error, address, doing) }
}

/// What is said below the list of commands.
const NOTES: [&str; 4] = [
    "A controller is a name, such as memory. Several (memory,pids) or all of them (all)",
    "are for create, chown, chmod, chmodfile, remove, movepid, movepidabs, prune,",
    "removeonempty and gettasksrecursive. A cgroup is relative to your own, which is ''.",
    "A mode is octal. remove is recursive unless the last argument is 0.",
];

/// Ends in failure, as it always did.
fn usage(output: &mut Output) -> Result<(), Failure> {
    output.line("Usage:")?;
    for Command { word, arguments, .. } in COMMANDS {
        output.line(&[&["  cgm", word], *arguments].concat().join(" "))?;
    }
    NOTES.iter().try_for_each(|line| output.line(line))?;
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
    Exit::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_called_as_in_the_library() {
        assert_eq!(snake("GetPidCgroupAbs"), "get_pid_cgroup_abs");
        assert_eq!(snake("Ping"), "ping");
    }
}
