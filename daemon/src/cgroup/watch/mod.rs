//! What happens in a cgroup, seen from its files: which event lies in which file, what changed
//! between two readings, and one inotify instance that says when to read.

mod event;
mod hub;
mod notices;

pub use event::{Event, Source, happened, reading};
pub use hub::{Eye, Hub, INTERVAL, Sight};
