//! Who changed what, and who was refused: one structured line each, so that an administrator
//! can answer both questions later. Reads that succeed leave no line.

use std::time::Instant;

use cgroupd_proto::CgroupPath;

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
                let (uid, pid, path) = (caller.uid, caller.process.pid, start_of(path));
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
        let (path, text) = (start_of(path), start_of(&error.text));
        tracing::info!(uid, pid, key, verb, ?path, ?result, rule, ?text, suppressed, "refused");
        if last {
            tracing::warn!(key, "many refusals: further ones are counted, not logged");
        }
    }
}

/// What a line shows of text that a caller had a say in: all of any path that is allowed, not
/// all of what fits into a message.
fn start_of(text: &str) -> &str {
    const CHARACTERS: usize = CgroupPath::MAX_BYTES + 512;
    text.char_indices().nth(CHARACTERS).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_bounded_and_whole_characters() {
        assert_eq!(start_of("a/b"), "a/b");
        let longest = "é".repeat(CgroupPath::MAX_BYTES);
        assert_eq!(start_of(&longest), longest);
        let shown = start_of(&"é".repeat(100_000)).chars().count();
        assert!(shown < 5_000, "{shown}");
    }
}
