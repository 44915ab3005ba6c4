//! How cgctl ends: the typed exit status, the failure that carries it, and the one table from
//! the daemon's errors to statuses.
//!
//! Scripts act on the status, so each answers one question. 3 is kept for "the cgroup or process
//! is not there", which a cleaning script may ignore; a wrong *name* of a controller or file is a
//! bad value (8). 5 means that the same call may work later: something is in use, or changed
//! under the daemon's hands (Raced). What waiting and correcting the line do not help against
//! (a quota, a kernel that cannot, a cgroup that already exists) is 1, and the text tells.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    process::{ExitCode, ExitStatus},
};

use cgroupd_proto::ErrorName;
use nix::errno::Errno;

/// The exit status of cgctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for was done.
    Ok,
    /// Any other failure.
    Other,
    /// The command line makes no sense.
    Usage,
    /// No such cgroup or process.
    NotFound,
    /// Not permitted.
    Denied,
    /// In use, or changed meanwhile.
    Busy,
    /// Nobody answers, or the daemon went away.
    NoDaemon,
    /// Done for some of several paths.
    Partial,
    /// A bad value or path.
    BadValue,
    /// Not finished in time.
    TimedOut,
    /// Of a command that was run, or should have been.
    Command(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<ErrorName> for Exit {
    fn from(error: ErrorName) -> Self {
        match error {
            ErrorName::NotFound | ErrorName::NoSuchProcess => Self::NotFound,
            ErrorName::Denied => Self::Denied,
            ErrorName::Busy | ErrorName::Raced => Self::Busy,
            ErrorName::InvalidPath
            | ErrorName::InvalidLimit
            | ErrorName::InvalidArgument
            | ErrorName::UnknownController
            | ErrorName::UnknownFile => Self::BadValue,
            ErrorName::TimedOut => Self::TimedOut,
            ErrorName::Exists
            | ErrorName::OutOfResources
            | ErrorName::QuotaExceeded
            | ErrorName::NotSupported
            | ErrorName::Failed => Self::Other,
        }
    }
}

impl Exit {
    /// The command was not run, for a reason of ours.
    pub(crate) const NOT_RUN: Self = Self::Command(125);
    /// It is there and cannot be run.
    pub(crate) const NOT_EXECUTABLE: Self = Self::Command(126);
    /// There is no such command.
    pub(crate) const NO_COMMAND: Self = Self::Command(127);

    /// As shells have it: the command's own, or 128 and the signal's number.
    pub(crate) fn of_command(status: ExitStatus) -> Self {
        let signal = || status.signal().map(|signal| 128 + signal);
        let code = status.code().or_else(signal).and_then(|code| u8::try_from(code).ok());
        code.map_or(Self::NOT_RUN, Self::Command)
    }

    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Other => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Denied => 4,
            Self::Busy => 5,
            Self::NoDaemon => 6,
            Self::Partial => 7,
            Self::BadValue => 8,
            Self::TimedOut => 124,
            Self::Command(code) => code,
        }
    }

    /// The status for any error name on the wire: ours, or a fault of the transport.
    pub(crate) fn of_wire(name: &str) -> Self {
        if let Some(error) = ErrorName::from_wire(name) {
            return error.into();
        }
        match name.strip_prefix("org.freedesktop.DBus.Error.") {
            Some("AccessDenied" | "AuthFailed") => Self::Denied,
            Some("LimitsExceeded") => Self::Busy,
            Some("ServiceUnknown" | "NameHasNoOwner" | "NoServer" | "Disconnected") => {
                Self::NoDaemon
            }
            Some("NoReply" | "Timeout" | "TimedOut") => Self::TimedOut,
            _ => Self::Other,
        }
    }

    /// The status of a command over several paths, from what each of them came to.
    pub(crate) fn of_all(each: &[Self]) -> Self {
        let mut failures = each.iter().filter(|exit| **exit != Self::Ok);
        match failures.next() {
            None => Self::Ok,
            Some(_) if each.contains(&Self::Ok) => Self::Partial,
            Some(first) if failures.all(|exit| exit == first) => *first,
            Some(_) => Self::Other,
        }
    }
}

/// Why a command failed: one line of what and why, and one of the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The status it ends in.
    pub(crate) exit: Exit,
    /// What was attempted, on what, and why it failed. Empty: there is nobody to tell.
    pub(crate) text: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into(), hint: None }
    }

    /// The same with a way out.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<io::Error> for Failure {
    /// Only writing the output gives bare I/O errors. A reader that left, as `head` does, knows
    /// that it did: nothing is said.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Other, ""),
            _ => Self::new(Exit::Other, format!("cannot write the output: {}", words(&error))),
        }
    }
}

/// An I/O error in words, as the daemon's texts have them: `permission denied (EACCES)`.
pub(crate) fn words(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else { return error.to_string() };
    let errno = Errno::from_raw(number);
    let mut text = errno.desc().to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    format!("{text} ({errno:?})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_service_has_its_status() {
        let table = [
            (ErrorName::Denied, 4),
            (ErrorName::NotFound, 3),
            (ErrorName::InvalidPath, 8),
            (ErrorName::InvalidLimit, 8),
            (ErrorName::InvalidArgument, 8),
            (ErrorName::UnknownController, 8),
            (ErrorName::UnknownFile, 8),
            (ErrorName::Exists, 1),
            (ErrorName::Busy, 5),
            (ErrorName::NoSuchProcess, 3),
            (ErrorName::Raced, 5),
            (ErrorName::QuotaExceeded, 1),
            (ErrorName::NotSupported, 1),
            (ErrorName::TimedOut, 124),
            (ErrorName::OutOfResources, 1),
            (ErrorName::Failed, 1),
        ];
        assert_eq!(table.map(|(error, _)| error), ErrorName::ALL);
        for (error, status) in table {
            assert_eq!(Exit::of_wire(error.wire()).code(), status, "{error:?}");
        }
    }

    #[test]
    fn faults_of_the_transport_have_theirs() {
        for (name, status) in [
            ("AccessDenied", 4),
            ("LimitsExceeded", 5),
            ("Disconnected", 6),
            ("NoReply", 124),
            ("UnknownMethod", 1),
            ("InvalidArgs", 1),
        ] {
            let name = format!("org.freedesktop.DBus.Error.{name}");
            assert_eq!(Exit::of_wire(&name).code(), status, "{name}");
        }
        assert_eq!(Exit::of_wire("org.example.Odd"), Exit::Other);
    }

    #[test]
    fn several_paths_come_to_one_status() {
        use Exit::{Busy, Denied, Ok, Other, Partial};
        for (each, all) in [
            (&[Ok, Ok][..], Ok),
            (&[Ok, Denied], Partial),
            (&[Denied, Ok, Busy], Partial),
            (&[Denied], Denied),
            (&[Denied, Denied], Denied),
            (&[Denied, Busy], Other),
        ] {
            assert_eq!(Exit::of_all(each), all, "{each:?}");
        }
    }

    #[test]
    fn a_reader_that_left_is_told_nothing() {
        let gone = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(gone.text, "");
        let full = Failure::from(io::Error::from_raw_os_error(28));
        assert_eq!(full.text, "cannot write the output: no space left on device (ENOSPC)");
    }
}
