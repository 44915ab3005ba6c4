//! The caller as policy sees it.

use std::sync::Arc;

use super::IdMap;
use crate::sys::creds::{Cap, CapSet, Identity};

/// What kind of caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// uid 0 with CAP_SYS_ADMIN in the daemon's own user, pid and cgroup namespaces: it could
    /// mount cgroupfs itself.
    HostRoot,
    /// Root of another user namespace with its uid and gid mapped.
    NsRoot,
    /// Everybody else, a uid 0 that is neither included.
    User,
}

/// Plain facts about a caller at the moment of a request.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its class.
    pub class: Class,
    /// Its uid in the daemon's user namespace.
    pub uid: u32,
    /// Its gid.
    pub gid: u32,
    /// Its supplementary groups.
    pub groups: Arc<[u32]>,
    /// Its effective capabilities, in its own user namespace.
    pub caps: CapSet,
    /// Its user namespace's uids.
    pub uid_map: Arc<IdMap>,
    /// Its user namespace's gids.
    pub gid_map: Arc<IdMap>,
    /// Whether its user, pid and cgroup namespaces are all the daemon's.
    pub at_home: bool,
}

impl Subject {
    /// An ordinary user of the host, not in any container.
    pub fn is_host_user(&self) -> bool {
        self.at_home && self.uid != 0
    }

    /// Whether it is the root of its user namespace *and* has `cap` there.
    pub fn ns_root_with(&self, cap: Cap) -> bool {
        self.class == Class::NsRoot && self.caps.has(cap)
    }

    /// Whether both owners of an object are mapped: the kernel's condition for capabilities of
    /// a user namespace to count (`privileged_wrt_inode_uidgid`).
    pub fn maps_both(&self, uid: u32, gid: u32) -> bool {
        self.uid_map.maps(uid) && self.gid_map.maps(gid)
    }

    /// Whether a cgroup with these owners can be the top of the subject's own branch.
    pub fn owns_branch(&self, uid: u32, gid: u32) -> bool {
        match self.class {
            Class::NsRoot => self.maps_both(uid, gid),
            _ => uid == self.uid,
        }
    }

    /// The identity the kernel should judge: the caller's ids, and `caps`.
    pub fn identity(&self, caps: CapSet) -> Identity {
        Identity { uid: self.uid, gid: self.gid, groups: Arc::clone(&self.groups), caps }
    }
}
