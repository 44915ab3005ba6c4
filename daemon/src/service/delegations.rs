//! What the administrator delegates (`[[delegate]]`): the rules, whom they are for, and the cgroups
//! that are made of them: at start for users that are named, for others on their first call. What is
//! there already is left as it is, also when the rules change.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use cgroupd_proto::{CgroupPath, ErrorName, user_home};
use nix::unistd::{Group, Uid, User, getpid};

use super::delegate::if_there;
use super::enable::Enabling;
use super::request::node_of;
use super::target::Wanted;
use super::{Delegation, Request, Service};
use crate::caller::{Caller, Ids, Process};
use crate::config::Delegate;
use crate::policy::Class;
use crate::{Error, Result};

/// The rules in force.
#[derive(Debug, Default)]
pub struct Delegations {
    rules: RwLock<Arc<[Rule]>>,
    /// Counts the times they changed.
    edition: AtomicU64,
    /// One is made at a time.
    making: Mutex<()>,
    /// The daemon itself, as a caller.
    own: OnceLock<Caller>,
}

/// A rule, and the groups it names as numbers.
#[derive(Debug)]
struct Rule {
    delegate: Arc<Delegate>,
    gids: Vec<u32>,
}

/// What a rule gives one user.
#[derive(Clone, Debug)]
pub(super) struct Share {
    rule: Arc<Delegate>,
    path: CgroupPath,
}

impl Share {
    /// The way to it from the managed root.
    pub(super) fn home(&self) -> &[String] {
        self.path.components()
    }

    /// Whether its owner's processes may leave the cgroup at this path for it.
    pub(super) fn lets_leave(&self, from: &[String]) -> bool {
        self.rule.lets_leave(from)
    }

    /// The most cgroups of its owner in one hierarchy, if that is said.
    pub(super) fn cgroups(&self) -> Option<usize> {
        Some(self.rule.cgroups).filter(|most| *most > 0)
    }
}

impl Delegations {
    /// Takes other rules; groups are looked up now.
    pub fn set(&self, rules: &[Delegate]) {
        let gid = |name: &String| Group::from_name(name).ok().flatten();
        let rule = |delegate: &Delegate| Rule {
            gids: delegate.groups.iter().filter_map(gid).map(|group| group.gid.as_raw()).collect(),
            delegate: Arc::new(delegate.clone()),
        };
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) =
            rules.iter().map(rule).collect();
        self.edition.fetch_add(1, Ordering::Relaxed);
    }

    /// What the first rule that fits gives to this user of the host.
    ///
    /// # Errors
    /// Denied when the user's name cannot be in a path.
    fn share(
        &self,
        uid: u32,
        name: impl Fn() -> Option<String>,
        gids: &[u32],
    ) -> Result<Option<Share>> {
        let rules = self.rules();
        if rules.is_empty() {
            return Ok(None);
        }
        let name = name();
        let fits = |rule: &&Rule| {
            rule.delegate.names_user(uid, name.as_deref())
                || rule.gids.iter().any(|gid| gids.contains(gid))
        };
        let Some(rule) = rules.iter().find(fits) else { return Ok(None) };
        let rule = Arc::clone(&rule.delegate);
        let path = rule.path_of(uid, name.as_deref());
        let path = path.map_err(|why| Error::new(ErrorName::Denied, why).rule("delegate"))?;
        Ok(Some(Share { rule, path }))
    }

    fn rules(&self) -> Arc<[Rule]> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Request<'_> {
    /// Makes what a rule gives the caller, once for a connection, where it is not there. The call
    /// itself goes on in any case: it may need nothing of it.
    pub(crate) fn settle(&self) {
        let edition = self.service.delegations.edition.load(Ordering::Relaxed);
        if !self.subject().is_host_user()
            || self.caller.settled.swap(edition, Ordering::Relaxed) == edition
        {
            return;
        }
        let (uid, gid) = (self.caller.uid, self.caller.gid);
        let shared = self.service.share_of(self.caller);
        let settled = shared.and_then(|share| match share {
            Some(share) => self.service.settle(&share, uid, gid),
            None => Ok(()),
        });
        if let Err(error) = settled {
            self.service.audit.refusal(self.caller, "[[delegate]]", "", &error);
        }
    }

    /// Where a user's own cgroup is made, for a caller who has that number for it.
    pub(crate) fn home_of_user(&self, uid: u32) -> String {
        let given = match self.subject().class {
            Class::HostRoot => self.service.path_for(uid),
            _ => None,
        };
        given.map_or_else(|| user_home(uid).join("/"), |path| path.to_string())
    }

    /// Whether it is there, and nothing of it is somebody else's. What an interrupted daemon has left
    /// half made is root's.
    fn is_given(&self, path: &CgroupPath, uid: u32) -> Result<bool> {
        let found = if_there(self.existing(path, &Wanted::Implied))?;
        let mut owners = found.iter().map(|cgroup| node_of(&cgroup.dir));
        Ok(!found.is_empty()
            && owners.try_fold(true, |all, node| node.map(|node| all && node.uid == uid))?)
    }
}

