//! The daemon's own namespaces, read once at start; callers' are compared with them.

use std::os::fd::{AsFd, IntoRawFd};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{FileStat, Mode, fstat};

/// Which namespace it is: device and inode of its file. Inode numbers are reused, so an id is
/// only compared with that of a namespace which is still alive: the daemon's, or one held open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NsId {
    device: u64,
    inode: u64,
}

impl NsId {
    /// The id of an open namespace file.
    ///
    /// # Errors
    /// Never on a namespace descriptor.
    pub fn of(namespace: impl AsFd) -> nix::Result<Self> {
        fstat(namespace).map(Self::from)
    }
}

impl From<FileStat> for NsId {
    fn from(stat: FileStat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// What callers are compared with.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// The daemon's user namespace.
    pub user: NsId,
    /// The daemon's pid namespace.
    pub pid: NsId,
    /// The daemon's cgroup namespace.
    pub cgroup: NsId,
}

impl Host {
    /// Reads the daemon's own namespaces.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn read() -> nix::Result<Self> {
        let own = |name: &str| {
            let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            let file = open(format!("/proc/self/ns/{name}").as_str(), flags, Mode::empty())?;
            let id = NsId::of(&file);
            // Stays open for good. While nobody holds a namespace, every look at a caller's link
            // to it makes its inode anew, which is half of what the look costs.
            let _ = file.into_raw_fd();
            id
        };
        Ok(Self { user: own("user")?, pid: own("pid")?, cgroup: own("cgroup")? })
    }
}
