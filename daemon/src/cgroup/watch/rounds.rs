//! When v1 is looked at: each lane has rounds of its own, so that eyes of one lane that take long
//! make that lane's next round late and no other's. Within a round the lanes take turns.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// How often v1 is looked at, unless that takes long.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Looking at v1 may take one part in so many of the time, shared by all lanes.
const SHARE: u32 = 20;
/// However long it takes, it is looked at that often.
const LONGEST: Duration = Duration::from_secs(3600);

/// Eyes on v1, by the lane that they belong to.
pub(super) type Polled<Lane> = BTreeMap<Lane, BTreeSet<u64>>;

pub(super) struct Rounds<Lane> {
    lanes: BTreeMap<Lane, Round>,
    /// The lanes that have something left, in the order in which they had their last turn.
    turns: VecDeque<Lane>,
}

impl<Lane> Default for Rounds<Lane> {
    fn default() -> Self {
        Self { lanes: BTreeMap::new(), turns: VecDeque::new() }
    }
}

/// One look at all of a lane.
struct Round {
    left: Vec<u64>,
    taken: Duration,
    /// What the round before took.
    last: Duration,
    next: Instant,
}

impl<Lane: Copy + Ord> Rounds<Lane> {
    /// Begins the rounds that are due.
    pub(super) fn begin(&mut self, polled: &Polled<Lane>, now: Instant) {
        // A lane that closes its eyes and opens them again is not due earlier for that.
        self.lanes.retain(|lane, round| {
            !round.left.is_empty() || round.next > now || polled.contains_key(lane)
        });
        for (lane, eyes) in polled {
            let first = || Round {
                left: Vec::new(),
                taken: Duration::ZERO,
                last: Duration::ZERO,
                next: now,
            };
            let round = self.lanes.entry(*lane).or_insert_with(first);
            if round.left.is_empty() && round.next <= now {
                round.left = eyes.iter().copied().collect();
                round.taken = Duration::ZERO;
                self.turns.push_back(*lane);
            }
        }
    }

    /// The next eye to look: of the lane that has taken least so far.
    pub(super) fn pop(&mut self) -> Option<(Lane, u64)> {
        let taken = |at: &usize| self.lanes.get(&self.turns[*at]).map(|round| round.taken);
        let least = (0..self.turns.len()).min_by_key(taken)?;
        let lane = self.turns.remove(least)?;
        let number = self.lanes.get_mut(&lane)?.left.pop()?;
        Some((lane, number))
    }

    /// An eye of this lane has looked for so long; `now` is the time after it.
    pub(super) fn took(&mut self, lane: Lane, time: Duration, now: Instant) {
        let Some(round) = self.lanes.get_mut(&lane) else { return };
        round.taken += time;
        if !round.left.is_empty() {
            self.turns.push_back(lane);
            return;
        }
        round.last = round.taken;
        let own = round.taken;
        // Each of those that take as long may have its part of the share; of those that take less
        // just that.
        let all: Duration = self.lanes.values().map(|other| own.min(other.last)).sum();
        if let Some(round) = self.lanes.get_mut(&lane) {
            round.next = now + all.saturating_mul(SHARE).clamp(INTERVAL, LONGEST);
        }
    }

