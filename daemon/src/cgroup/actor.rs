//! With whose rights the mechanism touches a file. Policy hands the actor out; here it is used.

use crate::sys::creds::{self, Identity};

/// Root as the daemon is, or somebody else for the length of a closure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The daemon's own rights: host root's, and the named grants'.
    Root,
    /// The caller's; the kernel itself checks what it may do.
    As(Identity),
}

impl Actor {
    /// Runs `work` on this thread with the actor's rights. See [`creds::act_as`].
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        match self {
            Self::Root => work(),
            Self::As(identity) => creds::act_as(identity, work),
        }
    }
}
