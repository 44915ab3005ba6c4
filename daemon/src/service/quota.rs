//! How many cgroups an account may have. The kernel counts nothing per user on v1, so the daemon
//! remembers what it made for whom, for as long as it runs, and before it refuses it looks which of
//! that is gone. Who asks, and what else the asker may see, does not change the count; neither does
//! what somebody makes without the daemon.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cgroupd_proto::{CgroupPath, ErrorName};

use super::Request;
use super::target::Target;
use crate::accounting::{Account, Accounts, Charge, Full, Resource};
use crate::cgroup::{DirId, Hierarchy};
use crate::policy::Class;
use crate::{Error, Result};

/// The `[quota]` of the configuration, and what was made for whom.
#[derive(Debug)]
pub struct Quota {
    /// The most cgroups of one account in one hierarchy.
    pub cgroups: usize,
    /// The most levels below a caller's scope.
    pub depth: usize,
    made: Mutex<HashMap<Key, Made>>,
}

/// An account and a hierarchy. (Once a container has ended, its number may pass to another, together
/// with what it left behind.)
type Key = (Account, usize);

/// What was made for an account in a hierarchy.
#[derive(Debug)]
struct Made {
    /// The inode numbers.
    inodes: HashSet<u64>,
    /// As many as there are inodes.
    charge: Charge,
    looked: Option<Instant>,
}

/// Room for cgroups that a call is about to make; what it does not make is given back.
#[derive(Debug)]
pub(super) struct Room<'a> {
    quota: &'a Quota,
    key: Key,
    charge: Charge,
}

impl Default for Quota {
    fn default() -> Self {
        Self::new(10_000, CgroupPath::MAX_DEPTH)
    }
}

impl Quota {
    /// How long a look at what was made is believed.
    const LOOK: Duration = Duration::from_secs(1);

    /// These bounds, and nothing made yet.
    pub fn new(cgroups: usize, depth: usize) -> Self {
        Self { cgroups, depth, made: Mutex::default() }
    }

    /// Forgets cgroups that are gone, of the accounts that count in the bound that was reached. Those
    /// of an account are looked at once a second at most.
    ///
    /// # Errors
    /// As [`Hierarchy::gone`].
    fn forget_gone(&self, full: &Full, index: usize, hierarchy: &Hierarchy) -> nix::Result<()> {
        for (key, made) in self.due(full, index) {
            self.forget(key, hierarchy.gone(&made)?);
        }
        Ok(())
    }

    /// The cgroups to be looked at, by account.
    fn due(&self, full: &Full, index: usize) -> Vec<(Key, Vec<u64>)> {
        let mut all = self.lock();
        let counted = all.iter_mut().filter(|((account, hierarchy), made)| {
            *hierarchy == index
                && full.counts(*account)
                && made.looked.is_none_or(|at| at.elapsed() > Self::LOOK)
        });
        let look = |(key, made): (&Key, &mut Made)| {
            made.looked = Some(Instant::now());
            (*key, made.inodes.iter().copied().collect())
        };
        counted.map(look).collect()
    }

    fn remember(&self, key: Key, inode: u64, charge: Charge) {
        let mut all = self.lock();
        let new = || Made { inodes: HashSet::new(), charge: charge.empty(), looked: None };
        let made = all.entry(key).or_insert_with(new);
        if made.inodes.insert(inode) {
            made.charge.merge(charge);
        }
    }

    fn forget(&self, key: Key, gone: impl IntoIterator<Item = u64>) {
        let mut all = self.lock();
        let Some(made) = all.get_mut(&key) else { return };
        for inode in gone {
            if made.inodes.remove(&inode) {
                made.charge.shrink(1);
            }
        }
        // Nobody is kept in memory for what was there once.
        if made.inodes.is_empty() {
            all.remove(&key);
        } else if made.inodes.capacity() > 4 * made.inodes.len().max(64) {
            made.inodes.shrink_to_fit();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The quota in which a cgroup counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted<'a> {
    quota: &'a Quota,
    key: Key,
}

impl Counted<'_> {
    /// The cgroup was removed.
    pub(super) fn forget(self, id: DirId) {
        self.quota.forget(self.key, [id.inode]);
    }
}

impl<'a> Room<'a> {
    /// Where what is made counts.
    pub(super) fn counted(&self) -> Counted<'a> {
        Counted { quota: self.quota, key: self.key }
    }

    /// One of them was made.
    pub(super) fn made(&mut self, id: DirId) {
        if let Some(one) = self.charge.split(1) {
            self.quota.remember(self.key, id.inode, one);
        }
    }
}

/// The bounds that a cgroup counts in: those of its account, of one user in all containers, of all
/// containers, and of all accounts.
const BOUNDS: usize = 4;

