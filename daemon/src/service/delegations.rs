//! What the administrator delegates (`[[delegate]]`): the rules, whom they are for, and the cgroups
//! that are made of them: at start for users that are named, for others on their first call. What is
//! there already is left as it is, also when the rules change.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use cgroupd_proto::{CgroupPath, ErrorName, user_home};
use nix::unistd::{Uid, User, getpid};

use super::delegate::if_there;
use super::enable::Enabling;
use super::request::node_of;
use super::share::{Rule, Share};
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

impl Delegations {
    /// Takes other rules.
    pub fn set(&self, rules: &[Delegate]) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) =
            rules.iter().map(Rule::new).collect();
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
        let rule = rules.iter().find(|rule| rule.fits(uid, name.as_deref(), gids));
        rule.map(|rule| rule.share(uid, name.as_deref())).transpose()
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
        let known = user(uid);
        let groups = known.as_ref().map(groups_of).unwrap_or_default();
        let name = || known.as_ref().map(|user| user.name.clone());
        let share = self.delegations.share(uid, name, &groups).ok().flatten();
        share.map(|share| share.path)
    }

    /// Makes what the rules give users that they name. Those who are not there yet may come later.
    pub fn settle_all(&self) {
        for rule in self.delegations.rules().iter() {
            for named in rule.single_users() {
                let found = match named.parse() {
                    Ok(uid) => user(uid),
                    Err(_) => User::from_name(named).ok().flatten(),
                };
                let Some(user) = found else {
                    tracing::info!(user = named, "there is no such user yet to delegate to");
                    continue;
                };
                if let Err(error) = self.settle_user(&user) {
                    tracing::warn!(user = user.name, "not delegated as configured: {error}");
                }
            }
        }
    }

    fn settle_user(&self, user: &User) -> Result<()> {
        let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
        match self.delegations.share(uid, || Some(user.name.clone()), &groups_of(user))? {
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

/// As a login of that user will have them: the rule that fits then is to fit now.
fn groups_of(user: &User) -> Vec<u32> {
    let name = std::ffi::CString::new(user.name.as_str()).unwrap_or_default();
    let groups = nix::unistd::getgrouplist(&name, user.gid).unwrap_or_else(|_| vec![user.gid]);
    groups.into_iter().map(|gid| gid.as_raw()).collect()
}

fn user(uid: u32) -> Option<User> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten()
}
