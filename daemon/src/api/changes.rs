//! How many calls of one customer run at the same time. Each occupies a thread, and threads
//! are what all customers share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One semaphore per accounting key that has calls under way, and one for all together.
#[derive(Debug)]
pub(super) struct Changes {
    per_key: usize,
    all: Arc<Semaphore>,
    keys: Mutex<HashMap<u32, Arc<Semaphore>>>,
}

/// The right to run one call.
#[derive(Debug)]
pub(super) struct Turn {
    _own: OwnedSemaphorePermit,
    _common: OwnedSemaphorePermit,
}

impl Changes {
    /// Keys that are remembered before idle ones are dropped.
    const SWEEP_AT: usize = 256;
    /// Calls at a time of all keys: fewer than the runtime has threads to stand in for theirs.
    const ALL: usize = 96;

    pub(super) fn new(per_key: usize) -> Self {
        Self { per_key, all: Arc::new(Semaphore::new(Self::ALL)), keys: Mutex::default() }
    }

    /// Waits for a turn: among the key's own calls first, so that nobody holds a place in the
    /// common queue with more than its share. Given back when dropped.
    pub(super) async fn permit(&self, key: u32) -> Option<Turn> {
        let own = self.semaphore(key).acquire_owned().await.ok()?;
        let common = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Turn { _own: own, _common: common })
    }

    fn semaphore(&self, key: u32) -> Arc<Semaphore> {
        let mut keys = self.keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if keys.len() > Self::SWEEP_AT {
            keys.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        }
        Arc::clone(keys.entry(key).or_insert_with(|| Arc::new(Semaphore::new(self.per_key))))
    }
}
