//! SetLimits and GetLimits, and the limits of Create: here the engine learns whose cgroup it is
//! and as whom its files are touched.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use cgroupd_proto::limit::{LimitName, LimitSet};
use cgroupd_proto::{CgroupPath, ErrorName};

use super::Request;
use super::request::node_at;
use super::target::{Cgroup, Wanted};
use crate::cgroup::limits::{Ground, Plan, Wire, check_new, hierarchy_for, needs, read, read_set};
use crate::cgroup::{Actor, Dir};
use crate::policy::{Want, access};
use crate::{Error, Result};

/// The engine's view of open cgroups of one caller.
struct Owned<'a> {
    request: &'a Request<'a>,
    cgroups: &'a [Cgroup],
    /// Whether the cgroups stand for children that are still to be made.
    unmade: bool,
}

impl Owned<'_> {
    fn cgroup(&self, hierarchy: usize) -> Result<&Cgroup> {
        let found = self.cgroups.iter().find(|cgroup| cgroup.target.hierarchy == hierarchy);
        found.ok_or_else(super::target::not_found)
    }
}

impl Ground for Owned<'_> {
    fn dir(&self, hierarchy: usize) -> Option<Arc<Dir>> {
        let cgroup = self.cgroup(hierarchy).ok()?;
        cgroup.dir.try_clone().ok().map(Arc::new)
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
}

impl Request<'_> {
    pub(crate) fn set_limits(
        &self,
        path: &CgroupPath,
        limits: &HashMap<String, String>,
        dry_run: bool,
        force: bool,
    ) -> Result<Wire> {
        let set = LimitSet::parse(limits)?;
        let cgroups = self.existing(path, &self.hierarchies_of(set.names())?)?;
        if !dry_run {
            self.enable_for(&set, &cgroups)?;
        }
        let ground = Owned { request: self, cgroups: &cgroups, unmade: false };
        let plan = Plan::new(&set, &self.service.layout, &ground, force)?;
        match dry_run {
            true => Ok(plan.expected().clone()),
            false => self.apply(plan),
        }
    }

    pub(crate) fn get_limits(&self, path: &CgroupPath, names: &[String]) -> Result<Wire> {
        let names: Vec<LimitName> = names
            .iter()
            .map(|name| LimitName::parse(name))
            .collect::<std::result::Result<_, _>>()?;
        let cgroups = self.existing(path, &self.hierarchies_of(names.iter().copied())?)?;
        let ground = Owned { request: self, cgroups: &cgroups, unmade: false };
        match names.is_empty() {
            true => read_set(&self.service.layout, &ground),
            false => read(&names, &self.service.layout, &ground),
        }
    }

    /// Checks what can be known before the cgroups exist; `deepest` are the nearest ancestors
    /// that do.
    pub(super) fn check_limits(&self, set: &LimitSet, deepest: &[Cgroup]) -> Result<()> {
        let ground = Owned { request: self, cgroups: deepest, unmade: true };
        check_new(set, &self.service.layout, &ground)
    }

    /// Sets the limits of cgroups that Create made or found.
    pub(super) fn limit(&self, set: &LimitSet, cgroups: &[Cgroup]) -> Result<()> {
        if set.is_empty() {
            return Ok(());
        }
        self.enable_for(set, cgroups)?;
        let ground = Owned { request: self, cgroups, unmade: false };
        let plan = Plan::new(set, &self.service.layout, &ground, false)?;
        self.apply(plan).map(drop)
    }

    fn apply(&self, plan: Plan<'_>) -> Result<Wire> {
        let deadline = Instant::now() + self.service.deadline;
        plan.apply(&self.service.reclaim, self.caller.key, deadline)
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

    /// Enables on v2 the controllers that limits need.
    fn enable_for(&self, set: &LimitSet, cgroups: &[Cgroup]) -> Result<()> {
        for (hierarchy, controllers) in needs(set, &self.service.layout)? {
            let controllers: Vec<String> = controllers.into_iter().map(str::to_owned).collect();
            for cgroup in cgroups.iter().filter(|c| c.target.hierarchy == hierarchy) {
                self.enable(&cgroup.target, &controllers)?;
            }
        }
        Ok(())
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
