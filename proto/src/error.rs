//! The names of the errors the service decides on, and the one match that spells them.

/// Why a call was refused or failed. Faults of the transport and of signatures are
/// `org.freedesktop.DBus.Error.*` and not listed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorName {
    /// The target is within the caller's scope, but the rules or the kernel say no.
    Denied,
    /// Nothing of that name within the caller's scope.
    NotFound,
    /// The path is malformed, too long, too deep, or has a name that may not be created.
    InvalidPath,
    /// A limit's name, syntax, unit or range is wrong.
    InvalidLimit,
    /// A flag, a descriptor, a process number or another argument is wrong.
    InvalidArgument,
    /// No managed hierarchy has a controller of that name.
    UnknownController,
    /// No interface file of that name in that cgroup.
    UnknownFile,
    /// `must-create` was asked for and the cgroup exists.
    Exists,
    /// Processes, children, or present use stand in the way.
    Busy,
    /// The process is gone, or the caller cannot see it.
    NoSuchProcess,
    /// Something changed between the check and the effect; the effect was undone.
    Raced,
    /// A quota of the daemon or a `cgroup.max.*` of the kernel is reached.
    QuotaExceeded,
    /// This kernel or layout cannot do it.
    NotSupported,
    /// The deadline passed; the text says what is still under way.
    TimedOut,
    /// The daemon or the machine ran out of descriptors, memory or threads. This says nothing about
    /// what was asked: the same call may succeed a moment later.
    OutOfResources,
    /// Anything else the kernel answered.
    Failed,
}

impl ErrorName {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 16] = [
        Self::Denied,
        Self::NotFound,
        Self::InvalidPath,
        Self::InvalidLimit,
        Self::InvalidArgument,
        Self::UnknownController,
        Self::UnknownFile,
        Self::Exists,
        Self::Busy,
        Self::NoSuchProcess,
        Self::Raced,
        Self::QuotaExceeded,
        Self::NotSupported,
        Self::TimedOut,
        Self::OutOfResources,
        Self::Failed,
    ];

    /// The D-Bus error name.
    pub fn wire(self) -> &'static str {
        match self {
            Self::Denied => "org.cgroupd1.Error.Denied",
            Self::NotFound => "org.cgroupd1.Error.NotFound",
            Self::InvalidPath => "org.cgroupd1.Error.InvalidPath",
            Self::InvalidLimit => "org.cgroupd1.Error.InvalidLimit",
            Self::InvalidArgument => "org.cgroupd1.Error.InvalidArgument",
            Self::UnknownController => "org.cgroupd1.Error.UnknownController",
            Self::UnknownFile => "org.cgroupd1.Error.UnknownFile",
            Self::Exists => "org.cgroupd1.Error.Exists",
            Self::Busy => "org.cgroupd1.Error.Busy",
            Self::NoSuchProcess => "org.cgroupd1.Error.NoSuchProcess",
            Self::Raced => "org.cgroupd1.Error.Raced",
            Self::QuotaExceeded => "org.cgroupd1.Error.QuotaExceeded",
            Self::NotSupported => "org.cgroupd1.Error.NotSupported",
            Self::TimedOut => "org.cgroupd1.Error.TimedOut",
            Self::OutOfResources => "org.cgroupd1.Error.OutOfResources",
            Self::Failed => "org.cgroupd1.Error.Failed",
        }
    }

    /// The error a D-Bus error name stands for, if it is one of ours.
    pub fn from_wire(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|error| error.wire() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorName;

    #[test]
    fn every_name_survives_the_wire() {
        for error in ErrorName::ALL {
            assert_eq!(ErrorName::from_wire(error.wire()), Some(error));
            assert_eq!(error.wire(), format!("org.cgroupd1.Error.{error:?}"));
        }
        assert_eq!(ErrorName::from_wire("org.freedesktop.DBus.Error.Failed"), None);
    }
}
