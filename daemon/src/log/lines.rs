//! How many lines one customer may cause in the log. Without a bound any client could fill the
//! disk, or make the journal drop the lines of others.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::caller::Customer;

/// Refusals: nobody needs many of them.
const REFUSALS: Rate = Rate { burst: 10, refill: Duration::from_secs(6) };
/// Changes: starting a few containers is no flood.
const CHANGES: Rate = Rate { burst: 500, refill: Duration::from_millis(200) };
/// Customers that are told apart at the same time; all further ones share one bucket.
const CUSTOMERS: usize = 1024;

/// A token bucket for each customer.
#[derive(Debug)]
pub struct Lines {
    rate: Rate,
    buckets: Mutex<Buckets>,
}

/// How many lines may follow each other at once; then one in each `refill`.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u32,
    refill: Duration,
}

/// What to do with a line.
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
    customers: HashMap<Customer, Bucket>,
    others: Option<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    filled: Instant,
    suppressed: u64,
}

impl Lines {
    /// About what was refused: ten, then ten a minute.
    pub fn about_refusals() -> Self {
        Self { rate: REFUSALS, buckets: Mutex::default() }
    }

    /// About what was changed: 500, then five a second.
    pub fn about_changes() -> Self {
        Self { rate: CHANGES, buckets: Mutex::default() }
    }

    /// Whether a line of this customer is logged now, and how many were not since the last one.
    pub fn pass(&self, customer: Customer) -> Option<u64> {
        self.admit(customer, Instant::now()).logged()
    }

    /// As [`Self::pass`], at a given time.
    pub fn admit(&self, customer: Customer, now: Instant) -> Admission {
        self.lock().of(customer, self.rate, now).take(self.rate, now)
    }

    /// As [`Self::admit`] for a line that does not say how many were left out: they stay counted.
    pub fn admit_silently(&self, customer: Customer, now: Instant) -> bool {
        self.lock().of(customer, self.rate, now).spend(self.rate, now).is_some()
    }

    /// How many lines were left out, by customer; `None` stands for all who are not told apart.
    /// Each is told once.
    pub fn left_out(&self) -> Vec<(Option<Customer>, u64)> {
        let mut buckets = self.lock();
        let Buckets { customers, others } = &mut *buckets;
        let named = customers.iter_mut().map(|(customer, bucket)| (Some(*customer), bucket));
        let all = named.chain(others.iter_mut().map(|bucket| (None, bucket)));
        let counted = all.map(|(who, bucket)| (who, std::mem::take(&mut bucket.suppressed)));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn of(&mut self, customer: Customer, rate: Rate, now: Instant) -> &mut Bucket {
        let Self { customers, others } = self;
        if customers.len() >= CUSTOMERS && !customers.contains_key(&customer) {
            customers.retain(|_, bucket| !bucket.is_idle(rate, now));
        }
        match customers.len() < CUSTOMERS || customers.contains_key(&customer) {
            true => customers.entry(customer).or_insert_with(|| Bucket::new(rate, now)),
            false => others.get_or_insert_with(|| Bucket::new(rate, now)),
        }
    }
}

impl Bucket {
    fn new(rate: Rate, now: Instant) -> Self {
        Self { tokens: rate.burst, filled: now, suppressed: 0 }
    }

    /// Whether it is full again: forgetting it loses a count at most.
    fn is_idle(&self, rate: Rate, now: Instant) -> bool {
        self.tokens + self.earned(rate, now) >= rate.burst
    }

    fn earned(&self, rate: Rate, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.filled).as_millis();
        let periods = passed / rate.refill.as_millis();
        u32::try_from(periods).unwrap_or(rate.burst).min(rate.burst)
    }

    fn take(&mut self, rate: Rate, now: Instant) -> Admission {
        let Some(left) = self.spend(rate, now) else { return Admission::Suppress };
        let suppressed = std::mem::take(&mut self.suppressed);
        // Said once per flood: a line that was earned in the middle of one does not repeat it.
        Admission::Log { suppressed, last: left == 0 && suppressed == 0 }
    }

