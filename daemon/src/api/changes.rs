//! How many calls of one customer run at the same time. Each occupies a thread, and threads
//! are what all customers share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One semaphore per accounting key that has calls under way.
#[derive(Debug)]
pub(super) struct Changes {
    per_key: usize,
    keys: Mutex<HashMap<u32, Arc<Semaphore>>>,
}

impl Changes {
    /// Keys that are remembered before idle ones are dropped.
    const SWEEP_AT: usize = 256;

    pub(super) fn new(per_key: usize) -> Self {
        Self { per_key, keys: Mutex::default() }
    }

    /// Waits for a turn. The permit is given back when dropped.
    pub(super) async fn permit(&self, key: u32) -> Option<OwnedSemaphorePermit> {
        let semaphore = self.semaphore(key);
        semaphore.acquire_owned().await.ok()
    }

    fn semaphore(&self, key: u32) -> Arc<Semaphore> {
        let mut keys = self.keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if keys.len() > Self::SWEEP_AT {
            keys.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        }
        Arc::clone(keys.entry(key).or_insert_with(|| Arc::new(Semaphore::new(self.per_key))))
    }
}
