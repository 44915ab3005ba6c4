//! The command line: what there is to say, and how.
//!
//! Only its form is judged here. Paths and limits go to the daemon as they are, so that every
//! client is told the same.

use std::{ffi::OsString, time::Duration};

use cgroupd_proto::CONTROLLERS;
use clap::{Args, Parser, Subcommand, builder::NonEmptyStringValueParser};

/// Manage cgroups through cgroupd, without write access to cgroupfs
#[derive(Debug, Parser)]
#[command(name = "cgctl", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// A D-Bus address (unix:path=…) or the path of the daemon's socket [env: CGROUPD_ADDRESS]
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub(crate) address: Option<String>,
    /// Print JSON, one document per line
    #[arg(short, long, global = true)]
    pub(crate) json: bool,
    /// Print only what was asked for
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Give up after this time; events are waited for without end
    #[arg(long, global = true, value_name = "SECONDS", default_value = "25", value_parser = seconds)]
    pub(crate) timeout: Duration,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
A PATH starts at your home (`cgctl whoami`); one with a leading / at the top of what you may see.

Exit status: 0 ok, 1 other, 2 usage, 3 not found, 4 denied, 5 busy, 6 no daemon, \
7 done for some paths only, 8 bad value or path, 124 timeout.";

const RUN_HELP: &str = "\
Exit status: that of CMD, 128 and its number after a signal, 125 when cgctl could not run it, 126 when \
it is no program, 127 when it is not there. The report is on standard error; what CMD has left running \
is killed.";

const ENTER_HELP: &str = "\
Exit status: that of CMD, 125 when cgctl could not run it, 126 when it is no program, 127 when it is not \
there; without CMD as for all commands. Root has no home to go to: it names a PATH.";

