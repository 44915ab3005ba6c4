//! A set of limits, checked against a cgroup and turned into writes in an order that works.

use cgroupd_proto::limit::{LimitName, LimitSet};

use super::draft::{Wish, draft};
use super::place::Place;
use super::step::Step;
use super::{Ground, Wire};
use crate::Result;
use crate::cgroup::Layout;

/// Writes that have been checked as far as the kernel lets itself be asked. Nothing is written
/// until the plan is applied.
#[must_use]
pub struct Plan<'a> {
    pub(super) layout: &'a Layout,
    pub(super) ground: &'a dyn Ground,
    pub(super) names: Vec<LimitName>,
    pub(super) steps: Vec<Step>,
    expected: Wire,
}

impl<'a> Plan<'a> {
    /// Plans `set` for a cgroup that exists. `force` allows less memory than is in use.
    ///
    /// # Errors
    /// NotSupported with the cause, when the host has no such limit; NotFound when the cgroup
    /// does not exist in a limit's hierarchy; InvalidLimit for what would round to nothing or
    /// contradict the cgroup's state; Busy below present use; Denied without permission.
    pub fn new(
        set: &LimitSet,
        layout: &'a Layout,
        ground: &'a dyn Ground,
        force: bool,
    ) -> Result<Self> {
        let mut plan =
            Self { layout, ground, names: Vec::new(), steps: Vec::new(), expected: Wire::new() };
        for limit in set.iter() {
            let place = Place::of(limit.name(), layout, ground)?;
            let drafted = draft(&place, limit, Wish { set, force })?;
            plan.names.push(limit.name());
            plan.expected.insert(limit.name().to_string(), drafted.wire);
            plan.steps.extend(drafted.steps);
        }
        // Stable: steps of one rank stay in the order in which they were drafted.
        plan.steps.sort_by_key(|step| step.rank);
        Ok(plan)
    }

    /// What would be read back, as far as it is known.
    pub fn expected(&self) -> &Wire {
        &self.expected
    }
}

impl std::fmt::Debug for Plan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").field("steps", &self.steps).finish_non_exhaustive()
    }
}
