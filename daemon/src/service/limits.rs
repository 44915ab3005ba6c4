//! SetLimits and GetLimits, and the limits of Create: here the engine learns whose cgroup it is
//! and as whom its files are touched.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use cgroupd_proto::limit::{LimitName, LimitSet};
use cgroupd_proto::{CgroupPath, ErrorName};

use super::Request;
use super::enable::{Enabling, words_of};
use super::request::node_at;
use super::target::{Cgroup, Target, Wanted};
use crate::cgroup::limits::{
    Ground, Plan, ReclaimThreads, Wire, check_new, hierarchy_for, needs, read, read_set,
};
use crate::cgroup::{Actor, Dir};
use crate::policy::{Want, access};
use crate::{Error, Result};

/// The key under which SetLimits answers the leaf that processes were moved to (grant G9).
const EVACUATED: &str = "evacuated";

/// The engine's view of open cgroups of one caller.
struct Owned<'a> {
    request: &'a Request<'a>,
    cgroups: &'a [Cgroup],
    /// Whether the cgroups stand for children that are still to be made.
    unmade: bool,
    /// Whether controllers that can be enabled for them are taken for enabled.
    looking: bool,
}

impl Owned<'_> {
    fn cgroup(&self, hierarchy: usize) -> Result<&Cgroup> {
        let found = self.cgroups.iter().find(|cgroup| cgroup.target.hierarchy == hierarchy);
        found.ok_or_else(super::target::not_found)
    }
}

impl Ground for Owned<'_> {
    fn dir(&self, hierarchy: usize) -> Result<Option<Arc<Dir>>> {
        let Ok(cgroup) = self.cgroup(hierarchy) else { return Ok(None) };
        let dir = cgroup.dir.try_clone().map_err(|errno| Error::kernel("dup", errno))?;
        Ok(Some(Arc::new(dir)))
    }

    fn above(&self, hierarchy: usize) -> Result<Vec<Dir>> {
        let target = &self.cgroup(hierarchy)?.target;
        let depth = target.names.len() + usize::from(self.unmade);
        let open = |depth: usize| self.request.open(&target.scope.dir, &target.names[..depth]);
        let dirs = (0..depth).rev().map(open).collect::<nix::Result<Vec<_>>>();
        dirs.map_err(|errno| Error::kernel("open the cgroups above it", errno))
    }

    fn reader(&self, hierarchy: usize, file: &str) -> Result<Actor> {
        let node = node_at(&self.cgroup(hierarchy)?.dir, file)?;
        Ok(access(self.request.subject(), node, Want::READ)?.actor)
    }

    fn writer(&self, hierarchy: usize, file: &str) -> Result<Actor> {
        self.request.may_set(self.cgroup(hierarchy)?, file)
    }

    fn stands_for_enabled(&self, hierarchy: usize, controller: &str) -> Result<bool> {
        let target = &self.cgroup(hierarchy)?.target;
        if !self.looking || target.names.is_empty() {
            return Ok(false);
        }
        let offered = words_of(&target.scope.dir, "cgroup.controllers")?;
        Ok(offered.iter().any(|offered| offered == controller))
    }
}

/// How SetLimits is to change them.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// Only say what would come of it.
    pub(crate) dry_run: bool,
    /// Also what kills.
    pub(crate) force: bool,
    pub(crate) enabling: Enabling,
}

/// Whoever was given a cgroup can divide what it may use.
fn with_way_out(error: Error) -> Error {
    match error.name {
        ErrorName::Denied if error.hint.is_none() => {
            error.hint("its owner sets it; a cgroup that is made below has limits of its own")
        }
        _ => error,
    }
}