/// What to do.
// Deferred: of all the commands only the one that is used gets its arguments built, which is a
// tenth of the time the process takes.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Make cgroups, with limits
    Create {
        /// The cgroups to make; memory,pids:PATH is short for --controllers
        #[arg(required = true, value_name = "PATH", value_parser = NonEmptyStringValueParser::new())]
        paths: Vec<String>,
        /// Only in the hierarchies of these controllers, e.g. memory,pids
        #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
        controllers: Vec<String>,
        /// Remove them once they have been used and are empty again
        #[arg(long)]
        when_empty: bool,
        /// Move no processes out of the way of controllers, in a container on cgroup v2
        #[arg(long)]
        no_evacuate: bool,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Set limits of a cgroup, all or none
    Set {
        /// The cgroup
        #[arg(value_parser = path)]
        path: String,
        /// Limits by name, as with --limit
        #[arg(value_name = "NAME=VALUE", value_parser = pair)]
        pairs: Vec<(String, String)>,
        /// Check everything, change nothing
        #[arg(long)]
        dry_run: bool,
        /// Set memory.max even below what is in use, which may kill
        #[arg(long)]
        force: bool,
        /// Move no processes out of the way of controllers, in a container on cgroup v2
        #[arg(long)]
        no_evacuate: bool,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Show limits of a cgroup: those that are set, or those named
    Get {
        /// The cgroup
        #[arg(value_parser = path)]
        path: String,
        /// One NAME prints its bare value, as the kernel has it
        #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        names: Vec<String>,
    },
    /// Move processes into a cgroup
    Move {
        /// The cgroup they move to
        #[arg(value_parser = path)]
        path: String,
        /// Their numbers, as `ps` shows them to you
        #[arg(required = true, value_name = "PID")]
        pids: Vec<String>,
    },
    /// List the processes of a cgroup
    Ps {
        /// Those of the cgroups below as well
        #[arg(short, long)]
        recursive: bool,
        /// The cgroup
        #[arg(value_parser = path)]
        path: String,
    },
    /// List the cgroups below one
    Ls {
        /// With mode, owner, number of children, and controllers
        #[arg(short, long)]
        long: bool,
        /// All levels
        #[arg(short, long)]
        recursive: bool,
        /// The cgroup to look below [default: your own]
        #[arg(value_parser = path)]
        path: Option<String>,
    },
    /// Draw the cgroups below one
    Tree {
        /// The cgroup to look below [default: your own]
        #[arg(value_parser = path)]
        path: Option<String>,
    },
    /// Run a command in a cgroup of its own, report what it used, and remove the cgroup
    #[command(after_help = RUN_HELP)]
    Run {
        /// The cgroup to make the new one in; if that is made for it, it stays [default: your home]
        #[arg(long = "in", value_name = "PATH", value_parser = path)]
        parent: Option<String>,
        /// What to call it [default: a name that nobody has]
        #[arg(long, value_parser = name)]
        name: Option<String>,
        /// The command and its arguments
        #[arg(required = true, value_name = "CMD", trailing_var_arg = true)]
        command: Vec<OsString>,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Go to a cgroup that has none below it, so that runtimes can make theirs beside it
    #[command(after_help = ENTER_HELP)]
    Enter {
        /// The cgroup, made if need be [default: `session` in your home]
        #[arg(value_parser = path)]
        path: Option<String>,
        /// The command that goes there [default: the shell that has called cgctl]
        #[arg(last = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Become a command in a cgroup: the part of `run` that is its child
    #[command(hide = true)]
    Become {
        path: String,
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<OsString>,
    },
    /// Show what cgroups use
    Stat {
        /// The cgroups [default: your own]
        #[arg(value_name = "PATH", value_parser = path)]
        paths: Vec<String>,
    },
    /// Remove cgroups
    Rm {
        /// And the cgroups below them
        #[arg(short, long)]
        recursive: bool,
        /// Kill the processes that are in them
        #[arg(short = 'f', long)]
        kill: bool,
        /// Now if they are empty, else as soon as they are
        #[arg(long, conflicts_with_all = ["recursive", "kill"])]
        when_empty: bool,
        /// The cgroups to remove
        #[arg(required = true, value_name = "PATH", value_parser = path)]
        paths: Vec<String>,
    },
    /// Stop all processes of cgroups
    Freeze {
        /// The cgroups to freeze
        #[arg(required = true, value_name = "PATH", value_parser = path)]
        paths: Vec<String>,
    },
    /// Let the processes of frozen cgroups run again
    Thaw {
        /// The cgroups to thaw
        #[arg(required = true, value_name = "PATH", value_parser = path)]
        paths: Vec<String>,
    },
    /// Kill all processes of cgroups, or send them another signal
    Kill {
        /// The signal, by name or number
        #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
        signal: String,
        /// The cgroups whose processes are meant
        #[arg(required = true, value_name = "PATH", value_parser = path)]
        paths: Vec<String>,
    },
    /// Tell what happens in a cgroup, a line for each event, until it is removed
    Watch {
        /// The cgroup
        #[arg(value_parser = path)]
        path: String,
        /// populated, empty, oom, oom_kill, max, high, frozen, thawed, pids_max, removed [default:
        /// all that it can tell of]
        #[arg(value_name = "EVENT", value_parser = NonEmptyStringValueParser::new())]
        events: Vec<String>,
    },
    /// Show what the daemon thinks of you
    Whoami,
    /// Show the daemon's version and what this machine offers
    Info,
    /// Check what this host offers, what is missing, and what to do about it
    #[command(after_help = "Exit status: 0 nothing is blocked, 1 there is a problem.")]
    Doctor,
    /// Give cgroups to a user
    Chown {
        /// And the cgroups below them
        #[arg(short = 'R', long)]
        recursive: bool,
        /// Names or decimal ids; USER alone means its own group, too
        #[arg(value_name = "USER[:GROUP]")]
        owner: String,
        /// The cgroups to give
        #[arg(required = true, value_name = "PATH", value_parser = path)]
        paths: Vec<String>,
    },
    /// Hand a cgroup over to a user, with its controllers and limits
    Delegate {
        /// Name or decimal id of its new owner; USER alone means its own group, too
        #[arg(value_name = "USER[:GROUP]")]
        owner: String,
        /// The cgroup, made if need be [default: users/UID, where paths of a user of the host start]
        #[arg(value_parser = path)]
        path: Option<String>,
        /// Only in the hierarchies of these controllers, e.g. memory,pids
        #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
        controllers: Vec<String>,
        /// Take it back, and remove it, if no process is in it
        #[arg(long, conflicts_with_all = ["controllers", "no_evacuate", "memory", "cpus", "pids", "limit"])]
        revoke: bool,
        /// Move no processes out of the way of controllers, in a container on cgroup v2
        #[arg(long)]
        no_evacuate: bool,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Change the mode of a cgroup, or of one of its files
    Chmod {
        /// Its new mode, in octal
        mode: String,
        /// The cgroup
        #[arg(value_parser = path)]
        path: String,
        /// The file [default: the directory itself]
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        file: Option<String>,
    },
    /// Print the completions of a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

// The same for every command that takes limits. No doc comment: it would become the help of the
// command it is flattened into. Flattened last, or its heading would cover what follows.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Memory, e.g. 512M, 50% or max (memory.max)
    #[arg(short, long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// CPU time in CPUs, e.g. 1.5 (cpu.max)
    #[arg(long, value_name = "NUMBER")]
    pub(crate) cpus: Option<String>,
    /// Number of processes and threads (pids.max)
    #[arg(long, alias = "pids-limit", value_name = "NUMBER")]
    pub(crate) pids: Option<String>,
    /// Any other limit; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) limit: Vec<(String, String)>,
}

/// Splits libcgroup's `memory,pids:test01`, when all left of the first colon are controllers.
pub(crate) fn split_controllers(path: &str) -> Option<(Vec<String>, &str)> {
    let (list, rest) = path.split_once(':')?;
    let known = list.split(',').all(|name| CONTROLLERS.contains(&name));
    known.then(|| (list.split(',').map(str::to_owned).collect(), rest))
}

/// A path of a command that acts on a cgroup wherever it exists. To drop the controllers in front
/// silently would do more than was asked for.
fn path(text: &str) -> Result<String, String> {
    match split_controllers(text) {
        _ if text.is_empty() => Err("a path is needed; your own cgroup is `.`".to_owned()),
        Some((list, rest)) => Err(format!(
            "only create takes controllers; this acts wherever {rest:?} exists, so leave out \
             \"{}:\" (a cgroup really called so is \"./{text}\")",
            list.join(",")
        )),
        None => Ok(text.to_owned()),
    }
}

/// One cgroup, and not one in another, which would stay.
fn name(text: &str) -> Result<String, String> {
    match text.contains('/') || text.is_empty() {
        true => Err("one name is needed; --in says where".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// The first word that is no option, in a line that makes no sense to the parser.
pub(crate) fn command_word(mut words: impl Iterator<Item = OsString>) -> Option<OsString> {
    while let Some(word) = words.next() {
        if word == "--address" || word == "--timeout" {
            words.next();
        } else if !word.as_encoded_bytes().starts_with(b"-") {
            return Some(word);
        }
    }
    None
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE, e.g. memory.high=1G".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    const YEAR: f64 = 31_536_000.0;
    match text.parse() {
        Ok(seconds) if (0.001..=YEAR).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("a number of seconds is needed, from 0.001 to a year".to_owned()),
    }
}

#[cfg(test)]
#[path = "cli_tests.rs"]
mod tests;
