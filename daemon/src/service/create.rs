//! Create: parents first, limits next, processes last; whatever fails later takes back what
//! this call made.

use std::collections::HashMap;

use cgroupd_proto::limit::LimitSet;
use cgroupd_proto::{CgroupPath, ErrorName, check_new_name};
use nix::errno::Errno;

use super::Request;
use super::enable::{AVAILABLE, Enabling, words_of};
use super::handover::give_each;
use super::owner::NewOwner;
use super::quota::Room;
use super::request::node_of;
use super::target::{Cgroup, Target, Wanted};
use super::undo::{Made, Step};
use super::victim::Victims;
use crate::cgroup::{Actor, Dir, Version, inherit_cpuset};
use crate::policy::{Position, change};
use crate::{Error, Result};

/// What Create was asked.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    pub(crate) path: &'a CgroupPath,
    pub(crate) controllers: &'a [String],
    pub(crate) limits: &'a HashMap<String, String>,
    pub(crate) must_create: bool,
    pub(crate) when_empty: bool,
    pub(crate) enabling: Enabling,
    /// Whose it shall be, if not the caller's, in the caller's numbers. The controllers that v2
    /// offers are then enabled where none are named.
    pub(crate) owner: Option<(u32, u32)>,
    /// Whether that owner's processes may enter it.
    pub(crate) enter: bool,
}

/// What Create answers.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) path: String,
    pub(crate) controllers: Vec<String>,
    pub(crate) created: bool,
}

/// A place and the deepest of its ancestors that exists, itself included.
struct Site {
    target: Target,
    dir: Dir,
    present: usize,
}