impl Request<'_> {
    pub(crate) fn set_limits(
        &self,
        path: &CgroupPath,
        limits: &HashMap<String, String>,
        change: &Change,
    ) -> Result<Wire> {
        let mut wire = self.change_limits(path, limits, change);
        if let (Ok(wire), Some(leaf)) = (&mut wire, change.enabling.evacuated.get()) {
            wire.insert(EVACUATED.to_owned(), leaf.to_owned());
        }
        wire.map_err(|error| change.enabling.tell(with_way_out(error)))
    }

    fn change_limits(
        &self,
        path: &CgroupPath,
        limits: &HashMap<String, String>,
        change: &Change,
    ) -> Result<Wire> {
        let set = LimitSet::parse(limits)?;
        let cgroups = self.existing(path, &self.hierarchies_of(set.names())?)?;
        let layout = &self.service.layout;
        let owned = |looking| Owned { request: self, cgroups: &cgroups, unmade: false, looking };
        if self.lacks_controllers(&set, &cgroups, &change.enabling)? || change.dry_run {
            // All that can be wrong is found before anything is enabled, or anybody moved.
            let ground = owned(true);
            let plan = Plan::new(&set, layout, &ground, change.force)?;
            if change.dry_run {
                return Ok(plan.expected().clone());
            }
            for Cgroup { target, .. } in &cgroups {
                self.enable(target, &self.controllers_for(&set, target)?, &change.enabling)?;
            }
        }
        let ground = owned(false);
        self.apply(Plan::new(&set, layout, &ground, change.force)?)
    }

    /// Whether controllers have to be enabled, which was found possible.
    fn lacks_controllers(&self, set: &LimitSet, of: &[Cgroup], how: &Enabling) -> Result<bool> {
        let mut any = false;
        for Cgroup { target, .. } in of {
            let needed = self.controllers_for(set, target)?;
            any |= self.check_enable(target, target.names.len(), &needed, how)?;
        }
        Ok(any)
    }

    pub(crate) fn get_limits(&self, path: &CgroupPath, names: &[String]) -> Result<Wire> {
        let names: Vec<LimitName> = names
            .iter()
            .map(|name| LimitName::parse(name))
            .collect::<std::result::Result<_, _>>()?;
        let cgroups = self.existing(path, &self.hierarchies_of(names.iter().copied())?)?;
        let ground = Owned { request: self, cgroups: &cgroups, unmade: false, looking: true };
        match names.is_empty() {
            true => read_set(&self.service.layout, &ground),
            false => read(&names, &self.service.layout, &ground),
        }
    }

    /// Checks what can be known before the cgroups exist; `deepest` are the nearest ancestors
    /// that do.
    pub(super) fn check_limits(&self, set: &LimitSet, deepest: &[Cgroup]) -> Result<()> {
        let ground = Owned { request: self, cgroups: deepest, unmade: true, looking: false };
        check_new(set, &self.service.layout, &ground)
    }

    /// Sets the limits of cgroups that Create made or found, with their controllers.
    pub(super) fn limit(&self, set: &LimitSet, cgroups: &[Cgroup]) -> Result<()> {
        if set.is_empty() {
            return Ok(());
        }
        let ground = Owned { request: self, cgroups, unmade: false, looking: false };
        let plan = Plan::new(set, &self.service.layout, &ground, false)?;
        self.apply(plan).map(drop)
    }

    fn apply(&self, plan: Plan<'_>) -> Result<Wire> {
        let deadline = Instant::now() + self.service.deadline;
        plan.apply(&self.reclaim_threads(), deadline)
    }

    /// The threads of the caller for writes that may reclaim memory.
    pub(super) fn reclaim_threads(&self) -> ReclaimThreads {
        ReclaimThreads::of(&self.service.accounts, self.caller.account)
    }

    /// The hierarchies that limits are about; no limits: every one the cgroup exists in.
    fn hierarchies_of(&self, names: impl Iterator<Item = LimitName>) -> Result<Wanted> {
        let indexes: BTreeSet<usize> =
            names.map(|name| hierarchy_for(name, &self.service.layout)).collect::<Result<_>>()?;
        Ok(match indexes.is_empty() {
            true => Wanted::Implied,
            false => Wanted::Exactly(indexes.into_iter().collect()),
        })
    }

    /// The controllers of v2 that limits need in the target's hierarchy.
    pub(super) fn controllers_for(&self, set: &LimitSet, target: &Target) -> Result<Vec<String>> {
        let mut needed = needs(set, &self.service.layout)?;
        let controllers = needed.remove(&target.hierarchy).unwrap_or_default();
        Ok(controllers.into_iter().map(str::to_owned).collect())
    }

    /// Refuses limits of hierarchies that are not among those the cgroup is made in.
    pub(super) fn check_covered(&self, set: &LimitSet, cgroups: &[Cgroup]) -> Result<()> {
        for name in set.names() {
            let index = hierarchy_for(name, &self.service.layout)?;
            if !cgroups.iter().any(|cgroup| cgroup.target.hierarchy == index) {
                let label = &self.hierarchy(index).label;
                let text = format!("{name}: the cgroup is not made in {label}, which has it");
                return Err(Error::new(ErrorName::InvalidLimit, text)
                    .hint("name its controller too, or no controllers at all"));
            }
        }
        Ok(())
    }
}
