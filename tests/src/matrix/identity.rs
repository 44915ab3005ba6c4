//! Whom the rows are about.

use rustix::thread::CapabilitySet as Caps;

/// The first kernel id of the containers' range.
pub(super) const BASE: u32 = 200_000;
/// The first group of the container whose groups have another range than its users.
const OTHER_BASE: u32 = 300_000;
const MAP: Map = (0, BASE, 65_536);
const OTHER_MAP: Map = (0, OTHER_BASE, 65_536);

/// Kernel ids, namespaces and capabilities of a caller, and what the daemon is to make of it.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) name: &'static str,
    /// As the host sees them.
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: &'static [u32],
    pub(super) user_ns: Option<UserNs>,
    pub(super) own_pid_ns: bool,
    pub(super) own_cgroup_ns: bool,
    /// Whether cgroupfs is mounted read-only for it.
    pub(super) read_only: bool,
    pub(super) caps: Caps,
    pub(super) class: Class,
    /// Whether all it can name is the cgroup it was put into and what is below.
    pub(super) confined: bool,
}

/// Ids inside, ids outside, how many.
pub(super) type Map = (u32, u32, u32);

/// A user namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct UserNs {
    pub(super) uids: Map,
    pub(super) gids: Map,
    /// Whether it is made by the identity's own uid, not by host root.
    pub(super) by_itself: bool,
}

/// The classes of callers, as the daemon's WhoAmI spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    HostRoot,
    NsRoot,
    User,
}

impl Class {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::HostRoot => "host-root",
            Self::NsRoot => "namespace-root",
            Self::User => "user",
        }
    }
}

impl UserNs {
    /// What an id of the host is called inside.
    fn inside(map: Map, id: u32) -> Option<u32> {
        let offset = id.checked_sub(map.1)?;
        (offset < map.2).then_some(map.0 + offset)
    }

    pub(super) fn maps_uid(&self, uid: u32) -> bool {
        Self::inside(self.uids, uid).is_some()
    }

    pub(super) fn maps_gid(&self, gid: u32) -> bool {
        Self::inside(self.gids, gid).is_some()
    }
}

impl Identity {
    /// Its own ids in its own view; those of the host where they have no other name.
    pub(super) fn inside(&self) -> (u32, u32) {
        let ids = self.user_ns.and_then(|ns| {
            UserNs::inside(ns.uids, self.uid).zip(UserNs::inside(ns.gids, self.gid))
        });
        ids.unwrap_or((self.uid, self.gid))
    }

    /// Whether it is root in a user namespace and has a capability there.
    pub(super) fn ns_root_with(&self, cap: Caps) -> bool {
        self.class == Class::NsRoot && self.caps.contains(cap)
    }

    /// Whether its user namespace has a name for both ids.
    pub(super) fn maps(&self, uid: u32, gid: u32) -> bool {
        self.user_ns.is_some_and(|ns| ns.maps_uid(uid) && ns.maps_gid(gid))
    }

    /// An ordinary user of the host.
    const fn user(name: &'static str, uid: u32, gid: u32, groups: &'static [u32]) -> Self {
        Self {
            name,
            uid,
            gid,
            groups,
            user_ns: None,
            own_pid_ns: false,
            own_cgroup_ns: false,
            read_only: false,
            caps: Caps::empty(),
            class: Class::User,
            confined: false,
        }
    }

    /// Uid 0 of the host with these capabilities.
    const fn root(name: &'static str, caps: Caps) -> Self {
        Self { caps, confined: true, ..Self::user(name, 0, 0, &[]) }
    }

    /// Somebody of a container's range.
    const fn container(name: &'static str, id: u32, class: Class, caps: Caps) -> Self {
        let user_ns = Some(UserNs { uids: MAP, gids: MAP, by_itself: false });
        let user = Self::user(name, BASE + id, BASE + id, &[]);
        Self { user_ns, class, caps, confined: true, ..user }
    }

    /// Uid 1000 of the host in a user namespace it made.
    const fn rootless(name: &'static str, map: Map, class: Class, caps: Caps) -> Self {
        let user_ns = Some(UserNs { uids: map, gids: map, by_itself: true });
        Self { user_ns, class, caps, confined: true, ..Self::user(name, 1000, 1000, &[]) }
    }
}

/// What Docker gives its containers.
const DOCKER: Caps = Caps::CHOWN
    .union(Caps::DAC_OVERRIDE)
    .union(Caps::FOWNER)
    .union(Caps::FSETID)
    .union(Caps::KILL)
    .union(Caps::SETGID)
    .union(Caps::SETUID)
    .union(Caps::SETPCAP)
    .union(Caps::NET_BIND_SERVICE)
    .union(Caps::NET_RAW)
    .union(Caps::SYS_CHROOT)
    .union(Caps::MKNOD)
    .union(Caps::AUDIT_WRITE)
    .union(Caps::SETFCAP);
/// More than any kernel has; the kernel's bounding set decides.
const ALL: Caps = Caps::all();
const NONE: Caps = Caps::empty();

/// All identities.
pub(super) const IDENTITIES: &[Identity] = &[
    Identity { class: Class::HostRoot, confined: false, ..Identity::root("host-root", ALL) },
    Identity::root("root-without-sys-admin", ALL.difference(Caps::SYS_ADMIN)),
    Identity { own_pid_ns: true, own_cgroup_ns: true, ..Identity::root("root-in-docker", DOCKER) },
    Identity::root("root-with-chown", Caps::CHOWN),
    Identity::root("root-without-caps", NONE),
    Identity::user("owner", 1000, 1000, &[]),
    Identity { read_only: true, ..Identity::user("owner-on-read-only", 1000, 1000, &[]) },
    Identity::user("group-member", 2500, 1000, &[]),
    Identity::user("supplementary", 3000, 3000, &[7, 1000]),
    Identity::user("other-user", 2000, 2000, &[]),
    Identity::container("ns-root", 0, Class::NsRoot, ALL),
    Identity {
        own_cgroup_ns: true,
        ..Identity::container("ns-root-in-cgroup-ns", 0, Class::NsRoot, ALL)
    },
    Identity {
        gid: OTHER_BASE,
        user_ns: Some(UserNs { uids: MAP, gids: OTHER_MAP, by_itself: false }),
        ..Identity::container("ns-root-other-groups", 0, Class::NsRoot, ALL)
    },
    Identity::container("ns-root-without-caps", 0, Class::NsRoot, NONE),
    Identity::container("ns-user", 500, Class::User, NONE),
    Identity::rootless("rootless", (0, 1000, 1), Class::NsRoot, ALL),
    Identity::rootless("unmapped", (0, 0, 0), Class::User, ALL),
];

/// The identity of this name.
pub(super) fn named(name: &str) -> &'static Identity {
    let found = IDENTITIES.iter().find(|identity| identity.name == name);
    found.unwrap_or_else(|| panic!("no identity is called {name}"))
}