    /// How long nothing is due, if something is `polled` at all.
    pub(super) fn pause(&self, polled: &Polled<Lane>, now: Instant) -> Option<Duration> {
        if !self.turns.is_empty() {
            return Some(Duration::ZERO);
        }
        let due = |lane: &Lane| self.lanes.get(lane).map_or(now, |round| round.next);
        let first = polled.keys().map(due).min()?;
        Some(first.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LITTLE: Duration = Duration::from_micros(100);
    const MUCH: Duration = Duration::from_secs(2);

    fn eyes(all: &[(u32, u64)]) -> Polled<u32> {
        let mut polled = Polled::new();
        for (lane, number) in all {
            polled.entry(*lane).or_default().insert(*number);
        }
        polled
    }

    /// All that are due at `now`, each of lane 1 taking `long`, the others little.
    fn look(
        rounds: &mut Rounds<u32>,
        polled: &Polled<u32>,
        now: Instant,
        long: Duration,
    ) -> Vec<u32> {
        rounds.begin(polled, now);
        let mut seen = Vec::new();
        while let Some((lane, _)) = rounds.pop() {
            rounds.took(lane, if lane == 1 { long } else { LITTLE }, now);
            seen.push(lane);
        }
        seen
    }

    #[test]
    fn lanes_take_turns() {
        let polled = eyes(&[(1, 0), (1, 1), (1, 2), (2, 3), (3, 4)]);
        let mut rounds = Rounds::default();
        assert_eq!(look(&mut rounds, &polled, Instant::now(), LITTLE), [1, 2, 3, 1, 1]);
    }

    #[test]
    fn turns_are_by_time() {
        let polled = eyes(&[(1, 0), (1, 1), (2, 2), (2, 3)]);
        let mut rounds = Rounds::default();
        assert_eq!(look(&mut rounds, &polled, Instant::now(), MUCH), [1, 2, 2, 1]);
    }

    #[test]
    fn a_lane_that_takes_long_is_late_alone() {
        let (polled, begin) = (eyes(&[(1, 0), (2, 1)]), Instant::now());
        let mut rounds = Rounds::default();
        assert_eq!(look(&mut rounds, &polled, begin, MUCH), [1, 2]);
        assert_eq!(rounds.pause(&polled, begin), Some(INTERVAL));
        for second in 1..40 {
            assert_eq!(
                look(&mut rounds, &polled, begin + INTERVAL * second, MUCH),
                [2],
                "{second}"
            );
        }
        assert_eq!(look(&mut rounds, &polled, begin + INTERVAL * 40, MUCH), [1, 2]);
    }

    #[test]
    fn lanes_that_take_long_share_the_twentieth_and_others_do_not_count() {
        let many: Vec<(u32, u64)> = (2..100).map(|lane| (lane, 0)).collect();
        let (polled, now) = (eyes(&[&many[..], &[(1, 0), (100, 0)]].concat()), Instant::now());
        let mut rounds = Rounds::default();
        rounds.begin(&polled, now);
        while let Some((lane, _)) = rounds.pop() {
            rounds.took(lane, if [1, 100].contains(&lane) { MUCH } else { LITTLE }, now);
        }
        let due = |lane| rounds.lanes[&lane].next - now;
        assert!((40..42).contains(&due(1).as_secs()), "{:?}", due(1));
        assert!((80..82).contains(&due(100).as_secs()), "{:?}", due(100));
        assert_eq!(due(50), INTERVAL);
    }

    #[test]
    fn a_lane_is_not_due_earlier_for_closing_its_eyes() {
        let (polled, begin) = (eyes(&[(1, 0)]), Instant::now());
        let mut rounds = Rounds::default();
        assert_eq!(look(&mut rounds, &polled, begin, LITTLE), [1]);
        assert!(look(&mut rounds, &Polled::new(), begin + LITTLE, LITTLE).is_empty());
        let anew = eyes(&[(1, 1)]);
        assert!(look(&mut rounds, &anew, begin + 2 * LITTLE, LITTLE).is_empty());
        assert_eq!(look(&mut rounds, &anew, begin + INTERVAL, LITTLE), [1]);
    }

    #[test]
    fn without_eyes_there_is_no_hurry() {
        let mut rounds = Rounds::default();
        let now = Instant::now();
        assert_eq!(rounds.pause(&Polled::new(), now), None);
        assert_eq!(rounds.pause(&eyes(&[(1, 0)]), now), Some(Duration::ZERO));
        rounds.begin(&eyes(&[(1, 0)]), now);
        assert_eq!(rounds.pause(&Polled::new(), now), Some(Duration::ZERO));
    }
}
