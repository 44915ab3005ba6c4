//! What the administrator delegates (`[[delegate]]`): the rules, whom they are for, and the cgroups
//! that are made of them: at start for users that are named, for others on their first call. What is
//! there already is left as it is, also when the rules change.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use cgroupd_proto::{ErrorName, user_home};
use nix::unistd::{Uid, User, getgrouplist, getpid};

use super::delegate::if_there;
use super::enable::Enabling;
use super::request::node_of;
use super::retries::Retries;
use super::share::{Person, Rule, Share};
use super::target::Cgroup;
use super::{Delegation, Request, Service};
use crate::accounting::Account;
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
    /// One is made, or taken back, at a time.
    making: Mutex<()>,
    /// What has failed, and when it is tried again.
    retries: Retries,
    /// The most cgroups of users who have called from a namespace of theirs.
    bounds: Mutex<HashMap<u32, Option<usize>>>,
    /// The daemon itself, as a caller.
    own: OnceLock<Caller>,
}

impl Delegations {
    /// Takes other rules.
    pub fn set(&self, rules: &[Delegate]) {
        let rules = rules.iter().map(Rule::new).collect();
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        self.bounds().clear();
        self.edition.fetch_add(1, Ordering::Relaxed);
    }

    /// What the first rule that fits gives to this user of the host.
    fn share(&self, person: &Person<'_>) -> Result<Option<Share>> {
        for rule in self.rules().iter() {
            if rule.fits(person)? {
                return rule.share(person).map(Some);
            }
        }
        Ok(None)
    }

    /// Nobody else makes one, or takes one back, meanwhile.
    pub(super) fn alone(&self) -> MutexGuard<'_, ()> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn edition(&self) -> u64 {
        self.edition.load(Ordering::Relaxed)
    }

    fn is_due(&self, uid: u32, edition: u64) -> bool {
        self.retries.is_due(uid, edition, Instant::now())
    }

    /// Remembers and logs a failure, once for every time that it was tried.
    fn fail(&self, uid: u32, edition: u64, error: &Error) {
        if self.retries.fail(uid, edition, Instant::now()) {
            tracing::warn!(uid, "not delegated as configured: {}", error.text);
        }
    }

    fn bounds(&self) -> MutexGuard<'_, HashMap<u32, Option<usize>>> {
        self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rules(&self) -> Arc<[Rule]> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What became of a delegation.
enum Settled {
    /// What a rule gives is there, or none gives anything.
    Done,
    /// It has failed just now, and is tried again after a pause.
    Later,
}

impl Request<'_> {
    /// Makes what a rule gives the caller, once for a connection, where it is not there. The call
    /// itself goes on in any case: it may need nothing of it. What has failed is not tried again
    /// before its pause is over.
    pub(crate) fn settle(&self) {
        let delegations = &self.service.delegations;
        let (edition, uid) = (delegations.edition(), self.caller.uid);
        let settled = &self.caller.settled;
        if !self.subject().is_host_user()
            || settled.load(Ordering::Relaxed) == edition
            || !delegations.is_due(uid, edition)
        {
            return;
        }
        match self.try_to_settle(edition) {
            Ok(Settled::Done) => settled.store(edition, Ordering::Relaxed),
            Ok(Settled::Later) => {}
            Err(error) => delegations.fail(uid, edition, &error),
        }
    }

    fn try_to_settle(&self, edition: u64) -> Result<Settled> {
        match self.service.share_of(self.caller)? {
            Some(share) => self.service.settle(&share, (self.caller.uid, self.caller.gid), edition),
            None => Ok(Settled::Done),
        }
    }

    /// Where a user's own cgroup is made, for a caller who has that number for it.
    ///
    /// # Errors
    /// As [`Delegations::share`].
    pub(crate) fn home_of_user(&self, uid: u32) -> Result<String> {
        let given = match self.subject().class {
            Class::HostRoot => self.service.share_of_user(uid)?.map(|share| share.path.to_string()),
            _ => None,
        };
        Ok(given.unwrap_or_else(|| user_home(uid).join("/")))
    }

    /// The most cgroups that the account the caller uses may have in a hierarchy, if a rule says so.
    /// In namespaces of its own a user has its own account still.
    ///
    /// # Errors
    /// When the user database cannot be asked.
    pub(super) fn most_cgroups(&self) -> Result<Option<usize>> {
        match (self.share()?, self.caller.account) {
            (Some(share), _) => Ok(share.cgroups()),
            (None, Account::User(uid)) if !self.subject().is_host_user() => {
                self.service.bound_of(uid)
            }
            (None, _) => Ok(None),
        }
    }

    /// Whether what the rule makes is there, and nothing of it is somebody else's. What an interrupted
    /// daemon has left half made is root's.
    fn is_given(&self, share: &Share, uid: u32) -> Result<bool> {
        let wanted = self.wanted(&share.rule.controllers)?;
        let mut found = if_there(self.existing(&share.path, &wanted))?;
        let is_roots =
            |cgroup: &Cgroup| self.hierarchy(cgroup.target.hierarchy).is_of_network_classes();
        found.retain(|cgroup| !share.rule.controllers.is_empty() || !is_roots(cgroup));
        let mut owners = found.iter().map(|cgroup| node_of(&cgroup.dir));
        Ok(!found.is_empty()
            && owners.try_fold(true, |all, node| node.map(|node| all && node.uid == uid))?)
    }

    /// Says whether there is anything new.
    fn make_share(&self, share: &Share, uid: u32, gid: u32) -> Result<bool> {
        let limits = share.rule.limits.clone().into_iter().collect();
        let (_, changed) = self.delegate(Delegation {
            path: &share.path,
            owner: (uid, gid),
            controllers: &share.rule.controllers,
            limits: &limits,
            enter: true,
            enabling: Enabling::default(),
        })?;
        Ok(["created", "owner"].iter().any(|news| changed.contains_key(*news)))
    }
}

