//! How many processes the calls of a customer may pin at a time. They are pinned before any check,
//! and where no descriptor is left, nobody's messages can be received.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cgroupd_proto::ErrorName;

use super::watch::open_files;
use crate::caller::ROOT;
use crate::{Error, Result};

/// The descriptors of a pinned process: itself and its directory in `/proc`. The cgroup it comes
/// from in each hierarchy is kept open too, until the move is done.
const EACH: usize = 2;
/// One customer's share of the open files is one of so many.
const SHARES: usize = 8;

/// All pins, by accounting key.
#[derive(Debug, Default)]
pub struct Pins(Arc<Counts>);

type Counts = Mutex<HashMap<u32, usize>>;

/// Room for some processes, until it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    counts: Arc<Counts>,
    key: u32,
    count: usize,
}

impl Pins {
    /// Room for `count` more processes, where there are so many hierarchies. All customers together
    /// have half of the open files, and host root has what it can get.
    ///
    /// # Errors
    /// QuotaExceeded.
    pub(super) fn hold(&self, key: u32, count: usize, hierarchies: usize) -> Result<Held> {
        self.hold_of(key, count, open_files() / (EACH + hierarchies))
    }

    fn hold_of(&self, key: u32, count: usize, most: usize) -> Result<Held> {
        let mut counts = lock(&self.0);
        let own = counts.get(&key).copied().unwrap_or_default();
        let all: usize = counts.iter().filter(|(key, _)| **key != ROOT).map(|(_, n)| n).sum();
        let is_full = own + count > most / SHARES || all + count > most / 2;
        if key != ROOT && is_full {
            let text = format!("{count} processes are too many to move at once now");
            return Err(Error::new(ErrorName::QuotaExceeded, text)
                .hint("name fewer in a call, or wait for the calls that are under way"));
        }
        *counts.entry(key).or_default() += count;
        Ok(Held { counts: Arc::clone(&self.0), key, count })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        if let Some(own) = counts.get_mut(&self.key) {
            *own -= self.count;
            if *own == 0 {
                counts.remove(&self.key);
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
    fn case_56_one_customer_has_an_eighth_and_all_together_a_half() {
        let pins = Pins::default();
        let hold = |key, count| pins.hold_of(key, count, 800);
        let own = hold(1000, 100).unwrap();
        assert_eq!(hold(1000, 1).unwrap_err().name, ErrorName::QuotaExceeded);
        let others: Result<Vec<Held>> = (1001..=1003).map(|key| hold(key, 100)).collect();
        let others = others.unwrap();
        assert!(hold(1004, 1).is_err());
        assert!(hold(ROOT, 700).is_ok(), "root has its own");
        drop(own);
        assert!(hold(1000, 100).is_ok() && hold(1004, 100).is_ok());
        drop(others);
        assert!(lock(&pins.0).is_empty());
    }
}
