//! When v1 is looked at: each lane has rounds of its own, so that eyes of one lane that take long
//! make that lane's next round late and no other's. Within a round the lanes take turns.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// How often v1 is looked at, unless that takes long.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Looking at v1 may take one part in so many of the time, shared by all lanes.
const SHARE: u32 = 20;

/// Whose eyes belong together.
pub type Lane = u32;
/// An eye on v1.
pub(super) type Polled = (Lane, u64);

#[derive(Default)]
pub(super) struct Rounds {
    lanes: BTreeMap<Lane, Round>,
    /// The lanes that have something left, in the order of their turns.
    turns: VecDeque<Lane>,
}

/// One look at all of a lane.
struct Round {
    left: Vec<u64>,
    taken: Duration,
    next: Instant,
}

impl Rounds {
    /// Begins the rounds that are due.
    pub(super) fn begin(&mut self, polled: &BTreeSet<Polled>, now: Instant) {
        // A lane that closes its eyes and opens them again is not due earlier for that.
        self.lanes.retain(|_, round| !round.left.is_empty() || round.next > now);
        let waiting: BTreeSet<Lane> = self.lanes.keys().copied().collect();
        for (lane, number) in polled.iter().filter(|(lane, _)| !waiting.contains(lane)) {
            let begun = || Round { left: Vec::new(), taken: Duration::ZERO, next: now };
            let round = self.lanes.entry(*lane).or_insert_with(begun);
            if round.left.is_empty() {
                self.turns.push_back(*lane);
            }
            round.left.push(*number);
        }
    }

    /// The next eye to look.
    pub(super) fn pop(&mut self) -> Option<Polled> {
        let lane = self.turns.pop_front()?;
        let number = self.lanes.get_mut(&lane)?.left.pop()?;
        Some((lane, number))
    }

    /// An eye of this lane has looked for so long; `now` is the time after it.
    pub(super) fn took(&mut self, lane: Lane, time: Duration, now: Instant) {
        let lanes = u32::try_from(self.lanes.len()).unwrap_or(u32::MAX);
        let Some(round) = self.lanes.get_mut(&lane) else { return };
        round.taken += time;
        if round.left.is_empty() {
            let pause = round.taken.saturating_mul(SHARE).saturating_mul(lanes);
            round.next = now + pause.clamp(INTERVAL, Duration::from_secs(3600));
        } else {
            self.turns.push_back(lane);
        }
    }

    /// How long nothing is due, if something is `polled` at all.
    pub(super) fn pause(&self, polled: &BTreeSet<Polled>, now: Instant) -> Option<Duration> {
        if !self.turns.is_empty() {
            return Some(Duration::ZERO);
        }
        let due = |lane: Lane| self.lanes.get(&lane).map_or(now, |round| round.next);
        let first = polled.iter().map(|(lane, _)| due(*lane)).min()?;
        Some(first.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LITTLE: Duration = Duration::from_micros(100);
    const MUCH: Duration = Duration::from_secs(2);

    /// All that are due at `now`, each of lane 1 taking `long`, the others little.
    fn look(
        rounds: &mut Rounds,
        polled: &BTreeSet<Polled>,
        now: Instant,
        long: Duration,
    ) -> Vec<Lane> {
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
        let polled = BTreeSet::from([(1, 0), (1, 1), (1, 2), (2, 3), (3, 4)]);
        let mut rounds = Rounds::default();
        assert_eq!(look(&mut rounds, &polled, Instant::now(), LITTLE), [1, 2, 3, 1, 1]);
    }

    #[test]
    fn a_lane_that_takes_long_is_late_alone() {
        let (polled, begin) = (BTreeSet::from([(1, 0), (2, 1)]), Instant::now());
        let mut rounds = Rounds::default();
        assert_eq!(look(&mut rounds, &polled, begin, MUCH), [1, 2]);
        assert_eq!(rounds.pause(&polled, begin), Some(INTERVAL));
        // Two lanes share the twentieth.
        for second in 1..80 {
            assert_eq!(
                look(&mut rounds, &polled, begin + INTERVAL * second, MUCH),
                [2],
                "{second}"
            );
        }
        assert_eq!(look(&mut rounds, &polled, begin + INTERVAL * 80, MUCH), [1, 2]);
    }

    #[test]
    fn a_lane_is_not_due_earlier_for_closing_its_eyes() {
        let (polled, begin) = (BTreeSet::from([(1, 0)]), Instant::now());
        let mut rounds = Rounds::default();
        assert_eq!(look(&mut rounds, &polled, begin, LITTLE), [1]);
        assert!(look(&mut rounds, &BTreeSet::new(), begin + LITTLE, LITTLE).is_empty());
        let anew = BTreeSet::from([(1, 1)]);
        assert!(look(&mut rounds, &anew, begin + 2 * LITTLE, LITTLE).is_empty());
        assert_eq!(look(&mut rounds, &anew, begin + INTERVAL, LITTLE), [1]);
    }

    #[test]
    fn without_eyes_there_is_no_hurry() {
        let mut rounds = Rounds::default();
        let now = Instant::now();
        assert_eq!(rounds.pause(&BTreeSet::new(), now), None);
        assert_eq!(rounds.pause(&BTreeSet::from([(1, 0)]), now), Some(Duration::ZERO));
        rounds.begin(&BTreeSet::from([(1, 0)]), now);
        assert_eq!(rounds.pause(&BTreeSet::new(), now), Some(Duration::ZERO));
    }
}
