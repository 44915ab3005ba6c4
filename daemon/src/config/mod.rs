//! What the administrator decides. Every key has a default, so that no file is needed; what
//! is written down is checked as strictly as it can be, because a key that is silently ignored
//! is a limit that silently does not hold.

mod check;
mod delegate;
mod draft;
mod problem;
mod sources;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use cgroupd_proto::{CgroupPath, DEFAULT_SOCKET};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::transport::Limits;
pub use check::group_id;
pub use delegate::Delegate;
pub use draft::{Groups, Loaded, Override, load};
pub use problem::{Place, Problem, Problems};
pub use sources::Sources;

/// The value of `root` that leaves the choice to the daemon.
pub const AUTO: &str = "auto";

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The managed root: the same path in every hierarchy, made when missing; [`AUTO`] for what
    /// suits the host.
    pub root: String,
    /// The private socket.
    pub socket: Socket,
    /// The system bus.
    pub system_bus: SystemBus,
    /// What a client may hold.
    pub limits: Limits,
    /// What a client may make.
    pub quota: Quota,
    /// Who is given a cgroup of its own; the first that fits counts.
    pub delegate: Vec<Delegate>,
    /// Other interfaces than the daemon's own.
    pub compat: Compat,
    /// What is logged, and how.
    pub log: Log,
}

/// `[socket]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Socket {
    /// Where it is.
    pub path: PathBuf,
    /// Its mode: whoever may write can connect.
    pub mode: Mode,
    /// The group it belongs to, by name; empty is the daemon's own.
    pub group: String,
}

/// `[system-bus]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SystemBus {
    /// Whether to serve there, as soon as there is one.
    pub enable: bool,
    /// Whether a process number that the bus reports is proof enough.
    pub trust_pid: bool,
}

/// `[compat]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Compat {
    /// The clients of cgmanager.
    pub cgmanager: Cgmanager,
}

/// `[compat.cgmanager]`: where its interface is served. By default that is nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cgmanager {
    /// Where its clients look for it; empty: nowhere.
    pub socket: PathBuf,
    /// Whether it is served on the private socket too.
    pub private_socket: bool,
    /// Whether the forms that end in `Scm` are served where the interface is.
    pub scm: bool,
}

/// `[quota]`, for everybody but host root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Quota {
    /// Cgroups of one account, in each hierarchy.
    pub cgroups: usize,
    /// Levels below a caller's scope.
    pub depth: usize,
}

/// `[log]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Log {
    /// The least important lines that are shown.
    pub level: Level,
    /// Their form.
    pub format: Format,
}

/// How important a line of the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something is broken.
    Error,
    /// Something is not as the administrator will have meant it.
    Warn,
    /// Start, stop, changes and refusals.
    #[default]
    Info,
    /// Connections.
    Debug,
    /// Everything.
    Trace,
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The journal when standard error leads there, else text.
    #[default]
    Auto,
    /// A line of text on standard error.
    Text,
    /// A JSON object a line on standard error.
    Json,
    /// Structured entries of systemd's journal.
    Journald,
}

/// The permission bits of a file, written as an octal string: a bare `0666` would be a decimal
/// number to everybody but the one who wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mode(pub u32);

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if digits && mode <= 0o777 => Ok(Self(mode)),
            _ => Err(format!("{text:?} is not a mode; write octal digits, as in \"0660\"")),
        }
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.to_string()
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Config {
    /// The keys that differ, for a reload: `limits.connections`, `log.level`.
    pub fn differing_keys(&self, other: &Self) -> Vec<String> {
        let (ours, theirs) = (leaves(&as_table(self)), leaves(&as_table(other)));
        let differing = ours.into_iter().filter(|(key, value)| theirs.get(key) != Some(value));
        differing.map(|(key, _)| key).collect()
    }
}

/// The configuration as TOML: every key, because none is optional.
fn as_table(config: &Config) -> Table {
    Table::try_from(config).unwrap_or_default()
}

/// The values of a table under their dotted keys.
fn leaves(table: &Table) -> BTreeMap<String, Value> {
    let flat = table.iter().flat_map(|(name, value)| match value {
        Value::Table(inner) => {
            let prefixed = |(key, value)| (format!("{name}.{key}"), value);
            leaves(inner).into_iter().map(prefixed).collect()
        }
        _ => vec![(name.clone(), value.clone())],
    });
    flat.collect()
}

impl Default for Config {
    fn default() -> Self {
        Self {
            root: AUTO.to_owned(),
            socket: Socket::default(),
            system_bus: SystemBus::default(),
            limits: Limits::default(),
            quota: Quota::default(),
            delegate: Vec::new(),
            compat: Compat::default(),
            log: Log::default(),
        }
    }
}

impl Default for Socket {
    fn default() -> Self {
        Self { path: DEFAULT_SOCKET.into(), mode: Mode(0o666), group: String::new() }
    }
}

impl Default for SystemBus {
    fn default() -> Self {
        Self { enable: true, trust_pid: false }
    }
}

impl Default for Quota {
    fn default() -> Self {
        Self { cgroups: 10_000, depth: CgroupPath::MAX_DEPTH }
    }
}

#[cfg(test)]
mod tests;
