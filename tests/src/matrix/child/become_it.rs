//! Namespaces, ids and capabilities of an identity, taken in the order the kernel allows.

use std::fs::File;
use std::os::fd::OwnedFd;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::super::identity::{Identity, UserNs};
use super::{Result, hear, say};
use crate::hierarchies;

/// The namespaces of the process to join; opened as root, when there is one.
pub(super) struct Namespaces {
    user: Option<OwnedFd>,
    pid: Option<OwnedFd>,
    cgroup: Option<OwnedFd>,
}

impl Namespaces {
    pub(super) fn open(join: Option<i32>) -> Result<Self> {
        let open = |name: &str| {
            join.map(|pid| File::open(format!("/proc/{pid}/ns/{name}")).map(OwnedFd::from))
                .transpose()
        };
        Ok(Self { user: open("user")?, pid: open("pid")?, cgroup: open("cgroup")? })
    }

    /// Enters the identity's own cgroup and pid namespaces, where it has any.
    pub(super) fn enter(&self, identity: &Identity) -> Result<()> {
        if identity.own_cgroup_ns {
            change(self.cgroup.as_ref(), CloneFlags::CLONE_NEWCGROUP)?;
        }
        if identity.own_pid_ns {
            change(self.pid.as_ref(), CloneFlags::CLONE_NEWPID)?;
        }
        Ok(())
    }

    /// Enters its user namespace and becomes the identity; `uids` are others of that namespace
    /// for a victim.
    pub(super) fn take_ids(&self, identity: &Identity, uids: Option<[u32; 3]>) -> Result<()> {
        let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups)?;
        match &identity.user_ns {
            None => set_ids((identity.uid, identity.gid), uids)?,
            Some(namespace) if namespace.by_itself => {
                set_ids((identity.uid, identity.gid), uids)?;
                self.enter_user(namespace)?;
            }
            Some(namespace) => {
                self.enter_user(namespace)?;
                set_ids(identity.inside(), uids)?;
            }
        }
        set_caps(identity.caps)
    }

    /// The test writes the maps: nobody inside may map a range.
    fn enter_user(&self, namespace: &UserNs) -> Result<()> {
        change(self.user.as_ref(), CloneFlags::CLONE_NEWUSER)?;
        if self.user.is_none() && namespace.uids.2 > 0 {
            say("map")?;
            hear()?;
        }
        Ok(())
    }
}

fn change(join: Option<&OwnedFd>, kind: CloneFlags) -> nix::Result<()> {
    match join {
        Some(namespace) => setns(namespace, kind),
        None => unshare(kind),
    }
}

fn set_ids((uid, gid): (u32, u32), uids: Option<[u32; 3]>) -> nix::Result<()> {
    let gid = Gid::from_raw(gid);
    setresgid(gid, gid, gid)?;
    let [real, effective, saved] = uids.unwrap_or([uid; 3]).map(Uid::from_raw);
    setresuid(real, effective, saved)
}

/// Gives up all capabilities but these; those it does not have it cannot take.
fn set_caps(wanted: CapabilitySet) -> Result<()> {
    let own = rustix::thread::capabilities(None)?.permitted;
    let left = own & wanted;
    let inheritable = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: left, permitted: left, inheritable })?)
}

/// A container's usual view: cgroupfs read-only, in a mount namespace of its own.
pub(super) fn leave_mounts(identity: &Identity) -> Result<()> {
    if !identity.read_only {
        return Ok(());
    }
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    for hierarchy in hierarchies::all() {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, &hierarchy.mount, none, flags, none)?;
    }
    Ok(())
}
