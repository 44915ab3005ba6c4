//! What happens in cgroups, told to whoever subscribed. It knows nothing of callers.
//!
//! On v2 the kernel tells when an events file changes (`Documentation/admin-guide/cgroup-v2.rst`,
//! "[Un]populated Notification"): one inotify instance serves the whole daemon, and nothing wakes
//! up while nothing happens. v1 tells nobody: there the files are looked at every
//! [`PERIOD`], for as long as something on v1 is subscribed to.

mod files;
mod hub;
mod waiter;

use std::time::Duration;

pub use files::{Source, counters};
pub use hub::{Hub, Notify, Subscription};

/// How often v1's files are looked at.
pub const PERIOD: Duration = Duration::from_secs(1);

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A counter or a state has another value than at the look before.
    Changed {
        /// As in the events file: `populated`, `frozen`, `oom_kill`, `max`.
        key: String,
        /// Its value.
        now: u64,
    },
    /// The cgroup is gone; nothing follows.
    Removed,
}
