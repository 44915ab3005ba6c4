//! How many watches there may be: each costs the kernel memory, and everybody's notices come
//! through one instance of inotify.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cgroupd_proto::ErrorName;

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

type Counts = Mutex<HashMap<u32, usize>>;

/// One watch of an accounting key, until it is dropped.
#[derive(Debug)]
pub(super) struct Charge(Arc<Counts>, u32);

impl Watches {
    /// Counts one watch more.
    ///
    /// # Errors
    /// QuotaExceeded.
    pub(super) fn charge(&self, key: u32) -> Result<Charge> {
        let mut counts = lock(&self.counts);
        let others: usize = counts.iter().filter(|(key, _)| **key != ROOT).map(|(_, n)| n).sum();
        let own = counts.get(&key).copied().unwrap_or_default();
        let text = match own >= PER_KEY {
            true => format!("this user has {PER_KEY} watches already"),
            false if key != ROOT && others >= IN_ALL => {
                format!("all users together have {IN_ALL} watches already")
            }
            false => {
                counts.insert(key, own + 1);
                return Ok(Charge(Arc::clone(&self.counts), key));
            }
        };
        Err(Error::new(ErrorName::QuotaExceeded, text)
            .hint("end some with Unwatch, or close their connections"))
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut counts = lock(&self.0);
        if let Some(own) = counts.get_mut(&self.1) {
            *own -= 1;
            if *own == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

fn lock(counts: &Counts) -> MutexGuard<'_, HashMap<u32, usize>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_has_its_share_and_root_gets_in() {
        let watches = Watches::default();
        let mut held: Vec<_> = (0..PER_KEY).map(|_| watches.charge(1000).unwrap()).collect();
        assert_eq!(watches.charge(1000).unwrap_err().name, ErrorName::QuotaExceeded);
        for key in 1001.. {
            match (0..PER_KEY).map(|_| watches.charge(key)).collect::<Result<Vec<_>>>() {
                Ok(more) => held.extend(more),
                Err(_) => break,
            }
        }
        assert_eq!(held.len(), IN_ALL);
        assert!(watches.charge(ROOT).is_ok());
        held.truncate(1);
        assert!(watches.charge(1000).is_ok());
        drop(held);
        assert!(lock(&watches.counts).is_empty());
    }
}
