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

#[cfg(test)]
pub(super) mod tests {
    //! Made-up callers for the tables.

    use super::*;

    pub(crate) fn user(uid: u32, gid: u32, groups: &[u32]) -> Subject {
        let map = Arc::new(IdMap::identity());
        Subject {
            class: Class::User,
            uid,
            gid,
            groups: groups.into(),
            caps: CapSet::EMPTY,
            uid_map: Arc::clone(&map),
            gid_map: map,
            at_home: true,
        }
    }

    pub(crate) fn host_root() -> Subject {
        Subject { class: Class::HostRoot, caps: CapSet(u64::MAX), ..user(0, 0, &[]) }
    }

    /// The root of a user namespace that maps 65,536 ids from `base`.
    pub(crate) fn ns_root(base: u32, caps: CapSet) -> Subject {
        let map = IdMap::parse(&format!("0 {base} 65536")).map(Arc::new).unwrap();
        Subject {
            class: Class::NsRoot,
            caps,
            uid_map: Arc::clone(&map),
            gid_map: map,
            at_home: false,
            ..user(base, base, &[])
        }
    }

    #[test]
    fn whose_branch() {
        assert!(ns_root(100_000, CapSet::EMPTY).owns_branch(100_001, 100_002));
        assert!(!ns_root(100_000, CapSet::EMPTY).owns_branch(100_001, 0));
        assert!(user(1000, 1000, &[]).owns_branch(1000, 0));
        assert!(!user(1000, 1000, &[]).owns_branch(1001, 1000));
    }
}