    /// How many tokens are left after this one; without one the line is counted.
    fn spend(&mut self, rate: Rate, now: Instant) -> Option<u32> {
        let earned = self.earned(rate, now);
        if self.tokens + earned >= rate.burst {
            (self.tokens, self.filled) = (rate.burst, now);
        } else {
            self.tokens += earned;
            self.filled += rate.refill * earned;
        }
        let Some(left) = self.tokens.checked_sub(1) else {
            self.suppressed += 1;
            return None;
        };
        self.tokens = left;
        Some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Admission = Admission::Log { suppressed: 0, last: false };
    const LAST: Admission = Admission::Log { suppressed: 0, last: true };

    const ONE: Customer = (1000, None);
    const OTHER: Customer = (1001, None);

    fn burst(lines: &Lines, customer: Customer, now: Instant) {
        for _ in 1..lines.rate.burst {
            assert_eq!(lines.admit(customer, now), QUIET);
        }
        assert_eq!(lines.admit(customer, now), LAST);
        assert_eq!(lines.admit(customer, now), Admission::Suppress);
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        for lines in [Lines::about_refusals(), Lines::about_changes()] {
            let (start, refill) = (Instant::now(), lines.rate.refill);
            burst(&lines, ONE, start);
            for _ in 0..99 {
                assert_eq!(lines.admit(ONE, start), Admission::Suppress);
            }
            let counted = Admission::Log { suppressed: 100, last: false };
            assert_eq!(lines.admit(ONE, start + refill), counted);
            assert_eq!(lines.admit(ONE, start + refill), Admission::Suppress);
        }
    }

    #[test]
    fn what_was_left_out_is_told_once() {
        let (lines, start) = (Lines::about_refusals(), Instant::now());
        burst(&lines, ONE, start);
        lines.admit(ONE, start);
        lines.admit(OTHER, start);
        assert_eq!(lines.left_out(), [(Some(ONE), 2)]);
        assert_eq!(lines.left_out(), []);
        let later = start + lines.rate.refill;
        assert_eq!(lines.admit(ONE, later), Admission::Log { suppressed: 0, last: true });
    }

    #[test]
    fn a_line_that_does_not_tell_leaves_the_count() {
        let (lines, start) = (Lines::about_refusals(), Instant::now());
        burst(&lines, ONE, start);
        assert!(!lines.admit_silently(ONE, start));
        assert!(lines.admit_silently(ONE, start + lines.rate.refill));
        assert_eq!(lines.left_out(), [(Some(ONE), 2)]);
    }

    #[test]
    fn one_customer_does_not_silence_another() {
        let (lines, start) = (Lines::about_refusals(), Instant::now());
        burst(&lines, ONE, start);
        assert_eq!(lines.admit(OTHER, start), QUIET);
    }

    #[test]
    fn after_a_pause_the_burst_is_whole_again() {
        let (lines, start) = (Lines::about_refusals(), Instant::now());
        let Rate { burst: most, refill } = lines.rate;
        burst(&lines, ONE, start);
        let later = start + refill * (most + 1);
        assert_eq!(lines.admit(ONE, later), Admission::Log { suppressed: 1, last: false });
        for _ in 2..most {
            assert_eq!(lines.admit(ONE, later), QUIET);
        }
        assert_eq!(lines.admit(ONE, later), LAST);
    }

    #[test]
    fn memory_is_bounded_whoever_comes() {
        let (lines, start) = (Lines::about_refusals(), Instant::now());
        for key in 0..CUSTOMERS as u32 * 3 {
            lines.admit((key, None), start);
        }
        assert_eq!(lines.lock().customers.len(), CUSTOMERS);
        let (late, refill) = ((CUSTOMERS as u32 * 3, None), lines.rate.refill);
        assert_eq!(lines.admit(late, start), Admission::Suppress, "the shared bucket is empty");
        let left_out = CUSTOMERS as u64 * 2 - u64::from(lines.rate.burst) + 1;
        assert_eq!(lines.left_out(), [(None, left_out)]);
        assert_eq!(lines.admit(late, start + refill), QUIET, "idle ones made room");
    }
}
