//! How many cgroups one customer may have. The kernel counts nothing per user on v1, so the daemon
//! remembers what it made for whom, for as long as it runs, and before it refuses it looks which of
//! that is gone. Who asks, and what else the asker may see, does not change the count; neither does
//! what somebody makes without the daemon.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cgroupd_proto::{CgroupPath, ErrorName};

use super::Request;
use super::target::Target;
use crate::caller::Customer;
use crate::cgroup::{DirId, Hierarchy};
use crate::policy::Class;
use crate::{Error, Result};

/// The `[quota]` of the configuration, and the accounts.
#[derive(Debug)]
pub struct Quota {
    /// The most cgroups of one accounting key in one hierarchy.
    pub cgroups: usize,
    /// The most levels below a caller's scope.
    pub depth: usize,
    accounts: Mutex<HashMap<Key, Account>>,
}

/// A customer and a hierarchy. (Once a container has ended, its number may pass to another, together
/// with the account of what it left behind.)
type Key = (Customer, usize);

#[derive(Debug, Default)]
struct Account {
    /// The inode numbers of what was made.
    made: HashSet<u64>,
    /// What calls that have not ended may still make.
    pending: usize,
    looked: Option<Instant>,
}

/// Room for cgroups that a call is about to make; what it does not make is given back.
#[derive(Debug)]
pub(super) struct Charge<'a> {
    quota: &'a Quota,
    key: Key,
    left: usize,
}

impl Default for Quota {
    fn default() -> Self {
        Self::new(10_000, CgroupPath::MAX_DEPTH)
    }
}

impl Quota {
    /// How long a full account is believed before it is looked at again.
    const LOOK: Duration = Duration::from_secs(1);

    /// These bounds, and nothing made yet.
    pub fn new(cgroups: usize, depth: usize) -> Self {
        Self { cgroups, depth, accounts: Mutex::default() }
    }

    /// Room for `more`, if there are no more than `most` then.
    fn take(&self, key: Key, more: usize, most: usize) -> Option<Charge<'_>> {
        let allowed = self.account(key, |account| {
            let allowed = account.used() + more <= most;
            account.pending += if allowed { more } else { 0 };
            allowed
        });
        // Made only then: one that is dropped gives back.
        allowed.then(|| Charge { quota: self, key, left: more })
    }

    /// Forgets what is gone; not more often than every second.
    ///
    /// # Errors
    /// As [`Hierarchy::gone`].
    fn forget_gone(&self, key: Key, hierarchy: &Hierarchy) -> nix::Result<()> {
        let made = self.account(key, |account| {
            let due = account.looked.is_none_or(|at| at.elapsed() > Self::LOOK);
            due.then(|| {
                account.looked = Some(Instant::now());
                account.made.iter().copied().collect::<Vec<u64>>()
            })
        });
        if let Some(made) = made {
            self.forget(key, hierarchy.gone(&made)?);
        }
        Ok(())
    }

    fn forget(&self, key: Key, gone: impl IntoIterator<Item = u64>) {
        self.account(key, |account| {
            for id in gone {
                account.made.remove(&id);
            }
        });
    }

    fn used(&self, key: Key) -> usize {
        self.account(key, |account| account.used())
    }

    fn account<T>(&self, key: Key, with: impl FnOnce(&mut Account) -> T) -> T {
        let mut accounts = self.accounts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let account = accounts.entry(key).or_default();
        let done = with(account);
        // Nobody is kept in memory for what was there once.
        if account.used() == 0 {
            accounts.remove(&key);
        } else if account.made.capacity() > 4 * account.made.len().max(64) {
            account.made.shrink_to_fit();
        }
        done
    }
}

impl Account {
    fn used(&self) -> usize {
        self.made.len() + self.pending
    }
}

impl Charge<'_> {
    /// One of them was made.
    pub(super) fn made(&mut self, id: DirId) {
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            self.quota.account(self.key, |account| {
                account.pending -= 1;
                account.made.insert(id.inode);
            });
        }
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        if self.left > 0 {
            self.quota.account(self.key, |account| account.pending -= self.left);
        }
    }
}

impl Request<'_> {
    /// Takes room for `more` cgroups from the caller's quota before they are made; `None` for host
    /// root, who has none.
    pub(super) fn charge(&self, target: &Target, more: usize) -> Result<Option<Charge<'_>>> {
        let quota = &self.service.quota;
        if self.subject().class == Class::HostRoot || more == 0 {
            return Ok(None);
        }
        if target.names.len() > quota.depth {
            return Err(exceeded(format!("it would be deeper than {} levels", quota.depth)));
        }
        let key = self.quota_key(target.hierarchy);
        let most = self.most_cgroups()?.unwrap_or(quota.cgroups);
        if let Some(charge) = quota.take(key, more, most) {
            return Ok(Some(charge));
        }
        let looked = quota.forget_gone(key, self.hierarchy(target.hierarchy));
        looked.map_err(|errno| Error::kernel("count the caller's cgroups", errno))?;
        let full = || exceeded(format!("the caller has {} cgroups already", quota.used(key)));
        quota.take(key, more, most).map(Some).ok_or_else(full)
    }

    /// Gives back what was removed.
    pub(super) fn discharge(&self, hierarchy: usize, removed: &[DirId]) {
        if self.subject().class != Class::HostRoot {
            let gone = removed.iter().map(|id| id.inode);
            self.service.quota.forget(self.quota_key(hierarchy), gone);
        }
    }

    fn quota_key(&self, hierarchy: usize) -> Key {
        (self.caller.customer(), hierarchy)
    }
}

fn exceeded(text: String) -> Error {
    Error::new(ErrorName::QuotaExceeded, text)
        .hint("remove some, or ask the administrator to raise [quota] in the configuration")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = ((1000, None), 0);

    #[test]
    fn case_53_calls_at_the_same_time_share_the_quota() {
        let quota = Quota::new(1000, 32);
        let make = |n: u64| {
            let charge = quota.take(KEY, 1, 1000);
            charge.map(|mut charge| charge.made(DirId { device: 0, inode: n })).is_some()
        };
        let taken = std::thread::scope(|threads| {
            let calls = (0..8).map(|thread| {
                threads.spawn(move || (0..1000).filter(|n| make(thread * 1000 + n)).count())
            });
            let calls: Vec<_> = calls.collect();
            calls.into_iter().map(|call| call.join().unwrap()).sum::<usize>()
        });
        assert_eq!((taken, quota.used(KEY)), (1000, 1000));
    }

    #[test]
    fn what_is_not_made_is_given_back() {
        let quota = Quota::new(3, 32);
        let mut two = quota.take(KEY, 2, 3).unwrap();
        assert!(quota.take(KEY, 2, 3).is_none() && quota.take(((1001, None), 0), 2, 3).is_some());
        two.made(DirId { device: 0, inode: 7 });
        drop(two);
        assert_eq!(quota.used(KEY), 1);
        quota.forget(KEY, [7, 8]);
        assert_eq!(quota.used(KEY), 0);
        assert!(quota.accounts.lock().unwrap().is_empty());
    }
}
