//! Who changed what, and who was refused: one structured line each, so that an administrator
//! can answer both questions later. Reads that succeed leave no line. Lines beyond what one customer
//! may cause are counted, and summed up later.

use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{Admission, Lines, start_of};
use crate::caller::{Caller, Customer};
use crate::{Error, Result};

/// How long lines are counted before they are summed up.
const SUM_UP: Duration = Duration::from_secs(10);

/// The lines about requests. Paths are in the caller's view, and quoted: names of cgroups may
/// contain anything.
#[derive(Debug)]
pub struct Audit {
    refusals: Lines,
    changes: Lines,
    /// A line was left out.
    crowded: Notify,
}

impl Default for Audit {
    fn default() -> Self {
        let (refusals, changes) = (Lines::about_refusals(), Lines::about_changes());
        Self { refusals, changes, crowded: Notify::new() }
    }
}

impl Audit {
    /// One line for a request that changes something, done or not, unless its caller's customer has
    /// had too many of late.
    pub fn change<T>(&self, caller: &Caller, verb: &str, path: &str, result: &Result<T>) {
        match result {
            Ok(_) => self.done(caller, verb, path),
            Err(error) => self.refusal(caller, verb, path, error),
        }
    }

    fn done(&self, caller: &Caller, verb: &str, path: &str) {
        let Some((suppressed, last)) = self.admit(&self.changes, caller.customer()) else { return };
        let (uid, pid, path) = (caller.uid, caller.process.pid, start_of(path));
        let suppressed = (suppressed > 0).then_some(suppressed);
        tracing::info!(uid, pid, verb, ?path, result = "done", suppressed, "change");
        if last {
            tracing::warn!(key = caller.key, "many changes: further ones are counted, not logged");
        }
    }

    /// One line for a request that failed, reads included, with the same bound.
    pub fn refusal(&self, caller: &Caller, verb: &str, path: &str, error: &Error) {
        let Some((suppressed, last)) = self.admit(&self.refusals, caller.customer()) else {
            return;
        };
        let (uid, pid, key) = (caller.uid, caller.process.pid, caller.key);
        let (result, rule) = (error.name, error.rule.unwrap_or("-"));
        let (path, text) = (start_of(path), start_of(&error.text));
        tracing::info!(uid, pid, key, verb, ?path, ?result, rule, ?text, suppressed, "refused");
        if last {
            tracing::warn!(key, "many refusals: further ones are counted, not logged");
        }
    }

    /// Whether one more line about what was done for this customer is logged.
    pub fn admits(&self, customer: Customer) -> bool {
        let admitted = self.changes.admit_silently(customer, Instant::now());
        if !admitted {
            self.crowded.notify_one();
        }
        admitted
    }

    fn admit(&self, lines: &Lines, customer: Customer) -> Option<(u64, bool)> {
        match lines.admit(customer, Instant::now()) {
            Admission::Log { suppressed, last } => Some((suppressed, last)),
            Admission::Suppress => {
                self.crowded.notify_one();
                None
            }
        }
    }

    /// Sums up what is left out, some time after it was, for as long as it is polled. Nothing wakes
    /// up while nothing is left out.
    pub async fn sum_up_later(&self) {
        loop {
            self.crowded.notified().await;
            tokio::time::sleep(SUM_UP).await;
            self.sum_up();
        }
    }

    /// One line for each customer of whom lines were left out.
    pub fn sum_up(&self) {
        for (lines, what) in [(&self.changes, "changes"), (&self.refusals, "refusals")] {
            for (customer, suppressed) in lines.left_out() {
                let key = customer.map(|(key, _)| key);
                tracing::warn!(key, suppressed, "{what} were counted and not logged");
            }
        }
    }
}