impl Service {
    /// What a rule gives a caller that is an ordinary user of the host.
    pub(super) fn share_of(&self, caller: &Caller) -> Result<Option<Share>> {
        let gids: Vec<u32> = caller.groups.iter().copied().chain([caller.gid]).collect();
        self.delegations.share(caller.uid, || caller.name().map(str::to_owned), &gids)
    }

    /// The path that a user is given one at.
    fn path_for(&self, uid: u32) -> Option<CgroupPath> {
        let name = || user(uid).map(|user| user.name);
        let share = self.delegations.share(uid, name, &[]).ok().flatten();
        share.map(|share| share.path)
    }

    /// Makes what the rules give users that they name. Those who are not there yet may come later.
    pub fn settle_all(&self) {
        for rule in self.delegations.rules().iter() {
            for named in rule.delegate.single_users() {
                let found = match named.parse() {
                    Ok(uid) => user(uid),
                    Err(_) => User::from_name(named).ok().flatten(),
                };
                if let Some(user) = found
                    && let Err(error) = self.settle_user(&user)
                {
                    tracing::warn!(user = user.name, "not delegated as configured: {error}");
                }
            }
        }
    }

    fn settle_user(&self, User { uid, gid, name, .. }: &User) -> Result<()> {
        let (uid, gid) = (uid.as_raw(), gid.as_raw());
        match self.delegations.share(uid, || Some(name.clone()), &[gid])? {
            Some(share) => self.settle(&share, uid, gid),
            None => Ok(()),
        }
    }

    fn settle(&self, share: &Share, uid: u32, gid: u32) -> Result<()> {
        let _one = self.delegations.making.lock().unwrap_or_else(PoisonError::into_inner);
        let made = self.make_share(share, uid, gid);
        let path = share.path.to_string();
        if made.map_err(|error| error.during("delegate", &path))? {
            tracing::info!(uid, path, "delegated, as configured");
        }
        Ok(())
    }

    /// Says whether it had to be made.
    fn make_share(&self, share: &Share, uid: u32, gid: u32) -> Result<bool> {
        let request = Request::new(self, self.itself()?)?;
        if request.is_given(&share.path, uid)? {
            return Ok(false);
        }
        let limits = share.rule.limits.clone().into_iter().collect();
        request.delegate(Delegation {
            path: &share.path,
            owner: (uid, gid),
            controllers: &share.rule.controllers,
            limits: &limits,
            enter: true,
            enabling: Enabling::default(),
        })?;
        Ok(true)
    }

    /// The daemon as a caller of its own: host root.
    fn itself(&self) -> Result<&Caller> {
        if let Some(own) = self.delegations.own.get() {
            return Ok(own);
        }
        let unknown = |error: String| Error::new(ErrorName::Failed, error);
        let process =
            Process::pin(getpid().as_raw()).map_err(|errno| unknown(errno.to_string()))?;
        let ids = Ids { uid: 0, gid: 0, groups: Vec::new() };
        let own = Caller::new(ids, process, None, &self.host);
        let own = own.map_err(|refused| unknown(refused.to_string()))?;
        Ok(self.delegations.own.get_or_init(|| own))
    }
}

fn user(uid: u32) -> Option<User> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten()
}
