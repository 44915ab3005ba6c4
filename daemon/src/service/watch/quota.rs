//! How many watches there may be: each costs the kernel memory, and everybody's notices come
//! through one instance of inotify.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cgroupd_proto::ErrorName;
use nix::sys::resource::{Resource, getrlimit};

use crate::caller::ROOT;
use crate::cgroup::watch::Hub;
use crate::{Error, Result};

/// The most watches of one accounting key.
const PER_KEY: usize = 256;
/// The most watches in all; those of root come on top.
const IN_ALL: usize = 4096;

/// All watches.
#[derive(Debug, Default)]
pub struct Watches {
    /// Who tells them to look.
    pub(in crate::service) hub: Hub,
    counts: Arc<Counts>,
}

type Counts = Mutex<HashMap<u32, Count>>;

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    watches: usize,
    descriptors: usize,
}

/// One watch of an accounting key, until it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    counts: Arc<Counts>,
    key: u32,
    descriptors: usize,
}

impl Watches {
    /// Counts one watch more, which holds so many descriptors: where there are many hierarchies
    /// these run out before the watches do, and everybody's calls need some.
    ///
    /// # Errors
    /// QuotaExceeded.
    pub(super) fn charge(&self, key: u32, descriptors: usize) -> Result<Charge> {
        let mut counts = lock(&self.counts);
        let own = counts.get(&key).copied().unwrap_or_default();
        let others = counts.iter().filter(|(key, _)| **key != ROOT).map(|(_, count)| count);
        let all = others.fold(Count::default(), |all, count| Count {
            watches: all.watches + count.watches,
            descriptors: all.descriptors + count.descriptors,
        });
        let open = open_files();
        let is_full = all.watches >= IN_ALL || all.descriptors + descriptors > open / 2;
        let text = if own.watches >= PER_KEY {
            format!("this user has {PER_KEY} watches already")
        } else if own.descriptors + descriptors > open / 4 {
            format!("this user's {} watches hold a fourth of the descriptors", own.watches)
        } else if key != ROOT && is_full {
            format!("all users together have {} watches already", all.watches)
        } else {
            let own = counts.entry(key).or_default();
            own.watches += 1;
            own.descriptors += descriptors;
            return Ok(Charge { counts: Arc::clone(&self.counts), key, descriptors });
        };
        Err(Error::new(ErrorName::QuotaExceeded, text)
            .hint("end some with Unwatch, or close their connections"))
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        if let Some(own) = counts.get_mut(&self.key) {
            own.watches -= 1;
            own.descriptors -= self.descriptors;
            if own.watches == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

/// How many files this process may have open. One that cannot tell has what is usual.
pub(in crate::service) fn open_files() -> usize {
    const USUAL: u64 = 1024;
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((USUAL, USUAL));
    usize::try_from(soft).unwrap_or(usize::MAX)
}

fn lock(counts: &Counts) -> MutexGuard<'_, HashMap<u32, Count>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_has_its_share_and_root_gets_in() {
        let watches = Watches::default();
        let mut held: Vec<_> = (0..PER_KEY).map(|_| watches.charge(1000, 0).unwrap()).collect();
        assert_eq!(watches.charge(1000, 0).unwrap_err().name, ErrorName::QuotaExceeded);
        for key in 1001.. {
            match (0..PER_KEY).map(|_| watches.charge(key, 0)).collect::<Result<Vec<_>>>() {
                Ok(more) => held.extend(more),
                Err(_) => break,
            }
        }
        assert_eq!(held.len(), IN_ALL);
        assert!(watches.charge(ROOT, 0).is_ok());
        held.truncate(1);
        assert!(watches.charge(1000, 0).is_ok());
        drop(held);
        assert!(lock(&watches.counts).is_empty());
    }

    #[test]
    fn watches_do_not_take_the_last_descriptors() {
        let (watches, open) = (Watches::default(), open_files());
        let most = open / 4;
        let held = [watches.charge(1000, most).unwrap(), watches.charge(1001, most).unwrap()];
        assert!(watches.charge(ROOT, most).is_ok(), "those of root come on top");
        for (key, descriptors) in [(1000, 2), (1002, 2), (ROOT, most + 1)] {
            let refused = watches.charge(key, descriptors).unwrap_err();
            assert_eq!(refused.name, ErrorName::QuotaExceeded, "{key}");
        }
        assert!(watches.charge(ROOT, 2).is_ok());
        drop(held);
        assert!(watches.charge(1002, 2).is_ok());
    }
}
