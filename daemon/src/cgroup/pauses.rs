//! Pauses between looks at something that tells nobody when it changes.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_micros(100);
const LONGEST: Duration = Duration::from_millis(10);

/// Each pause is twice as long as the one before, up to 10 ms, until a deadline.
#[derive(Debug)]
pub struct Pauses {
    next: Duration,
    until: Instant,
}

impl Pauses {
    /// Pauses that end by `until`.
    pub fn until(until: Instant) -> Self {
        Self { next: FIRST, until }
    }

    /// Sleeps for the next pause, at most until the deadline; `false`, at once, after it.
    pub fn sleep(&mut self) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            std::thread::sleep(self.next.min(left));
            self.next = LONGEST.min(self.next * 2);
        }
        !left.is_zero()
    }
}
