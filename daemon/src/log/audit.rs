//! Who changed what, and who was refused: one structured line each, so that an administrator
//! can answer both questions later. Reads that succeed leave no line.

use std::time::Instant;

use super::{Admission, Refusals};
use crate::caller::Caller;
use crate::{Error, Result};

/// The lines about requests. Paths are in the caller's view, and quoted: names of cgroups may
/// contain anything.
#[derive(Debug, Default)]
pub struct Audit {
    refusals: Refusals,
}

impl Audit {
    /// One line for a request that changes something, done or not.
    pub fn change<T>(&self, caller: &Caller, verb: &str, path: &str, result: &Result<T>) {
        match result {
            Ok(_) => {
                let (uid, pid) = (caller.uid, caller.process.pid);
                tracing::info!(uid, pid, verb, ?path, result = "done", "change");
            }
            Err(error) => self.refusal(caller, verb, path, error),
        }
    }

    /// One line for a request that failed, reads included, unless its caller's accounting key
    /// has had too many of late.
    pub fn refusal(&self, caller: &Caller, verb: &str, path: &str, error: &Error) {
        let Admission::Log { suppressed, last } = self.refusals.admit(caller.key, Instant::now())
        else {
            return;
        };
        let (uid, pid, key) = (caller.uid, caller.process.pid, caller.key);
        let (result, rule) = (error.name, error.rule.unwrap_or("-"));
        let text = &error.text;
        tracing::info!(uid, pid, key, verb, ?path, ?result, rule, ?text, suppressed, "refused");
        if last {
            tracing::warn!(key, "many refusals: further ones are counted, not logged");
        }
    }
}
