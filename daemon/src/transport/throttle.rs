//! Keeps peers from filling the log: a line per accounting key and interval, and how many were
//! left out before it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a key is silent after a line.
const INTERVAL: Duration = Duration::from_secs(10);
/// Keys remembered at a time; while all of them are fresh, others get no line.
const KEYS: usize = 1024;

/// Who was mentioned when.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<HashMap<u32, Mention>>);

#[derive(Debug)]
struct Mention {
    at: Instant,
    left_out: u32,
}

impl Throttle {
    /// Whether `key` may be mentioned now, and how many lines about it were left out since the
    /// last one.
    pub(crate) fn pass(&self, key: u32) -> Option<u32> {
        self.pass_at(key, Instant::now())
    }

    fn pass_at(&self, key: u32, now: Instant) -> Option<u32> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = keys.get_mut(&key) {
            if now.duration_since(last.at) < INTERVAL {
                last.left_out = last.left_out.saturating_add(1);
                return None;
            }
        } else if keys.len() >= KEYS {
            keys.retain(|_, last| now.duration_since(last.at) < INTERVAL);
            if keys.len() >= KEYS {
                return None;
            }
        }
        keys.insert(key, Mention { at: now, left_out: 0 })
            .map_or(Some(0), |last| Some(last.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_key_and_interval() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        assert_eq!(throttle.pass_at(1, start), Some(0));
        assert_eq!(throttle.pass_at(1, start), None);
        assert_eq!(throttle.pass_at(1, start + INTERVAL / 2), None);
        assert_eq!(throttle.pass_at(2, start), Some(0));
        assert_eq!(throttle.pass_at(1, start + INTERVAL), Some(2));
        assert_eq!(throttle.pass_at(1, start + INTERVAL), None);
    }

    #[test]
    fn remembers_a_bounded_number_of_keys() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let passed = (0..2 * KEYS as u32).filter(|key| throttle.pass_at(*key, start).is_some());
        assert_eq!(passed.count(), KEYS);
        assert_eq!(throttle.pass_at(u32::MAX, start + INTERVAL), Some(0));
        assert_eq!(throttle.0.lock().unwrap().len(), 1);
    }
}
