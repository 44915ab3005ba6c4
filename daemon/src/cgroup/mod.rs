//! The mechanism: cgroupfs, v1 and v2, through directory handles. It knows nothing of callers.
pub mod actor;
pub mod handle;
pub mod layout;

pub use actor::Actor;
pub use handle::Dir;
pub use layout::{Hierarchy, Layout, LayoutKind, Version};
