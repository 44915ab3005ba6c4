//! Threads for writes that make the kernel reclaim memory, which can take as long as it likes.
//! The caller waits until its deadline; the thread stays until the kernel lets it go, charged
//! to whoever asked, so that nobody else pays for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Instant;

use cgroupd_proto::ErrorName;

use crate::{Error, Result};

/// The threads that are out there, by accounting key.
#[derive(Clone, Debug, Default)]
pub struct ReclaimPool(Arc<Mutex<HashMap<u32, usize>>>);

/// The right to have one thread at a time. Lasts as long as the thread.
#[derive(Clone, Debug)]
pub(crate) struct Permit {
    _charge: Arc<Charge>,
}

#[derive(Debug)]
struct Charge {
    pool: ReclaimPool,
    key: u32,
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// The deadline passed; the work goes on.
    UnderWay,
    /// There was no thread to do it: nothing happened.
    NoThread,
}

impl ReclaimPool {
    /// Threads of one key: one that is stuck must not keep its owner from trying again.
    pub const PER_KEY: usize = 2;
    /// Threads of all keys.
    pub const ALL: usize = 64;

    /// A pool without threads.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many threads work or are stuck.
    pub fn threads(&self) -> usize {
        self.lock().values().sum()
    }

    /// Charges a thread to `key`.
    pub(crate) fn permit(&self, key: u32) -> Result<Permit> {
        let mut charged = self.lock();
        if charged.values().sum::<usize>() >= Self::ALL {
            return Err(full("too many writes wait for memory to be reclaimed"));
        }
        let own = charged.entry(key).or_default();
        if *own >= Self::PER_KEY {
            return Err(full(
                "two earlier writes of the caller's still wait for memory to be reclaimed",
            ));
        }
        *own += 1;
        Ok(Permit { _charge: Arc::new(Charge { pool: self.clone(), key }) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn full(why: &str) -> Error {
    Error::new(ErrorName::QuotaExceeded, why).hint("wait until the kernel has reclaimed for them")
}

impl Permit {
    /// Runs `work` on a thread of its own and waits for it until `deadline`.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::result::Result<T, Unfinished> {
        const STACK: usize = 128 << 10;
        let (sender, result) = mpsc::sync_channel(1);
        let charge = self.clone();
        let thread = std::thread::Builder::new().name("reclaim".into()).stack_size(STACK);
        let started = thread.spawn(move || {
            let outcome = work();
            // Before the answer: whoever has it can count on the thread's place being free.
            drop(charge);
            // Nobody listens any more when the deadline has passed.
            let _ = sender.send(outcome);
        });
        started.map_err(|_| Unfinished::NoThread)?;
        let left = deadline.saturating_duration_since(Instant::now());
        result.recv_timeout(left).map_err(|_| Unfinished::UnderWay)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut charged = self.pool.lock();
        if let Some(own) = charged.get_mut(&self.key) {
            *own -= 1;
            if *own == 0 {
                charged.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn two_stuck_threads_are_a_keys_share() {
        let pool = ReclaimPool::new();
        let mut doors = Vec::new();
        for _ in 0..ReclaimPool::PER_KEY {
            let (open, door) = mpsc::channel::<()>();
            doors.push(open);
            let permit = pool.permit(1000).unwrap();
            let soon = Instant::now() + Duration::from_millis(20);
            assert_eq!(permit.run(soon, move || door.recv().is_ok()), Err(Unfinished::UnderWay));
        }
        assert_eq!(pool.threads(), 2);
        assert_eq!(pool.permit(1000).unwrap_err().name, ErrorName::QuotaExceeded);
        let other = pool.permit(2000).unwrap();
        assert_eq!(other.run(Instant::now() + Duration::from_secs(5), || 7), Ok(7));
        drop((other, doors));
        let patience = Instant::now() + Duration::from_secs(5);
        while pool.threads() > 0 {
            assert!(Instant::now() < patience);
            std::thread::yield_now();
        }
        assert!(pool.permit(1000).is_ok());
    }

    #[test]
    fn all_together_are_bounded() {
        let pool = ReclaimPool::new();
        let keys = 0..ReclaimPool::ALL as u32;
        let permits: Vec<Permit> = keys.map(|key| pool.permit(key).unwrap()).collect();
        assert_eq!(pool.permit(9999).unwrap_err().name, ErrorName::QuotaExceeded);
        drop(permits);
        assert_eq!(pool.threads(), 0);
    }
}
