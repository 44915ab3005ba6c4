//! Where log lines go and what they look like. What is logged about requests is in [`Audit`].

mod audit;
mod short;

use std::io::{IsTerminal, stderr};
use std::os::fd::AsFd;

use nix::sys::stat::{SFlag, fstat};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, Layered, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::{Format, Level, Log};
pub use audit::Audit;
pub(crate) use short::start_of;

/// Under which name the daemon's own lines are filtered.
const OURS: &str = env!("CARGO_CRATE_NAME");

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The journal was asked for and is not there.
    #[error("cannot log to the journal: {0}; use --log text")]
    Journal(std::io::Error),
    /// Another subscriber is installed already.
    #[error("cannot install the log: {0}")]
    Installed(#[from] TryInitError),
}

/// The running log; its level can change.
#[derive(Debug)]
pub struct Handle(reload::Handle<Targets, Registry>);

type Filtered = Layered<reload::Layer<Targets, Registry>, Registry>;
type Sink = Box<dyn Layer<Filtered> + Send + Sync>;

impl Handle {
    /// Shows lines of this level and above from now on.
    pub fn set_level(&self, level: Level) {
        if let Err(error) = self.0.reload(targets(level)) {
            tracing::warn!(%error, "the log level stays as it was");
        }
    }
}

/// Starts logging.
///
/// # Errors
/// When the journal was asked for by name and cannot be reached.
pub fn init(log: &Log) -> Result<Handle, LogError> {
    let (filter, handle) = reload::Layer::new(targets(log.level));
    tracing_subscriber::registry().with(filter).with(sink(log.format)?).try_init()?;
    Ok(Handle(handle))
}

/// Libraries are heard only when something is wrong: a peer decides how much they say.
fn targets(level: Level) -> Targets {
    let ours = LevelFilter::from(level);
    Targets::new().with_default(ours.min(LevelFilter::WARN)).with_target(OURS, ours)
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
            Level::Trace => Self::TRACE,
        }
    }
}

fn sink(format: Format) -> Result<Sink, LogError> {
    let journal = || tracing_journald::layer().map(Layer::boxed);
    match format {
        Format::Journald => journal().map_err(LogError::Journal),
        Format::Json => Ok(fmt::layer().json().flatten_event(true).with_writer(stderr).boxed()),
        Format::Auto if stderr_is_the_journal() => Ok(journal().unwrap_or_else(|_| text())),
        Format::Auto | Format::Text => Ok(text()),
    }
}

/// Whoever reads a pipe or a socket (a supervisor, a container engine) adds the time itself;
/// a terminal and a file do not.
fn text() -> Sink {
    let lines = fmt::layer().compact().with_ansi(false).with_target(false).with_writer(stderr);
    match has_clock() {
        true => lines.without_time().boxed(),
        false => lines.boxed(),
    }
}

fn has_clock() -> bool {
    let kind = fstat(stderr().as_fd()).map(|stat| SFlag::from_bits_truncate(stat.st_mode));
    let kind = kind.map(|kind| kind & SFlag::S_IFMT);
    !stderr().is_terminal() && matches!(kind, Ok(SFlag::S_IFIFO | SFlag::S_IFSOCK))
}

/// systemd says which stream is the journal's; it may have been redirected since.
fn stderr_is_the_journal() -> bool {
    let (Ok(stream), Ok(stat)) = (std::env::var("JOURNAL_STREAM"), fstat(stderr().as_fd())) else {
        return false;
    };
    is_stream(&stream, stat.st_dev, stat.st_ino)
}

/// Whether `stream` (`DEVICE:INODE`) is this file.
fn is_stream(stream: &str, device: u64, inode: u64) -> bool {
    let parsed = stream.split_once(':').map(|(dev, ino)| (dev.parse(), ino.parse()));
    parsed == Some((Ok(device), Ok(inode)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        for (stream, expected) in
            [("8:42", true), ("8:43", false), ("9:42", false), ("8", false), ("", false)]
        {
            assert_eq!(is_stream(stream, 8, 42), expected, "{stream:?}");
        }
    }

    #[test]
    fn libraries_are_quiet_unless_something_is_wrong() {
        use tracing::Level as L;
        for (level, target, shown, expected) in [
            (Level::Debug, "cgroupd::startup", L::DEBUG, true),
            (Level::Debug, "cgroupd::startup", L::TRACE, false),
            (Level::Debug, "zbus::connection", L::DEBUG, false),
            (Level::Debug, "zbus::connection", L::WARN, true),
            (Level::Error, "zbus::connection", L::WARN, false),
        ] {
            assert_eq!(targets(level).would_enable(target, &shown), expected, "{level:?} {target}");
        }
    }
}
