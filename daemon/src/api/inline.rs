//! Where the work of a call runs. It takes microseconds as a rule, which is less than handing
//! it to another thread would cost; but now and then the kernel makes it wait for milliseconds,
//! and then nobody may wait with it.
//!
//! So one call at a time runs on the worker that received it, while a watchdog looks on: after
//! a millisecond it wakes another worker, which takes over the sockets. Calls that come while
//! one runs are handed to other threads.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::block_in_place;

/// How long others may have to wait for a call.
const PATIENCE: Duration = Duration::from_millis(1);
/// Looks without a call until the watchdog goes to sleep.
const BOREDOM: u32 = 100;

/// The one place on the workers.
#[derive(Debug, Default)]
pub(super) struct Inline {
    shared: Arc<Shared>,
    /// Started with the first call; `None` when it could not be.
    watchdog: OnceLock<Option<Thread>>,
}

#[derive(Debug, Default)]
struct Shared {
    taken: AtomicBool,
    /// Even while nobody runs; every start and every end counts.
    turn: AtomicU64,
    asleep: AtomicBool,
}

/// The place is free again when this is dropped, also when the work panicked.
struct Turn<'a>(&'a Shared);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.turn.fetch_add(1, SeqCst);
        self.0.taken.store(false, SeqCst);
    }
}

impl Inline {
    /// Does `work`, which may block, without keeping others waiting. Only on a runtime with
    /// several workers.
    pub(super) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let watchdog = self.watchdog.get_or_init(|| start(&self.shared));
        let Some(watchdog) = watchdog else { return block_in_place(work) };
        if self.shared.taken.swap(true, SeqCst) {
            return block_in_place(work);
        }
        let _turn = Turn(&self.shared);
        self.shared.turn.fetch_add(1, SeqCst);
        if self.shared.asleep.swap(false, SeqCst) {
            watchdog.unpark();
        }
        work()
    }
}

/// Starts the watchdog; it ends with the daemon.
fn start(shared: &Arc<Shared>) -> Option<Thread> {
    let (shared, workers) = (Arc::clone(shared), Handle::try_current().ok()?);
    let thread = std::thread::Builder::new().name("watchdog".to_owned());
    let started = thread.spawn(move || watch(&shared, &workers));
    started.ok().map(|handle| handle.thread().clone())
}

fn watch(shared: &Shared, workers: &Handle) {
    let (mut seen, mut bored) = (0, 0);
    loop {
        std::thread::sleep(PATIENCE);
        let turn = shared.turn.load(SeqCst);
        let runs = turn % 2 == 1;
        if runs && turn == seen {
            // Any task does: whoever is woken for it waits for the sockets afterwards.
            workers.spawn(async {});
        }
        bored = if turn == seen && !runs { bored + 1 } else { 0 };
        seen = turn;
        if bored == BOREDOM {
            shared.asleep.store(true, SeqCst);
            // A call that began before it could see that needs nobody to wake us.
            if shared.turn.load(SeqCst) == seen {
                std::thread::park();
            }
            shared.asleep.store(false, SeqCst);
            bored = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// How long the slow call of these tests takes.
    /// Ten times as long where QEMU translates instructions, as the processor's name tells:
    /// there a timer is late by itself.
    fn long() -> Duration {
        let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Duration::from_millis(if about.contains("QEMU TCG CPU") { 4000 } else { 400 })
    }

    /// The most a timer was late: whoever waits for the sockets waits for the timers, too.
    async fn latest(until: Instant) -> Duration {
        let mut latest = Duration::ZERO;
        while Instant::now() < until {
            let began = Instant::now();
            tokio::time::sleep(PATIENCE).await;
            latest = latest.max(began.elapsed());
        }
        latest
    }

    /// A slow call on whichever worker waits for the sockets.
    fn slow(inline: &Arc<Inline>) {
        let inline = Arc::clone(inline);
        tokio::spawn(async move {
            tokio::time::sleep(long() / 20).await;
            inline.run(|| std::thread::sleep(long()));
        });
    }

    async fn others_are_served() {
        let others = tokio::spawn(latest(Instant::now() + long() / 2));
        let latest = others.await.unwrap();
        assert!(latest < long() / 4, "{latest:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn others_are_served_while_a_call_waits() {
        slow(&Arc::default());
        others_are_served().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn others_are_served_while_more_calls_wait_than_there_are_workers() {
        let inline = Arc::default();
        (0..4).for_each(|_| slow(&inline));
        others_are_served().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn after_a_panic_and_a_sleep_the_place_is_free_and_watched() {
        let inline = Arc::new(Inline::default());
        let panicking = Arc::clone(&inline);
        let panics = async move { panicking.run(|| panic!("on purpose")) };
        assert!(tokio::spawn(panics).await.is_err());
        assert!(!inline.shared.taken.load(SeqCst));
        while !inline.shared.asleep.load(SeqCst) {
            tokio::time::sleep(PATIENCE * 5).await;
        }
        slow(&inline);
        others_are_served().await;
        assert!(!inline.shared.asleep.load(SeqCst));
    }
}
