//! The mechanism: cgroupfs, v1 and v2, through directory handles. It knows nothing of callers.
pub mod actor;
mod children;
pub mod freezer;
mod gone;
pub mod handle;
pub mod layout;
mod leaf;
pub mod limits;
mod mark;
mod members;
mod memory_marks;
mod mounts;
mod pauses;
mod stats;
pub mod systemd;
mod values;
mod waiting;
mod walk;
pub mod watch;

pub use actor::Actor;
pub(crate) use children::MOST_NAMES;
pub use children::{Few, is_after};
pub use freezer::{Freezer, Reached};
pub use handle::{Dir, DirId};
pub use layout::{Hierarchy, Layout, LayoutError, LayoutKind, Version, names_in, own_cgroup};
pub use leaf::{HOLDER, LEAF};
pub use mark::MAX_MARK;
pub use members::{all_members, members, numbers};
pub use pauses::Pauses;
pub use stats::{Stats, stats};
pub(crate) use values::is_populated;
pub use waiting::{may_wait, may_wait_for};
pub use walk::{AsThread, Reach, all_below, below};

/// Gives a new v1 cpuset its parent's CPUs and memory nodes: nothing can enter an empty one.
///
/// # Errors
/// What the kernel answers to reading the parent's or writing the child's files.
pub fn inherit_cpuset(parent: &Dir, child: &Dir) -> nix::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if child.read(file)?.trim().is_empty() {
            child.write(file, parent.read(file)?.trim())?;
        }
    }
    Ok(())
}
