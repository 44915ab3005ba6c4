//! What can change about a caller while it is connected, read anew for every request.

use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use nix::errno::Errno;

use super::{Caller, Host, NsId, Places, pid_ns::PidTable, scope::NamespaceRoots};
use crate::policy::{Class, IdMap, Subject};
use crate::sys::creds::{self, Cap, CapSet};

/// The caller at the moment of a request.
#[derive(Clone, Debug)]
pub struct Now {
    /// The facts policy decides on.
    pub subject: Subject,
    /// Whether its user, pid and cgroup namespaces are the daemon's.
    pub user_ns_is_ours: bool,
    /// As above, for the pid namespace.
    pub pid_ns_is_ours: bool,
    /// As above, for the cgroup namespace.
    pub cgroup_ns_is_ours: bool,
    pub(super) cgroup_ns: NsId,
    /// Its user namespace.
    pub user_ns: NsId,
    /// Where it is, read when a hierarchy first needs it.
    places: Arc<OnceLock<Places>>,
    /// The processes it sees, looked for when it first names one by a number that the kernel does
    /// not translate.
    pub(super) pid_table: Arc<OnceLock<PidTable>>,
}

/// What is remembered between requests, each under the namespace it was read in. The
/// namespace is held open, so its id cannot be reused while it is compared with.
#[derive(Debug, Default)]
pub(super) struct Cache {
    maps: Option<(OwnedFd, NsId, Arc<IdMap>, Arc<IdMap>)>,
    pub(super) roots: Option<Arc<NamespaceRoots>>,
    pid_ns: OnceLock<(Arc<OwnedFd>, NsId)>,
}

impl Caller {
    /// Reads what can change. The process is checked before and after: a reaped peer's `/proc`
    /// entries vanish, and a zombie leader's namespaces cannot be read.
    ///
    /// # Errors
    /// ESRCH when the peer is gone, anything else when a fact is missing: both refuse.
    pub fn now(&self, host: &Host) -> nix::Result<Now> {
        self.process.check_alive()?;
        let user_ns: NsId = self.process.stat("ns/user")?.into();
        let cgroup_ns: NsId = self.process.stat("ns/cgroup")?.into();
        let (caps, _) = creds::capabilities(self.process.pid)?;
        let pid_ns_is_ours = self.pid_namespace()?.1 == host.pid;
        let user_ns_is_ours = user_ns == host.user;
        let cgroup_ns_is_ours = cgroup_ns == host.cgroup;
        let (uid_map, gid_map) = self.maps(user_ns, user_ns_is_ours)?;
        // It only ever goes further down: with the namespaces the same before and after, no fact
        // is of one and the next of another.
        let still = |name: &str, before: NsId| Ok(NsId::from(self.process.stat(name)?) == before);
        if !still("ns/user", user_ns)? || !still("ns/cgroup", cgroup_ns)? {
            return Err(Errno::EAGAIN);
        }
        self.process.check_alive()?;
        let home = user_ns_is_ours && pid_ns_is_ours && cgroup_ns_is_ours;
        let class = classify(self, home, user_ns_is_ours, caps, &uid_map, &gid_map);
        if class != Class::HostRoot && !host.may_act {
            return Err(Errno::EPERM);
        }
        // A user's process may have become a set-user-id program since it connected: what that
        // may do is not the caller's.
        let caps = if class == Class::User && self.uid != 0 { CapSet::EMPTY } else { caps };
        let subject = Subject {
            class,
            uid: self.uid,
            gid: self.gid,
            groups: Arc::clone(&self.groups),
            caps,
            uid_map,
            gid_map,
            at_home: home,
        };
        Ok(Now {
            subject,
            user_ns_is_ours,
            pid_ns_is_ours,
            cgroup_ns_is_ours,
            cgroup_ns,
            user_ns,
            places: Arc::default(),
            pid_table: Arc::default(),
        })
    }

    /// Where the caller is, the same for all hierarchies of one request.
    ///
    /// # Errors
    /// ESRCH when it is gone.
    pub fn places<'n>(&self, now: &'n Now) -> nix::Result<&'n Places> {
        match now.places.get() {
            Some(places) => Ok(places),
            None => {
                let places = self.process.places()?;
                Ok(now.places.get_or_init(|| places))
            }
        }
    }

    /// The caller's pid namespace: a process never leaves its own.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn pid_namespace(&self) -> nix::Result<(Arc<OwnedFd>, NsId)> {
        let cache = self.lock();
        if let Some((file, id)) = cache.pid_ns.get() {
            return Ok((Arc::clone(file), *id));
        }
        let file = Arc::new(self.process.open("ns/pid")?);
        let id = NsId::of(&file)?;
        Ok(cache.pid_ns.get_or_init(|| (file, id)).clone())
    }

    /// A user namespace's maps are written once; until then they are empty and read again.
    fn maps(&self, user_ns: NsId, ours: bool) -> nix::Result<(Arc<IdMap>, Arc<IdMap>)> {
        static IDENTITY: OnceLock<Arc<IdMap>> = OnceLock::new();
        if ours {
            let map = IDENTITY.get_or_init(|| Arc::new(IdMap::identity()));
            return Ok((Arc::clone(map), Arc::clone(map)));
        }
        let mut cache = self.lock();
        match &cache.maps {
            Some((_, id, uids, gids)) if *id == user_ns => {
                return Ok((Arc::clone(uids), Arc::clone(gids)));
            }
            _ => cache.maps = None,
        }
        let file = self.process.open("ns/user")?;
        let (uids, gids) = (self.read_map("uid_map")?, self.read_map("gid_map")?);
        if NsId::of(&file)? != user_ns {
            return Err(Errno::EAGAIN);
        }
        if !uids.is_empty() && !gids.is_empty() {
            cache.maps = Some((file, user_ns, Arc::clone(&uids), Arc::clone(&gids)));
        }
        Ok((uids, gids))
    }

    fn read_map(&self, name: &str) -> nix::Result<Arc<IdMap>> {
        let text = self.process.read(name)?;
        let text = std::str::from_utf8(&text).map_err(|_| Errno::EINVAL)?;
        IdMap::parse(text).map(Arc::new).ok_or(Errno::EINVAL)
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Host root, the root of a user namespace, or everybody else.
fn classify(
    caller: &Caller,
    at_home: bool,
    user_ns_is_ours: bool,
    caps: CapSet,
    uid_map: &IdMap,
    gid_map: &IdMap,
) -> Class {
    if caller.uid == 0 && at_home && caps.has(Cap::SysAdmin) {
        return Class::HostRoot;
    }
    let root_inside = uid_map.inside(caller.uid) == Some(0) && gid_map.maps(caller.gid);
    if !user_ns_is_ours && root_inside { Class::NsRoot } else { Class::User }
}
