//! Who changed what, and who was refused: one structured line each, so that an administrator
//! can answer both questions later. Reads that succeed leave no line. Lines beyond what one account
//! may cause are counted, and summed up later.

use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::start_of;
use crate::accounting::{Account, Admission, Lines};
use crate::caller::Caller;
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
    /// One line for a request that changes something, done or not, unless its caller's account has
    /// had too many of late.
    pub fn change<T>(&self, caller: &Caller, verb: &str, path: &str, result: &Result<T>) {
        match result {
            Ok(_) => self.done(caller, verb, path),
            Err(error) => self.refusal(caller, verb, path, error),
        }
    }

    fn done(&self, caller: &Caller, verb: &str, path: &str) {
        let Some((suppressed, last)) = self.admit(&self.changes, caller.account) else { return };
        let (uid, pid, account) = (caller.uid, caller.process.pid, caller.account.without_user());
        let path = start_of(path);
        let suppressed = (suppressed > 0).then_some(suppressed);
        tracing::info!(uid, pid, %account, verb, ?path, result = "done", suppressed, "change");
        if last {
            tracing::warn!(%account, "many changes: further ones are counted, not logged");
        }
    }

    /// One line for a request that failed, reads included, with the same bound.
    pub fn refusal(&self, caller: &Caller, verb: &str, path: &str, error: &Error) {
        let Some((suppressed, last)) = self.admit(&self.refusals, caller.account) else {
            return;
        };
        let (uid, pid, account) = (caller.uid, caller.process.pid, caller.account.without_user());
        let (result, rule) = (error.name, error.rule.unwrap_or("-"));
        let (path, text) = (start_of(path), start_of(&error.text));
        tracing::info!(uid, pid, %account, verb, ?path, ?result, rule, ?text, suppressed, "refused");
        if last {
            tracing::warn!(%account, "many refusals: further ones are counted, not logged");
        }
    }

    /// Whether one more line about what was done for this account is logged.
    pub fn admits(&self, account: Account) -> bool {
        let admitted = self.changes.admit_silently(account, Instant::now());
        if !admitted {
            self.crowded.notify_one();
        }
        admitted
    }

    fn admit(&self, lines: &Lines, account: Account) -> Option<(u64, bool)> {
        match lines.admit(account, Instant::now()) {
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

    /// One line for each account of which lines were left out.
    pub fn sum_up(&self) {
        for (lines, what) in [(&self.changes, "changes"), (&self.refusals, "refusals")] {
            for (account, suppressed) in lines.left_out() {
                let account = account.map(tracing::field::display);
                tracing::warn!(account, suppressed, "{what} were counted and not logged");
            }
        }
    }
}
