//! When a delegation that failed is tried again. What a rule gives is made with the rights of
//! root on a call of the user, who must not be able to cause that work by calling often.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The pause after the first failure; each further one doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause: so long a user may wait after the cause is gone.
const LONGEST: Duration = Duration::from_secs(300);
/// The most users whose failures are remembered.
const MOST: usize = 4096;

/// The users whose delegation has failed.
#[derive(Debug, Default)]
pub(super) struct Retries(Mutex<HashMap<u32, Failed>>);

/// The last failure of a user.
#[derive(Clone, Copy, Debug)]
struct Failed {
    /// Of the rules that it was tried with: with others it may succeed.
    edition: u64,
    pause: Duration,
    until: Instant,
}

impl Retries {
    /// Whether the user's delegation may be tried now.
    pub(super) fn is_due(&self, uid: u32, edition: u64, now: Instant) -> bool {
        self.failed_users().get(&uid).is_none_or(|failed| !failed.is_paused(edition, now))
    }

    /// Remembers a failure. `false` while a pause lasts: the failure is known then.
    pub(super) fn fail(&self, uid: u32, edition: u64, now: Instant) -> bool {
        let mut users = self.failed_users();
        let last = users.get(&uid).filter(|failed| failed.edition == edition);
        let pause = match last {
            Some(failed) if failed.is_paused(edition, now) => return false,
            Some(failed) => (failed.pause * 2).min(LONGEST),
            None => FIRST,
        };
        if users.len() >= MOST && !users.contains_key(&uid) {
            forget_one(&mut users);
        }
        users.insert(uid, Failed { edition, pause, until: now + pause });
        true
    }

    /// Forgets the user's failures.
    pub(super) fn succeed(&self, uid: u32) {
        self.failed_users().remove(&uid);
    }

    fn failed_users(&self) -> MutexGuard<'_, HashMap<u32, Failed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failed {
    fn is_paused(&self, edition: u64, now: Instant) -> bool {
        self.edition == edition && now < self.until
    }
}

/// Forgets the user whose pause ends first.
fn forget_one(users: &mut HashMap<u32, Failed>) {
    let first = users.iter().min_by_key(|(_, failed)| failed.until).map(|(uid, _)| *uid);
    if let Some(uid) = first {
        users.remove(&uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_end() {
        let (retries, mut now) = (Retries::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..12 {
            assert!(retries.is_due(7, 1, now) && retries.fail(7, 1, now));
            assert!(!retries.is_due(7, 1, now) && !retries.fail(7, 1, now));
            let pause = (1..=300).find(|s| retries.is_due(7, 1, now + Duration::from_secs(*s)));
            pauses.push(pause.expect("at most five minutes"));
            now += Duration::from_secs(pause.unwrap());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        retries.succeed(7);
        assert!(retries.fail(7, 1, now) && retries.is_due(7, 1, now + FIRST));
    }

    #[test]
    fn other_users_and_other_rules_are_tried_at_once() {
        let (retries, now) = (Retries::default(), Instant::now());
        assert!(retries.fail(7, 1, now));
        assert!(!retries.is_due(7, 1, now));
        assert!(retries.is_due(8, 1, now) && retries.is_due(7, 2, now));
        assert!(retries.fail(7, 2, now) && retries.is_due(7, 2, now + FIRST));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (retries, now) = (Retries::default(), Instant::now());
        for uid in 0..MOST as u32 + 10 {
            assert!(retries.fail(uid, 1, now + Duration::from_millis(uid.into())));
        }
        assert_eq!(retries.failed_users().len(), MOST);
        assert!(retries.is_due(0, 1, now), "the oldest is forgotten");
        assert!(!retries.is_due(MOST as u32, 1, now));
    }
}
