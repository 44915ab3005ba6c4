//! What happens in a cgroup, seen from its files: which event lies in which file, what changed
//! between two readings, and one inotify instance that says when to read.

mod event;
mod eyes;
mod hub;
mod notices;
mod rounds;

pub use event::{Event, Source, happened, reading};
pub(crate) use eyes::look_safely;
pub use eyes::{Eye, Look};
pub use hub::{Hub, Sight};
pub use rounds::INTERVAL;
