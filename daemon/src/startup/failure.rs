//! Why the daemon does not run, and the exit code that says it to a supervisor.

use std::process::ExitCode;

use nix::errno::Errno;

use super::home::Crowded;
use crate::caller::CannotProve;
use crate::cgroup::layout::LayoutError;
use crate::config::Problems;
use crate::log::LogError;
use crate::transport::BindError;
use crate::words;

/// What keeps the daemon from serving.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Somebody else than root started it.
    #[error(
        "must run as root (it is uid {0}): it acts with the identities of its callers\n\
         hint: start it as root; `cgctl` and `cgroupd check-config` need no rights"
    )]
    NotRoot(u32),
    /// Mistakes in the configuration.
    #[error(transparent)]
    Config(#[from] Problems),
    /// No log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Giving up rights does not work here, so callers' checks would be void.
    #[error("acting as somebody else would not be safe here: {0}")]
    Identity(String),
    /// Every caller would be refused.
    #[error(transparent)]
    Callers(#[from] CannotProve),
    /// No usable cgroup hierarchies.
    #[error("cannot use the cgroup hierarchies: {0}")]
    Layout(#[from] LayoutError),
    /// The managed root cannot have controllers while processes are in it.
    #[error(transparent)]
    Crowded(#[from] Crowded),
    /// `cgroupd hold` was not started by a unit that systemd has delegated.
    #[error(
        "{0} is no cgroup to hold: systemd has not delegated it\n\
         hint: start cgroupd-tree.service, or this from a unit that has Delegate=yes"
    )]
    NothingToHold(String),
    /// Nobody could connect.
    #[error(transparent)]
    Socket(#[from] BindError),
    /// A bug of ours: a transport panicked.
    #[error("a transport ended: {0}")]
    Transport(String),
    /// A system call failed.
    #[error("cannot {what}: {}", words(*errno))]
    Kernel {
        /// What was attempted.
        what: String,
        /// What the kernel answered.
        errno: Errno,
    },
}

impl Failure {
    /// For `map_err`: what was attempted when the kernel answered.
    pub(super) fn kernel(what: impl Into<String>) -> impl FnOnce(Errno) -> Self {
        let what = what.into();
        move |errno| Self::Kernel { what, errno }
    }

    /// From `sysexits.h` where it has a word, so that a supervisor can tell what is worth
    /// another try.
    pub fn code(&self) -> u8 {
        const EX_NOPERM: u8 = 77;
        const EX_CONFIG: u8 = 78;
        match self {
            Self::NotRoot(_) => EX_NOPERM,
            Self::Config(_) | Self::Layout(LayoutError::NotDelegated { .. }) => EX_CONFIG,
            _ => 1,
        }
    }

    /// Says it on standard error.
    pub fn report(&self) -> ExitCode {
        for line in self.to_string().lines() {
            match line.strip_prefix("hint: ") {
                Some(hint) => eprintln!("hint: {hint}"),
                None => eprintln!("cgroupd: {line}"),
            }
        }
        ExitCode::from(self.code())
    }
}
