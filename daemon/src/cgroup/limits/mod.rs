//! Limits of a cgroup: planned and checked before the first write, written in an order that
//! works, restored when the kernel refuses one, read back in v2's syntax from v1 and v2.
//!
//! Values that have rows (`io.max`) are one line, their rows separated by `; `: what is read
//! can be set again.

mod amount;
mod apply;
mod check;
mod device;
mod draft;
mod place;
mod plan;
mod read;
mod reclaim;
mod refusal;
mod rows;
mod step;
mod table;
mod v1;
mod v2;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use check::{check_new, hierarchy_for, holder, needs};
pub use plan::Plan;
pub use read::{read, read_set};
pub use reclaim::ReclaimThreads;
pub(crate) use reclaim::Unfinished;

use super::{Actor, Dir};
use crate::Result;

/// What the engine asks of those who know callers: where the cgroup is in each hierarchy, and
/// as whom its files are touched.
pub trait Ground {
    /// The cgroup in a hierarchy; `None` where it does not exist or is not meant.
    ///
    /// # Errors
    /// When it exists and no handle of it can be had.
    fn dir(&self, hierarchy: usize) -> Result<Option<Arc<Dir>>>;

    /// Its ancestors up to the top of the caller's scope, the nearest first. Asked only when
    /// a limit depends on them.
    ///
    /// # Errors
    /// When one cannot be opened.
    fn above(&self, hierarchy: usize) -> Result<Vec<Dir>>;

    /// Whom to be while reading one of its files, which exists.
    ///
    /// # Errors
    /// When the caller may not.
    fn reader(&self, hierarchy: usize, file: &str) -> Result<Actor>;

    /// Whom to be while writing one of its files, which exists.
    ///
    /// # Errors
    /// When the caller may not.
    fn writer(&self, hierarchy: usize, file: &str) -> Result<Actor>;

    /// Whether a v2 controller that the cgroup lacks is to be taken for enabled: its limits then
    /// read as those of a new cgroup. For calls that look and change nothing.
    ///
    /// # Errors
    /// When it cannot be told.
    fn stands_for_enabled(&self, _hierarchy: usize, _controller: &str) -> Result<bool> {
        Ok(false)
    }
}

/// Limits in wire form: canonical names, v2's syntax, decimal bytes.
pub type Wire = BTreeMap<String, String>;
