//! The commands: their words, their arguments, and what they print.

use super::Manager;
use crate::exit::{Exit, Failure};

/// The most arguments a command has.
const MOST: usize = 4;

/// A command. What is left out at the end is the empty text: the own cgroup.
pub(super) struct Command {
    pub(super) word: &'static str,
    /// As the usage shows them; those in brackets may be left out.
    pub(super) arguments: &'static [&'static str],
    pub(super) run: fn(&mut Manager, [&str; MOST]) -> Result<(), Failure>,
}

const fn command(
    word: &'static str,
    arguments: &'static [&'static str],
    run: fn(&mut Manager, [&str; MOST]) -> Result<(), Failure>,
) -> Command {
    Command { word, arguments, run }
}

/// What a failure calls both.
const MOVE: &str = "move_pid_main_sync";

const CGROUP: &[&str] = &["<controller>", "<cgroup>"];
const OWN: &[&str] = &["<controller>", "[cgroup]"];
const PID: &[&str] = &["<controller>", "pid"];
const PID_TO: &[&str] = &["<controller>", "<cgroup>", "pid"];

/// All of them, in the order of the usage.
pub(super) const COMMANDS: &[Command] = &[
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
    command("movepid", PID_TO, |m, [c, path, pid, _]| {
        m.call_as(MOVE, "MovePid", &(c, path, number(pid)?))
    }),
    command("movepidabs", PID_TO, |m, [c, path, pid, _]| {
        m.call_as(MOVE, "MovePidAbs", &(c, path, number(pid)?))
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
    command("apiversion", &[], |m, _| {
        let version = m.api_version()?;
        m.print(&version.to_string())
    }),
];

fn create(manager: &mut Manager, [controller, path, ..]: [&str; MOST]) -> Result<(), Failure> {
    let existed: i32 = manager.call("Create", &(controller, path))?;
    if existed == 1 { manager.print("Path existed") } else { Ok(()) }
}

fn remove(manager: &mut Manager, [controller, path, how, _]: [&str; MOST]) -> Result<(), Failure> {
    let recursive = i32::from(how != "0");
    let name = ["remove_sync (non-recursive)", "remove_sync (recursive)"][usize::from(how != "0")];
    let existed: i32 = manager.call_as(name, "Remove", &(controller, path, recursive))?;
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

fn number(text: &str) -> Result<i32, Failure> {
    let number = text.trim().parse();
    number.map_err(|_| Failure::new(Exit::Other, format!("Bad pid: {text}")))
}

fn id(text: &str) -> Result<i32, Failure> {
    let id = text.trim().parse().ok().filter(|id| (0..i32::MAX).contains(id));
    id.ok_or_else(|| Failure::new(Exit::Other, format!("Bad uid or gid: {text}")))
}

fn mode(text: &str) -> Result<i32, Failure> {
    let mode = i32::from_str_radix(text.trim(), 8).ok().filter(|mode| *mode >= 0);
    mode.ok_or_else(|| Failure::new(Exit::Other, format!("Bad mode: {text}")))
}

impl Command {
    /// The arguments with what was left out, if they are as many as they should be. Who takes none
    /// passes over what is there.
    pub(super) fn padded<'a>(&self, given: &[&'a str]) -> Option<[&'a str; MOST]> {
        let given = if self.arguments.is_empty() { &[] } else { given };
        let needed = self.arguments.iter().filter(|name| !name.starts_with('[')).count();
        let mut all = [""; MOST];
        all.get_mut(..given.len())?.copy_from_slice(given);
        (needed..=self.arguments.len()).contains(&given.len()).then_some(all)
    }
}

#[cfg(test)]
mod tests {
    use cgroupd_proto::cgmanager::METHODS;

    use super::*;

    #[test]
    fn every_method_has_its_command() {
        let words: Vec<&str> = COMMANDS.iter().map(|command| command.word).collect();
        // The forms with a socket are for proxies.
        let methods = METHODS.iter().filter(|method| !method.member.ends_with("Scm"));
        let methods: Vec<String> = methods.map(|method| method.member.to_lowercase()).collect();
        for method in &methods {
            assert!(words.contains(&method.as_str()), "{method}");
        }
        assert_eq!(words.len(), methods.len() + ["chmodfile", "apiversion"].len());
    }

    #[test]
    fn only_what_is_in_brackets_may_be_left_out() {
        let padded = |word: &str, given: &[&'static str]| {
            COMMANDS.iter().find(|command| command.word == word).unwrap().padded(given)
        };
        assert_eq!(padded("listkeys", &["memory"]), Some(["memory", "", "", ""]));
        assert_eq!(padded("listkeys", &["memory", "a"]), Some(["memory", "a", "", ""]));
        assert_eq!(padded("chown", &["memory", "a", "1", "2"]), Some(["memory", "a", "1", "2"]));
        assert_eq!(padded("ping", &["0", "1", "2", "3", "4"]), Some([""; MOST]));
        for (word, given) in [
            ("listkeys", &[][..]),
            ("create", &["memory"]),
            ("create", &["memory", "a", "b"]),
            ("chown", &["memory", "a", "1", "2", "3"]),
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
}
