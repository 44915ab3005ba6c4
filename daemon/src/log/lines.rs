//! How many lines one accounting key gets in the log for what it was refused. Without a bound any
//! client could fill the disk, or make the journal drop the lines of others.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines that may follow each other at once.
const BURST: u32 = 10;
/// Then one line in this time.
const REFILL: Duration = Duration::from_secs(6);
/// Keys that are told apart at the same time; all further ones share one bucket.
const KEYS: usize = 1024;

/// A token bucket for each accounting key.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<Buckets>);

/// What to do with a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Log it.
    Log {
        /// How many were not logged since the last one.
        suppressed: u64,
        /// Whether the next one will not be, unless time passes.
        last: bool,
    },
    /// It has been counted.
    Suppress,
}

#[derive(Debug, Default)]
struct Buckets {
    keys: HashMap<u32, Bucket>,
    others: Option<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    filled: Instant,
    suppressed: u64,
}

impl Refusals {
    /// Whether a refusal of this key is logged now, and how many were not since the last one.
    pub fn pass(&self, key: u32) -> Option<u64> {
        self.admit(key, Instant::now()).logged()
    }

    /// As [`Self::pass`], at a given time.
    pub fn admit(&self, key: u32, now: Instant) -> Admission {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.of(key, now).take(now)
    }
}

impl Admission {
    /// How many lines were left out, when this one is not.
    pub fn logged(self) -> Option<u64> {
        match self {
            Self::Log { suppressed, .. } => Some(suppressed),
            Self::Suppress => None,
        }
    }
}

impl Buckets {
    fn of(&mut self, key: u32, now: Instant) -> &mut Bucket {
        if self.keys.len() >= KEYS && !self.keys.contains_key(&key) {
            self.keys.retain(|_, bucket| !bucket.is_idle(now));
        }
        match self.keys.len() < KEYS || self.keys.contains_key(&key) {
            true => self.keys.entry(key).or_insert_with(|| Bucket::new(now)),
            false => self.others.get_or_insert_with(|| Bucket::new(now)),
        }
    }
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self { tokens: BURST, filled: now, suppressed: 0 }
    }

    /// Whether it is full again: forgetting it loses a count at most.
    fn is_idle(&self, now: Instant) -> bool {
        self.tokens + self.earned(now) >= BURST
    }

    fn earned(&self, now: Instant) -> u32 {
        let periods = now.saturating_duration_since(self.filled).as_secs() / REFILL.as_secs();
        u32::try_from(periods).unwrap_or(BURST).min(BURST)
    }

    fn take(&mut self, now: Instant) -> Admission {
        let earned = self.earned(now);
        if self.tokens + earned >= BURST {
            (self.tokens, self.filled) = (BURST, now);
        } else {
            self.tokens += earned;
            self.filled += REFILL * earned;
        }
        let Some(left) = self.tokens.checked_sub(1) else {
            self.suppressed += 1;
            return Admission::Suppress;
        };
        self.tokens = left;
        let suppressed = std::mem::take(&mut self.suppressed);
        // Said once per flood: a line that was earned in the middle of one does not repeat it.
        Admission::Log { suppressed, last: left == 0 && suppressed == 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Admission = Admission::Log { suppressed: 0, last: false };
    const LAST: Admission = Admission::Log { suppressed: 0, last: true };

    fn burst(refusals: &Refusals, key: u32, now: Instant) {
        for _ in 1..BURST {
            assert_eq!(refusals.admit(key, now), QUIET);
        }
        assert_eq!(refusals.admit(key, now), LAST);
        assert_eq!(refusals.admit(key, now), Admission::Suppress);
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        burst(&refusals, 1000, start);
        for _ in 0..99 {
            assert_eq!(refusals.admit(1000, start), Admission::Suppress);
        }
        let counted = Admission::Log { suppressed: 100, last: false };
        assert_eq!(refusals.admit(1000, start + REFILL), counted);
        assert_eq!(refusals.admit(1000, start + REFILL), Admission::Suppress);
    }

    #[test]
    fn one_key_does_not_silence_another() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        burst(&refusals, 1000, start);
        assert_eq!(refusals.admit(1001, start), QUIET);
    }

    #[test]
    fn after_a_pause_the_burst_is_whole_again() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        burst(&refusals, 1000, start);
        let later = start + REFILL * (BURST + 1);
        assert_eq!(refusals.admit(1000, later), Admission::Log { suppressed: 1, last: false });
        for _ in 2..BURST {
            assert_eq!(refusals.admit(1000, later), QUIET);
        }
        assert_eq!(refusals.admit(1000, later), LAST);
    }

    #[test]
    fn memory_is_bounded_whoever_comes() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        for key in 0..KEYS as u32 * 3 {
            refusals.admit(key, start);
        }
        assert_eq!(refusals.0.lock().unwrap().keys.len(), KEYS);
        let late = KEYS as u32 * 3;
        assert_eq!(refusals.admit(late, start), Admission::Suppress, "the shared bucket is empty");
        assert_eq!(refusals.admit(late, start + REFILL), QUIET, "idle keys made room");
    }
}
