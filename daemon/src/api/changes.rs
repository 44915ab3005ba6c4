//! How many calls of one customer run at the same time. Each occupies a thread, and threads
//! are what all customers share.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// One semaphore per accounting key that has calls under way, and one for all together.
#[derive(Debug)]
pub(super) struct Changes<K = u32> {
    per_key: usize,
    most: usize,
    all: Arc<Semaphore>,
    keys: Mutex<HashMap<K, Arc<Semaphore>>>,
}

/// The right to run one call.
#[derive(Debug)]
pub(super) struct Turn {
    _own: OwnedSemaphorePermit,
    _common: OwnedSemaphorePermit,
}

impl<K: Eq + Hash> Changes<K> {
    /// Keys that are remembered before idle ones are dropped.
    const SWEEP_AT: usize = 256;

    /// So many of each key, and so many of all keys together.
    pub(super) fn new(per_key: usize, most: usize) -> Self {
        Self { per_key, most, all: Arc::new(Semaphore::new(most)), keys: Mutex::default() }
    }

    /// Waits until none runs.
    pub(super) async fn end(&self) {
        drop(self.all_turns().await);
    }

    /// The same, and from then on none begins: whoever waits for a turn gets none.
    pub(super) async fn close(&self) {
        let last = self.all_turns().await;
        self.all.close();
        drop(last);
    }

    /// `None` once it is closed.
    async fn all_turns(&self) -> Option<SemaphorePermit<'_>> {
        let all = u32::try_from(self.most).unwrap_or(u32::MAX);
        self.all.acquire_many(all).await.ok()
    }

    /// Waits for a turn: among the key's own calls first, so that nobody holds a place in the
    /// common queue with more than its share. Given back when dropped; `None` at the end.
    pub(super) async fn permit(&self, key: K) -> Option<Turn> {
        let own = self.semaphore(key).acquire_owned().await.ok()?;
        let common = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Turn { _own: own, _common: common })
    }

    fn semaphore(&self, key: K) -> Arc<Semaphore> {
        let mut keys = self.keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if keys.len() > Self::SWEEP_AT {
            keys.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        }
        Arc::clone(keys.entry(key).or_insert_with(|| Arc::new(Semaphore::new(self.per_key))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_at_the_end_gets_no_turn() {
        let changes = Arc::new(Changes::<u32>::new(1, 2));
        let under_way = changes.permit(1).await.expect("there is room");
        let end = tokio::spawn({
            let changes = Arc::clone(&changes);
            async move { changes.close().await }
        });
        while changes.all.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(!end.is_finished(), "one is under way");
        let (late, ()) = tokio::join!(changes.permit(2), async { drop(under_way) });
        assert!(late.is_none());
        end.await.expect("it ends");
    }
}
