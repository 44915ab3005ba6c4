//! What waits to be looked at, in a lane for each account: a lane whose looks take long does not make
//! those of others wait for all of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::accounting::Account;

/// A queue from which one thread takes, fairly.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    waiting: Mutex<Waiting<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Waiting<T> {
    lanes: BTreeMap<Account, Lane<T>>,
    closed: bool,
}

#[derive(Debug)]
struct Lane<T> {
    items: VecDeque<T>,
    /// The time that its looks have taken.
    spent: Duration,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        let waiting = Waiting { lanes: BTreeMap::new(), closed: false };
        Self { waiting: Mutex::new(waiting), changed: Condvar::new() }
    }
}

impl<T> Lanes<T> {
    /// Adds something to an account's lane. A lane that begins has spent as much as the others.
    pub(super) fn put(&self, account: Account, item: T) {
        let mut waiting = self.lock();
        let least = waiting.lanes.values().map(|lane| lane.spent).min().unwrap_or_default();
        let begin = || Lane { items: VecDeque::new(), spent: least };
        waiting.lanes.entry(account).or_insert_with(begin).items.push_back(item);
        self.changed.notify_one();
    }

    /// Waits for the next one, of the lane that has spent least; `None` once it is closed. Whoever
    /// takes says with [`Self::took`] how long it took.
    pub(super) fn take(&self) -> Option<(Account, T)> {
        let mut waiting = self.lock();
        loop {
            if waiting.closed {
                return None;
            }
            let ready = waiting.lanes.iter_mut().filter(|(_, lane)| !lane.items.is_empty());
            if let Some((account, lane)) = ready.min_by_key(|(_, lane)| lane.spent)
                && let Some(item) = lane.items.pop_front()
            {
                return Some((*account, item));
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What was taken last of this account took so long. Its lane ends when nothing waits in it.
    pub(super) fn took(&self, account: Account, time: Duration) {
        let mut waiting = self.lock();
        if let Some(lane) = waiting.lanes.get_mut(&account) {
            lane.spent += time;
            if lane.items.is_empty() {
                waiting.lanes.remove(&account);
            }
        }
    }

    /// Lets whoever waits go.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Account = Account::User(1000);
    const BOB: Account = Account::User(1001);

    fn next(lanes: &Lanes<u32>, took: u64) -> u32 {
        let (account, item) = lanes.take().unwrap();
        lanes.took(account, Duration::from_millis(took));
        item
    }

    #[test]
    fn a_lane_that_takes_long_waits_for_others() {
        let lanes = Lanes::default();
        (0..4).for_each(|item| lanes.put(ALICE, item));
        assert_eq!(next(&lanes, 100), 0);
        // It begins where the other is, and takes less.
        (10..14).for_each(|item| lanes.put(BOB, item));
        assert_eq!(next(&lanes, 100), 1);
        let rest: Vec<u32> = (0..6).map(|_| next(&lanes, 1)).collect();
        assert_eq!(rest, [10, 11, 12, 13, 2, 3]);
        assert!(lanes.lock().lanes.is_empty());
    }

    #[test]
    fn who_waits_is_let_go_at_the_end() {
        let lanes = Lanes::<u32>::default();
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| lanes.take());
            lanes.close();
            assert_eq!(waiting.join().unwrap(), None);
        });
    }
}
