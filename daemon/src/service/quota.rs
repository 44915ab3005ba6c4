//! How many cgroups one customer may have. The kernel counts nothing per user on v1, so the
//! daemon counts what it makes, and looks at the tree again before it refuses.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cgroupd_proto::{CgroupPath, ErrorName};

use super::target::Target;
use super::{Request, request};
use crate::cgroup::{Dir, below};
use crate::policy::Class;
use crate::{Error, Result};

/// The `[quota]` of the configuration, and the counts.
#[derive(Debug)]
pub struct Quota {
    /// The most cgroups of one accounting key in one hierarchy.
    pub cgroups: usize,
    /// The most levels below a caller's scope.
    pub depth: usize,
    counts: Mutex<HashMap<Key, Count>>,
}

/// An accounting key and a hierarchy.
type Key = (u32, usize);

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    made: usize,
    looked: Option<Instant>,
}

impl Default for Quota {
    fn default() -> Self {
        Self::new(10_000, CgroupPath::MAX_DEPTH)
    }
}

impl Quota {
    /// How long a full count is believed before the tree is walked again.
    const RECOUNT: Duration = Duration::from_secs(1);

    /// These bounds, and nothing counted yet.
    pub fn new(cgroups: usize, depth: usize) -> Self {
        Self { cgroups, depth, counts: Mutex::default() }
    }

    /// Adds `more` to what a key has, if that is within the quota.
    fn take(&self, key: Key, more: usize) -> bool {
        let mut counts = self.counts();
        let count = counts.entry(key).or_default();
        let allowed = count.made + more <= self.cgroups;
        count.made += if allowed { more } else { 0 };
        allowed
    }

    /// Whether the tree may be walked for a key that seems to be full.
    fn may_look(&self, key: Key) -> bool {
        let mut counts = self.counts();
        let count = counts.entry(key).or_default();
        let due = count.looked.is_none_or(|at| at.elapsed() > Self::RECOUNT);
        count.looked = if due { Some(Instant::now()) } else { count.looked };
        due
    }

    fn found(&self, key: Key, made: usize) {
        self.counts().entry(key).or_default().made = made;
    }

    fn made(&self, key: Key) -> usize {
        self.counts().get(&key).map_or(0, |count| count.made)
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Count>> {
        self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Request<'_> {
    /// Takes `more` cgroups from the caller's quota before they are made. Host root has none.
    pub(super) fn charge(&self, target: &Target, more: usize) -> Result<()> {
        let quota = &self.service.quota;
        if self.subject().class == Class::HostRoot || more == 0 {
            return Ok(());
        }
        if target.names.len() > quota.depth {
            return Err(exceeded(format!("it would be deeper than {} levels", quota.depth)));
        }
        let key = (self.caller.key, target.hierarchy);
        let look = || {
            // A tree that cannot be counted, because somebody made it too deep, frees nothing.
            let found = self.count_below(&target.scope.dir, quota.cgroups);
            found.is_ok_and(|found| {
                quota.found(key, found);
                quota.take(key, more)
            })
        };
        match quota.take(key, more) || quota.may_look(key) && look() {
            true => Ok(()),
            false => Err(exceeded(format!("the caller has {} cgroups already", quota.made(key)))),
        }
    }

    /// Gives back what was removed.
    pub(super) fn discharge(&self, hierarchy: usize, fewer: usize) {
        let key = (self.caller.key, hierarchy);
        if let Some(count) = self.service.quota.counts().get_mut(&key) {
            count.made = count.made.saturating_sub(fewer);
        }
    }

    /// Cgroups below `dir` that belong to the caller or to ids it maps, at most `enough`.
    fn count_below(&self, dir: &Dir, enough: usize) -> nix::Result<usize> {
        let subject = self.subject();
        let mut found = 0;
        let count = |_: &Dir, _: &OsStr, dir: &Dir| {
            let node = request::node_of(dir);
            found += usize::from(node.is_ok_and(|n| subject.owns_branch(n.uid, n.gid)));
            Ok(if found >= enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        below(dir, count)?;
        Ok(found)
    }
}

fn exceeded(text: String) -> Error {
    Error::new(ErrorName::QuotaExceeded, text)
        .hint("remove some, or ask the administrator to raise [quota] in the configuration")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_53_calls_at_the_same_time_share_the_quota() {
        let quota = Quota::new(1000, 32);
        let taken = std::thread::scope(|threads| {
            let calls = (0..8)
                .map(|_| threads.spawn(|| (0..1000).filter(|_| quota.take((1000, 0), 1)).count()));
            let calls: Vec<_> = calls.collect();
            calls.into_iter().map(|call| call.join().unwrap()).sum::<usize>()
        });
        assert_eq!((taken, quota.made((1000, 0))), (1000, 1000));
        assert!(quota.may_look((1000, 0)));
        assert!(!quota.may_look((1000, 0)));
    }
}
