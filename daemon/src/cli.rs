//! The command line: what it may say, and what each exit code means.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};

use crate::config::{self, Format, Level, Override, Sources};
use crate::{demo, helper, startup};

const EXIT_CODES: &str = "\
Exit codes: 0 stopped by SIGTERM or SIGINT, 1 cannot start or go on, 2 usage, 77 not root,
78 configuration.

Without a command it serves in the foreground. SIGHUP rereads the configuration.";

/// Manages cgroups for those who cannot write cgroupfs themselves
#[derive(Clone, Debug, Parser)]
#[command(name = "cgroupd", version, after_help = EXIT_CODES, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// Read this configuration file and no other
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Serve on this socket
    #[arg(long, value_name = "PATH")]
    socket: Option<String>,
    /// Manage this cgroup and what is below it; made when missing
    #[arg(long, value_name = "CGROUP")]
    root: Option<String>,
    /// Stay away from the system bus
    #[arg(long)]
    no_system_bus: bool,
    /// Write a newline to this inherited descriptor once calls are answered
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(3..))]
    pub(crate) ready_fd: Option<i32>,
    /// error, warn, info, debug or trace; text, json or journald. Can be repeated
    #[arg(long, value_name = "LEVEL|FORMAT", action = ArgAction::Append)]
    log: Vec<LogChoice>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Check the configuration and say what is wrong with it
    CheckConfig {
        /// This file instead of those in /etc/cgroupd and /usr/lib/cgroupd
        file: Option<PathBuf>,
    },
    /// Hold a delegated systemd unit for the daemon: move to the leaf `.holder`, and wait for
    /// SIGTERM
    Hold,
    /// Play a story on this machine's hierarchies, and remove every trace of it
    Demo,
    /// The process that receives and closes descriptors of peers for the daemon
    #[command(hide = true, name = helper::ARGUMENT)]
    Helper,
    #[command(hide = true, name = helper::CLOSE_ARGUMENT)]
    HelperThatCloses,
    /// A part in the demo's play, which runs this executable again
    #[command(hide = true, name = demo::INSIDE)]
    DemoInside { argument: String },
    #[command(hide = true, name = demo::EATER)]
    DemoEater { argument: String },
    #[command(hide = true, name = demo::GUEST)]
    DemoGuest { argument: String },
    #[command(hide = true, name = demo::SCOPE)]
    DemoScope,
}

/// What `--log` takes: both kinds of word are short, and no word is both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LogChoice {
    Level(Level),
    Format(Format),
}

impl std::str::FromStr for LogChoice {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let input = || -> StrDeserializer<'_, ValueError> { word.into_deserializer() };
        Level::deserialize(input())
            .map(Self::Level)
            .or_else(|_| Format::deserialize(input()).map(Self::Format))
            .map_err(|_| "write error, warn, info, debug, trace, text, json or journald".into())
    }
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        None => startup::run(&cli),
        Some(Command::CheckConfig { file }) => check_config(file.clone()),
        Some(Command::Hold) => startup::hold(),
        Some(Command::Helper) => helper::run(),
        Some(Command::HelperThatCloses) => ExitCode::SUCCESS,
        Some(Command::Demo) => demo::run(),
        Some(Command::DemoInside { argument }) => demo::part(demo::INSIDE, argument),
        Some(Command::DemoEater { argument }) => demo::part(demo::EATER, argument),
        Some(Command::DemoGuest { argument }) => demo::part(demo::GUEST, argument),
        Some(Command::DemoScope) => demo::run_in_scope(),
    }
}

impl Cli {
    /// Where the configuration is. Absolute, because the daemon leaves its directory.
    pub(crate) fn sources(&self) -> Sources {
        only(self.config.clone())
    }

    /// The options that stand for a key of the configuration.
    pub(crate) fn overrides(&self) -> Vec<Override> {
        let text = |option, key, value: &Option<String>| {
            value.clone().map(|value| Override { option, key, value: value.into() })
        };
        let fixed = [
            text("--socket", "socket.path", &self.socket),
            text("--root", "root", &self.root),
            self.no_system_bus.then(|| Override {
                option: "--no-system-bus",
                key: "system-bus.enable",
                value: false.into(),
            }),
        ];
        fixed.into_iter().flatten().chain(self.log.iter().map(LogChoice::as_override)).collect()
    }
}

impl LogChoice {
    fn as_override(&self) -> Override {
        let (key, value) = match self {
            Self::Level(level) => ("log.level", toml::Value::try_from(level)),
            Self::Format(format) => ("log.format", toml::Value::try_from(format)),
        };
        let value = value.unwrap_or_else(|_| String::new().into());
        Override { option: "--log", key, value }
    }
}

fn only(file: Option<PathBuf>) -> Sources {
    let absolute = |file: PathBuf| std::path::absolute(&file).unwrap_or(file);
    file.map_or_else(Sources::default, |file| Sources::Only(absolute(file)))
}

fn check_config(file: Option<PathBuf>) -> ExitCode {
    match config::load(&only(file), &[], config::Groups::Now) {
        Ok(loaded) => {
            let files: Vec<_> =
                loaded.files.iter().map(|file| file.display().to_string()).collect();
            let read =
                if files.is_empty() { "no files, defaults".into() } else { files.join(", ") };
            println!("OK ({read})");
            ExitCode::SUCCESS
        }
        Err(problems) => startup::Failure::Config(problems).report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_become_keys() {
        let line = "cgroupd --root /a --socket /s --no-system-bus --log debug --log json";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let keys: Vec<String> =
            cli.overrides().iter().map(|o| format!("{}={:?}", o.key, o.value)).collect();
        let expected = [
            "socket.path=String(\"/s\")",
            "root=String(\"/a\")",
            "system-bus.enable=Boolean(false)",
            "log.level=String(\"debug\")",
            "log.format=String(\"json\")",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn what_is_refused() {
        for line in [
            "cgroupd --log loud",
            "cgroupd --ready-fd 2",
            "cgroupd --ready-fd x",
            "cgroupd --socket",
            "cgroupd --root /a check-config",
            "cgroupd serve",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
        for line in ["cgroupd", "cgroupd --ready-fd 3", "cgroupd check-config x"] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
    }
}