impl Request<'_> {
    pub(crate) fn create(&self, order: &Order<'_>, victims: &Victims) -> Result<Created> {
        self.create_all(order, victims).map_err(|error| order.enabling.tell(error))
    }

    fn create_all(&self, order: &Order<'_>, victims: &Victims) -> Result<Created> {
        let limits = LimitSet::parse(order.limits)?;
        let owner = order.owner.map(|(uid, gid)| self.new_owner(uid, gid));
        if let Some(owner) = owner {
            self.check_giving(owner)?;
        }
        let wanted = self.wanted(order.controllers)?;
        let sites = self.survey(order, &wanted)?;
        self.check_before(&sites, &limits, order)?;
        if order.when_empty {
            self.check_promise()?;
        }
        let existed = sites.iter().any(Site::is_complete);
        let mut made = Made::default();
        let cgroups = self.make_all(sites, &wanted, &mut made)?;
        let created = !made.is_empty();
        self.check_made(&cgroups, &limits, owner)?;
        // Before the moves are checked: it may change where the processes are.
        self.enable_for(order, &limits, &cgroups)?;
        let moves = self.check_moves(&cgroups, victims)?;
        self.limit_and_give(&limits, &cgroups, owner, order.enter)?;
        let promised = order.when_empty.then(|| self.promise_created(&cgroups)).transpose()?;
        moves.run().map_err(|error| with_limits(error, existed && !limits.is_empty()))?;
        made.keep();
        match promised {
            Some(promised) => promised.stand(!victims.pinned.is_empty()),
            None => self.note_populated(&cgroups, victims),
        }
        Ok(Created {
            path: cgroups[0].target.shown(),
            controllers: self.controllers_of(&cgroups),
            created,
        })
    }

    fn enable_for(&self, order: &Order<'_>, limits: &LimitSet, all: &[Cgroup]) -> Result<()> {
        all.iter().try_for_each(|Cgroup { target, .. }| {
            self.enable(target, &self.needed(order, limits, target)?, &order.enabling)
        })
    }

    /// What was made or found is what is wanted, and can be given to whom it is for.
    fn check_made(
        &self,
        cgroups: &[Cgroup],
        limits: &LimitSet,
        owner: Option<NewOwner>,
    ) -> Result<()> {
        self.check_covered(limits, cgroups)?;
        owner.map_or(Ok(()), |owner| {
            cgroups.iter().try_for_each(|cgroup| self.check_takeable(cgroup, owner))
        })
    }

    /// Nobody has them before their limits.
    fn limit_and_give(
        &self,
        limits: &LimitSet,
        cgroups: &[Cgroup],
        owner: Option<NewOwner>,
        enter: bool,
    ) -> Result<()> {
        let Some(owner) = owner else { return self.limit(limits, cgroups) };
        let handovers = self.handovers(cgroups, owner)?;
        self.limit(limits, cgroups)?;
        let marked = self.mark_to_enter(cgroups, owner, enter);
        let given = marked.and_then(|()| give_each(&handovers, owner));
        let given = given.inspect_err(|_| drop(self.mark_to_enter(cgroups, owner, false)));
        given.map_err(|error| with_limits(error, !limits.is_empty()))
    }

    /// Finds how much of the path exists in each hierarchy.
    fn survey(&self, order: &Order<'_>, wanted: &Wanted) -> Result<Vec<Site>> {
        let site = |target: Target| {
            self.deepest(&target).map(|(dir, present)| Site { target, dir, present })
        };
        let mut targets = self.targets(order.path, wanted)?;
        // Whoever has a cgroup there makes others whose files are its own, and these are host root's
        // to set: they go to somebody else only when they are named.
        let is_roots = |target: &Target| self.hierarchy(target.hierarchy).is_of_network_classes();
        if order.owner.is_some() && *wanted == Wanted::Implied && !targets.iter().all(is_roots) {
            targets.retain(|target| !is_roots(target));
        }
        keep_allowed(targets, wanted, site)
    }

    /// Everything that can be known before anything is made: names, and limits.
    fn check_before(&self, sites: &[Site], limits: &LimitSet, order: &Order<'_>) -> Result<()> {
        for site in sites {
            site.target.names[site.present..].iter().try_for_each(|name| check_new_name(name))?;
            self.check_free(&site.target)?;
            let named = self.asked_for(order, &site.target)?;
            let _: bool = self.check_enable(&site.target, site.present, &named, &order.enabling)?;
        }
        if order.must_create && sites.iter().any(Site::is_complete) {
            return Err(Error::new(ErrorName::Exists, "it exists already"));
        }
        if limits.is_empty() {
            return Ok(());
        }
        let deepest = sites.iter().map(Site::ancestor).collect::<Result<Vec<_>>>()?;
        self.check_covered(limits, &deepest)?;
        self.check_limits(limits, &deepest)?;
        sites.iter().try_for_each(|Site { target, present, .. }| {
            let needed = self.controllers_for(limits, target)?;
            self.check_enable(target, *present, &needed, &order.enabling).map(drop)
        })
    }

    /// Makes the cgroup in each hierarchy. Implied ones where the caller may not are left out,
    /// unless that leaves none.
    fn make_all<'s>(
        &'s self,
        sites: Vec<Site>,
        wanted: &Wanted,
        made: &mut Made<'s>,
    ) -> Result<Vec<Cgroup>> {
        keep_allowed(sites, wanted, |site| self.make(site, made))
    }

    fn make<'s>(&'s self, site: Site, made: &mut Made<'s>) -> Result<Cgroup> {
        let Site { target, mut dir, present } = site;
        let missing = &target.names[present..];
        let mut room = self.charge_cgroups(&target, missing.len())?;
        if present > 0 && self.hierarchy(target.hierarchy).is_v1_of("cpuset") {
            self.fill_cpusets(&target, present, &dir)?;
        }
        for index in 0..missing.len() {
            dir = self.make_child(&target, present + index, &dir, (made, &mut room))?;
        }
        Ok(Cgroup { target, dir })
    }

    /// The controllers of the target's hierarchy that are named, or needed by limits.
    fn needed(&self, order: &Order<'_>, limits: &LimitSet, to: &Target) -> Result<Vec<String>> {
        let mut needed = self.controllers_for(limits, to)?;
        needed.extend(self.asked_for(order, to)?);
        needed.sort();
        needed.dedup();
        Ok(needed)
    }

    /// Those of the named controllers that the target's hierarchy has. For another owner, where none
    /// are named, all that can be had.
    fn asked_for(&self, order: &Order<'_>, target: &Target) -> Result<Vec<String>> {
        let hierarchy = self.hierarchy(target.hierarchy);
        let all = order.owner.is_some() && order.controllers.is_empty();
        if all && hierarchy.version == Version::V2 {
            return words_of(&target.scope.dir, AVAILABLE);
        }
        let named = order.controllers.iter().filter(|name| hierarchy.controllers.contains(name));
        Ok(named.cloned().collect())
    }

    /// The deepest existing directory on the way, and how many names lead to it. The parent is
    /// tried after the cgroup itself: most calls make one level.
    fn deepest(&self, target: &Target) -> Result<(Dir, usize)> {
        let names = &target.names;
        for depth in (0..=names.len()).rev() {
            match self.open(&target.scope.dir, &names[..depth]) {
                Ok(dir) => return Ok((dir, depth)),
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(Error::kernel("open its parent", errno)),
            }
        }
        Err(super::target::not_found())
    }

    /// Makes one cgroup as the caller: so it belongs to the caller, without a chown.
    fn make_child<'s>(
        &'s self,
        target: &Target,
        depth: usize,
        parent: &Dir,
        (made, room): (&mut Made<'s>, &mut Option<Room<'s>>),
    ) -> Result<Dir> {
        let name = &target.names[depth];
        let terms = change(self.subject(), Position::Below, node_of(parent)?)?;
        let hierarchy = self.hierarchy(target.hierarchy);
        let result = terms.actor.run(|| match parent.make(name) {
            Ok(()) => Ok((true, parent.open(name))),
            Err(Errno::EEXIST) => Ok((false, parent.open(name))),
            Err(errno) => Err(errno),
        });
        let (fresh, opened) = result.map_err(|errno| self.not_made(target, depth, errno))?;
        if fresh {
            // It counts from now on, also where the parent was closed to the caller meanwhile.
            let id = opened.as_ref().map_or_else(|_| parent.open(name)?.id(), Dir::id);
            let id = id.map_err(|errno| Error::kernel("stat", errno))?;
            room.iter_mut().for_each(|room| room.made(id));
            let undo = parent.try_clone().map_err(|errno| Error::kernel("dup", errno))?;
            made.add(Step {
                parent: undo,
                name: name.clone(),
                id,
                actor: terms.actor.clone(),
                counted: room.as_ref().map(Room::counted),
            });
        }
        let child = opened.map_err(|errno| self.not_made(target, depth, errno))?;
        if hierarchy.is_v1_of("cpuset") {
            let inherited = inherit(&terms.actor, parent, &child);
            // Whoever was faster may not have come to it yet; it need not be ours to fill.
            inherited.or_else(|error| if fresh { Err(error) } else { Ok(()) })?;
        }
        Ok(child)
    }

    /// Fills the v1 cpusets on the way down to `deepest` when that is empty: whoever made them was
    /// interrupted. What is not the caller's to fill stays, and says so when it is to be entered.
    fn fill_cpusets(&self, target: &Target, present: usize, deepest: &Dir) -> Result<()> {
        let unread = |errno| Error::kernel("read the parent's cpuset", errno);
        let is_empty = |file| deepest.read(file).map(|text| text.trim().is_empty());
        if !is_empty("cpuset.cpus").map_err(unread)? && !is_empty("cpuset.mems").map_err(unread)? {
            return Ok(());
        }
        let open = |depth: usize| self.open(&target.scope.dir, &target.names[..depth]);
        let dirs: nix::Result<Vec<Dir>> = (0..=present).map(open).collect();
        let dirs = dirs.map_err(|errno| Error::kernel("open its parent", errno))?;
        for pair in dirs.windows(2) {
            match inherit(&self.plain_actor(), &pair[0], &pair[1]) {
                Err(error) if error.name == ErrorName::OutOfResources => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The controllers of the hierarchies a cgroup exists in, named ones by their name.
    pub(super) fn controllers_of(&self, cgroups: &[Cgroup]) -> Vec<String> {
        let mut names = Vec::new();
        for cgroup in cgroups {
            let hierarchy = self.hierarchy(cgroup.target.hierarchy);
            match hierarchy.version {
                Version::V1 if !hierarchy.controllers.is_empty() => {
                    names.extend(hierarchy.controllers.iter().cloned());
                }
                _ => names.push(hierarchy.label.clone()),
            }
        }
        names
    }
}

impl Site {
    /// Whether the cgroup itself exists.
    fn is_complete(&self) -> bool {
        self.present == self.target.names.len()
    }

    /// The directory that exists, as a cgroup.
    fn ancestor(&self) -> Result<Cgroup> {
        let dir = self.dir.try_clone().map_err(|errno| Error::kernel("dup", errno))?;
        let names = self.target.names[..self.present].to_vec();
        Ok(Cgroup { target: Target { names, ..self.target.clone() }, dir })
    }
}

/// Does `work` for each; where hierarchies are implied, those that deny it are left out, unless
/// that leaves none.
fn keep_allowed<T, U>(
    items: Vec<T>,
    wanted: &Wanted,
    mut work: impl FnMut(T) -> Result<U>,
) -> Result<Vec<U>> {
    let mut kept = Vec::with_capacity(items.len());
    let mut refused = None;
    for item in items {
        match work(item) {
            Ok(done) => kept.push(done),
            Err(error) if *wanted == Wanted::Implied && error.name == ErrorName::Denied => {
                refused.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match refused {
        Some(error) if kept.is_empty() => Err(error),
        _ => Ok(kept),
    }
}

/// Says in an error that limits stay, if they were set.
fn with_limits(error: Error, were_set: bool) -> Error {
    match were_set {
        true => Error { text: format!("{}; its limits were set", error.text), ..error },
        false => error,
    }
}

/// A new v1 cpuset is empty, and nothing could enter it.
fn inherit(actor: &Actor, parent: &Dir, child: &Dir) -> Result<()> {
    actor
        .run(|| inherit_cpuset(parent, child))
        .map_err(|errno| Error::kernel("inherit the parent's cpuset", errno))
}