impl Request<'_> {
    /// Takes room for `more` cgroups from the caller's quota before they are made; `None` for host
    /// root, who has none.
    pub(super) fn charge_cgroups(&self, target: &Target, more: usize) -> Result<Option<Room<'_>>> {
        let quota = &self.service.quota;
        if self.subject().class == Class::HostRoot || more == 0 {
            return Ok(None);
        }
        if target.names.len() > quota.depth {
            return Err(exceeded(format!("it would be deeper than {} levels", quota.depth)));
        }
        let (key, most) = (self.quota_key(target.hierarchy), self.most_cgroups()?);
        let hierarchy = self.hierarchy(target.hierarchy);
        let accounts = &self.service.accounts;
        let mut charged = take(accounts, key, more, most);
        // Of each bound that was reached, what counts in it is looked at.
        for _ in 0..BOUNDS {
            let Err(full) = charged else { break };
            let looked = quota.forget_gone(&full, target.hierarchy, hierarchy);
            looked.map_err(|errno| Error::kernel("count the caller's cgroups", errno))?;
            charged = take(accounts, key, more, most);
        }
        let charge = charged.map_err(|full| exceeded(format!("{full} in {}", hierarchy.label)))?;
        Ok(Some(Room { quota, key, charge }))
    }

    /// Gives back what was removed.
    pub(super) fn discharge(&self, hierarchy: usize, removed: &[DirId]) {
        if self.subject().class != Class::HostRoot {
            let gone = removed.iter().map(|id| id.inode);
            self.service.quota.forget(self.quota_key(hierarchy), gone);
        }
    }

    fn quota_key(&self, hierarchy: usize) -> Key {
        (self.caller.account, hierarchy)
    }
}

fn take(
    accounts: &Arc<Accounts>,
    (account, hierarchy): Key,
    more: usize,
    most: Option<usize>,
) -> std::result::Result<Charge, Full> {
    accounts.charge_within(account, Resource::Cgroups(hierarchy), more, most)
}

fn exceeded(text: String) -> Error {
    Error::new(ErrorName::QuotaExceeded, text)
        .hint("remove some, or ask the administrator to raise [quota] or cgroups in [[delegate]]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::Bounds;
    use crate::transport::Limits;

    const KEY: Key = (Account::User(1000), 0);

    fn accounts(cgroups: usize) -> Arc<Accounts> {
        Accounts::new(Bounds::new(&Limits::default(), cgroups))
    }

    fn room<'a>(quota: &'a Quota, accounts: &Arc<Accounts>, more: usize) -> Option<Room<'a>> {
        let charge = take(accounts, KEY, more, None).ok()?;
        Some(Room { quota, key: KEY, charge })
    }

    fn used(accounts: &Accounts) -> usize {
        accounts.used(KEY.0, Resource::Cgroups(0))
    }

    #[test]
    fn case_53_calls_at_the_same_time_share_the_quota() {
        let (quota, accounts) = (Quota::new(1000, 32), accounts(1000));
        let make = |n: u64| {
            let room = room(&quota, &accounts, 1);
            room.map(|mut room| room.made(DirId { device: 0, inode: n })).is_some()
        };
        let taken = std::thread::scope(|threads| {
            let calls = (0..8).map(|thread| {
                threads.spawn(move || (0..1000).filter(|n| make(thread * 1000 + n)).count())
            });
            let calls: Vec<_> = calls.collect();
            calls.into_iter().map(|call| call.join().unwrap()).sum::<usize>()
        });
        assert_eq!((taken, used(&accounts)), (1000, 1000));
    }

    #[test]
    fn what_is_not_made_is_given_back() {
        let (quota, accounts) = (Quota::new(3, 32), accounts(3));
        let mut two = room(&quota, &accounts, 2).unwrap();
        assert!(room(&quota, &accounts, 2).is_none());
        two.made(DirId { device: 0, inode: 7 });
        drop(two);
        assert_eq!(used(&accounts), 1);
        quota.forget(KEY, [7, 8]);
        assert!(quota.lock().is_empty() && accounts.is_empty());
    }

    #[test]
    fn what_is_looked_at_is_what_is_too_much() {
        let (quota, accounts) = (Quota::new(1, 32), accounts(1));
        room(&quota, &accounts, 1).unwrap().made(DirId { device: 0, inode: 7 });
        let full = take(&accounts, KEY, 1, None).unwrap_err();
        assert_eq!(quota.due(&full, 1), []);
        assert_eq!(quota.due(&full, 0), [(KEY, vec![7])]);
        assert_eq!(quota.due(&full, 0), [], "not again so soon");
    }
}
