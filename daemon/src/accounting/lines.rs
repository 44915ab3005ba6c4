//! How many lines an account may cause in the log. Without a bound any client could fill the disk, or
//! make the journal drop the lines of others.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Account, Group};

/// Refusals: nobody needs many of them.
const REFUSALS: Rate = Rate { burst: 10, refill: Duration::from_secs(6) };
/// Changes: starting a few containers is no flood.
const CHANGES: Rate = Rate { burst: 500, refill: Duration::from_millis(200) };
/// What the accounts of a larger group may cause together: as many times what one may.
const TOGETHER: u32 = 20;
/// Accounts that are told apart at the same time. Further ones are bounded together.
const MOST_GROUPS: usize = 1024;

/// A token bucket for each group.
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
        /// Whether the next line will be left out, unless some time passes first.
        last: bool,
    },
    /// It has been counted.
    Suppress,
}

#[derive(Debug, Default)]
struct Buckets {
    groups: HashMap<Group, Bucket>,
    /// Lines of accounts that are not told apart.
    others_left_out: u64,
}

#[derive(Debug)]
struct Bucket {
    rate: Rate,
    tokens: u32,
    filled: Instant,
    /// Lines of this account that were left out.
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

    /// Whether a line of this account is logged now, and how many were not since the last one.
    pub fn pass(&self, account: Account) -> Option<u64> {
        self.admit(account, Instant::now()).logged()
    }

    /// As [`Self::pass`], at a given time.
    pub fn admit(&self, account: Account, now: Instant) -> Admission {
        let mut buckets = self.lock();
        let Some(left) = buckets.spend(account, self.rate, now) else { return Admission::Suppress };
        let suppressed = buckets.own(account).map_or(0, |own| std::mem::take(&mut own.suppressed));
        // Said once per flood: a line that was earned in the middle of one does not repeat it.
        Admission::Log { suppressed, last: left == 0 && suppressed == 0 }
    }

    /// As [`Self::admit`] for a line that does not say how many were left out: they stay counted.
    pub fn admit_silently(&self, account: Account, now: Instant) -> bool {
        self.lock().spend(account, self.rate, now).is_some()
    }

    /// How many lines were left out, by account; `None` stands for all who are not told apart.
    /// Each is told once.
    pub fn left_out(&self) -> Vec<(Option<Account>, u64)> {
        let mut buckets = self.lock();
        let others = (None, std::mem::take(&mut buckets.others_left_out));
        let named = buckets.groups.iter_mut().filter_map(|(group, bucket)| match group {
            Group::Account(account) => {
                Some((Some(*account), std::mem::take(&mut bucket.suppressed)))
            }
            _ => None,
        });
        named.chain([others]).filter(|(_, count)| *count > 0).collect()
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
    /// How many lines the account may cause after this one. Without one the line is counted, and
    /// takes nothing from anybody.
    fn spend(&mut self, account: Account, rate: Rate, now: Instant) -> Option<u32> {
        for group in account.groups() {
            self.make(group, rate, now);
        }
        let mut left = None;
        for group in account.groups() {
            let Some(bucket) = self.groups.get_mut(&group) else { continue };
            bucket.fill(now);
            if bucket.tokens == 0 {
                self.leave_out(account);
                return None;
            }
            left = left.or(Some(bucket.tokens - 1));
        }
        for group in account.groups() {
            if let Some(bucket) = self.groups.get_mut(&group) {
                bucket.tokens -= 1;
            }
        }
        left
    }

    fn make(&mut self, group: Group, rate: Rate, now: Instant) {
        if self.groups.contains_key(&group) {
            return;
        }
        let is_one_of_few =
            matches!(group, Group::Account(Account::HostRoot) | Group::Containers | Group::Others);
        if !is_one_of_few && self.groups.len() >= MOST_GROUPS {
            self.groups.retain(|_, bucket| !bucket.is_idle(now));
        }
        if is_one_of_few || self.groups.len() < MOST_GROUPS {
            let is_alone = matches!(group, Group::Account(_));
            let rate = if is_alone { rate } else { rate.together() };
            self.groups.insert(group, Bucket::new(rate, now));
        }
    }

    fn leave_out(&mut self, account: Account) {
        match self.own(account) {
            Some(own) => own.suppressed += 1,
            None => self.others_left_out += 1,
        }
    }

    fn own(&mut self, account: Account) -> Option<&mut Bucket> {
        self.groups.get_mut(&account.groups().next()?)
    }
}

impl Rate {
    fn together(self) -> Self {
        Self { burst: self.burst * TOGETHER, refill: self.refill / TOGETHER }
    }
}

impl Bucket {
    fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, tokens: rate.burst, filled: now, suppressed: 0 }
    }

    /// Whether it is full again: forgetting it loses a count at most.
    fn is_idle(&self, now: Instant) -> bool {
        self.tokens + self.earned(now) >= self.rate.burst
    }

    fn earned(&self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.filled).as_millis();
        let periods = passed / self.rate.refill.as_millis();
        u32::try_from(periods).unwrap_or(self.rate.burst).min(self.rate.burst)
    }

    fn fill(&mut self, now: Instant) {
        let earned = self.earned(now);
        if self.tokens + earned >= self.rate.burst {
            (self.tokens, self.filled) = (self.rate.burst, now);
        } else {
            self.tokens += earned;
            self.filled += self.rate.refill * earned;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::sys::namespace::NsId;

    const QUIET: Admission = Admission::Log { suppressed: 0, last: false };
    const LAST: Admission = Admission::Log { suppressed: 0, last: true };

    const ONE: Account = Account::User(1000);
    const OTHER: Account = Account::User(1001);

    fn burst(lines: &Lines, account: Account, now: Instant) {
        for _ in 1..lines.rate.burst {
            assert_eq!(lines.admit(account, now), QUIET);
        }
        assert_eq!(lines.admit(account, now), LAST);
        assert_eq!(lines.admit(account, now), Admission::Suppress);
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
    fn one_account_does_not_silence_another() {
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
        let (lines, start) = (Lines::about_changes(), Instant::now());
        let logged = (0..3 * MOST_GROUPS as u32)
            .filter(|uid| lines.admit(Account::User(uid + 1), start).logged().is_some());
        assert_eq!(logged.count(), 3 * MOST_GROUPS, "all have some together");
        let container = |uid| Account::Container { namespace: NsId::default(), user: Some(uid) };
        for uid in 1..3 * MOST_GROUPS as u32 {
            lines.admit(container(uid), start);
        }
        assert!(lines.lock().groups.len() <= MOST_GROUPS + 3);
    }

    #[test]
    fn all_accounts_together_are_bounded_but_for_host_root() {
        let (lines, start) = (Lines::about_refusals(), Instant::now());
        let together = 2 * TOGETHER * REFUSALS.burst;
        let logged = (1..=together).filter(|uid| lines.admit(Account::User(*uid), start) == QUIET);
        assert_eq!(logged.count() as u32, TOGETHER * REFUSALS.burst);
        assert_eq!(lines.left_out().len() as u32, TOGETHER * REFUSALS.burst);
        assert_eq!(lines.admit(Account::HostRoot, start), QUIET);
        assert_eq!(lines.admit(ONE, start + REFUSALS.refill), QUIET);
    }
}
