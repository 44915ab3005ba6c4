//! The daemon's own namespaces, read once at start; callers' are compared with them.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::cgroup::handle::errno_of;
use crate::policy::IdMap;
use crate::sys::namespace::NsId;

/// What callers are compared with.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// The daemon's user namespace.
    pub user: NsId,
    /// The daemon's pid namespace.
    pub pid: NsId,
    /// The daemon's cgroup namespace.
    pub cgroup: NsId,
    /// Whether every id of the machine has a number in the daemon's user namespace. Where not,
    /// the kernel shows the others as the overflow id, and no thread can take them.
    pub sees_all_ids: bool,
    /// Whether threads may take the groups of others: not in a user namespace that an ordinary
    /// user made for itself. There only host root is served.
    pub may_act: bool,
}

impl Host {
    /// Reads the daemon's own namespaces.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn read() -> nix::Result<Self> {
        // Held open for good. While nobody holds a namespace, every look at a caller's link to it
        // makes its inode anew, which is half of what the look costs.
        static HELD: OnceLock<[OwnedFd; 3]> = OnceLock::new();
        let own = |name: &str| {
            let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            open(format!("/proc/self/ns/{name}").as_str(), flags, Mode::empty())
        };
        let namespaces = [own("user")?, own("pid")?, own("cgroup")?];
        let [user, pid, cgroup] = namespaces.each_ref().map(NsId::of);
        // Who reads them again has the same ones, and only the first are kept.
        let _ = HELD.set(namespaces);
        let sees_all_ids = maps_all("/proc/self/uid_map")? && maps_all("/proc/self/gid_map")?;
        let setgroups = std::fs::read_to_string("/proc/self/setgroups").map_err(errno_of)?;
        Ok(Self {
            user: user?,
            pid: pid?,
            cgroup: cgroup?,
            sees_all_ids,
            may_act: setgroups.trim() != "deny",
        })
    }
}

/// Whether a map is the one of the initial user namespace, or as good.
fn maps_all(file: &str) -> nix::Result<bool> {
    let text = std::fs::read_to_string(file).map_err(errno_of)?;
    IdMap::parse(&text).map(|map| map == IdMap::identity()).ok_or(Errno::EINVAL)
}