impl Service {
    /// What a rule gives a caller that is an ordinary user of the host.
    pub(super) fn share_of(&self, caller: &Caller) -> Result<Option<Share>> {
        // Asked for in every call.
        if self.delegations.rules().is_empty() {
            return Ok(None);
        }
        let gids = caller.groups.iter().copied().chain([caller.gid]).collect();
        self.delegations.share(&Person { uid: caller.uid, gids, look_up: &|| caller.name() })
    }

    /// The same for a user who need not be there, with the groups that a login will have: the rule
    /// that fits then is to fit now.
    fn share_of_user(&self, uid: u32) -> Result<Option<Share>> {
        let unknown = |errno| Error::kernel("look up the user", errno);
        let user = User::from_uid(Uid::from_raw(uid)).map_err(unknown)?;
        let gids = user.as_ref().map(groups_of).transpose().map_err(unknown)?.unwrap_or_default();
        let name = user.map(|user| user.name);
        self.delegations.share(&Person { uid, gids, look_up: &|| Ok(name.clone()) })
    }

    /// The most cgroups of a user who calls from a namespace of its own, looked up once.
    fn bound_of(&self, uid: u32) -> Result<Option<usize>> {
        if let Some(known) = self.delegations.bounds().get(&uid) {
            return Ok(*known);
        }
        let bound = self.share_of_user(uid)?.and_then(|share| share.cgroups());
        self.delegations.bounds().insert(uid, bound);
        Ok(bound)
    }

    /// Looks up whom the rules name, which may take long, and makes what they give them. Those who
    /// are not there yet may come later.
    pub fn settle_all(&self) {
        let edition = self.delegations.edition();
        for rule in self.delegations.rules().iter() {
            // Calls need not wait for them then.
            if let Err(error) = rule.gids() {
                tracing::warn!("whom a rule of [[delegate]] is for is not known yet: {error}");
            }
            for named in rule.delegate.single_users() {
                let found = match named {
                    Ok(uid) => User::from_uid(Uid::from_raw(uid)),
                    Err(name) => User::from_name(name),
                };
                match found {
                    Ok(Some(user)) => self.settle_user(&user, edition),
                    Ok(None) => {
                        tracing::info!(user = ?named, "there is no such user yet to delegate to");
                    }
                    Err(errno) => {
                        let error = Error::kernel("look up the user", errno);
                        tracing::warn!(user = ?named, "not delegated as configured: {error}");
                    }
                }
            }
        }
    }

    fn settle_user(&self, user: &User, edition: u64) {
        let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
        let settled = self.share_of_user(uid).and_then(|share| match share {
            Some(share) => self.settle(&share, (uid, gid), edition),
            None => Ok(Settled::Done),
        });
        if let Err(error) = settled {
            self.delegations.fail(uid, edition, &error);
        }
    }

    /// Makes what a rule gives a user. Where all is there, nobody waits for another user's.
    fn settle(&self, share: &Share, (uid, gid): (u32, u32), edition: u64) -> Result<Settled> {
        let request = Request::new(self, self.itself()?)?;
        if request.is_given(share, uid)? {
            self.delegations.retries.succeed(uid);
            return Ok(Settled::Done);
        }
        let _alone = self.delegations.alone();
        // Another call of the user may have failed while this one waited.
        if !self.delegations.is_due(uid, edition) {
            return Ok(Settled::Later);
        }
        let made = match request.is_given(share, uid)? {
            true => Ok(false),
            false => request.make_share(share, uid, gid),
        };
        let path = share.path.to_string();
        let made = made.map_err(|error| error.during("delegate", &path));
        // Remembered before another call of the user gets the lock.
        if made.inspect_err(|error| self.delegations.fail(uid, edition, error))? {
            tracing::info!(uid, path, "delegated, as configured");
        }
        self.delegations.retries.succeed(uid);
        Ok(Settled::Done)
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

fn groups_of(user: &User) -> nix::Result<Vec<u32>> {
    let name = CString::new(user.name.as_str()).unwrap_or_default();
    Ok(getgrouplist(&name, user.gid)?.into_iter().map(|gid| gid.as_raw()).collect())
}
