//! Create: parents first, limits next, processes last; whatever fails later takes back what
//! this call made.

use std::collections::HashMap;

use cgroupd_proto::{CgroupPath, ErrorName, check_new_name};
use nix::errno::Errno;

use super::Request;
use super::request::node_of;
use super::target::{Cgroup, Target, Wanted};
use super::undo::Made;
use super::victim::Victims;
use crate::cgroup::{Actor, Dir, inherit_cpuset};
use crate::policy::{Position, change};
use crate::{Error, Result};

/// What Create was asked.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    pub(crate) path: &'a CgroupPath,
    pub(crate) controllers: &'a [String],
    pub(crate) limits: &'a HashMap<String, String>,
    pub(crate) must_create: bool,
}

/// What Create answers.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) path: String,
    pub(crate) controllers: Vec<String>,
    pub(crate) created: bool,
}

impl Request<'_> {
    pub(crate) fn create(&self, order: &Order<'_>, victims: &Victims) -> Result<Created> {
        let wanted = self.wanted(order.controllers)?;
        let targets = self.targets(order.path, &wanted)?;
        let mut made = Made::default();
        let cgroups = self.make_all(targets, &wanted, &mut made)?;
        let created = !made.is_empty();
        if order.must_create && !created {
            return Err(Error::new(ErrorName::Exists, "it exists already"));
        }
        self.attach_to(&cgroups, victims)?;
        made.keep();
        Ok(Created {
            path: cgroups[0].target.shown(),
            controllers: self.controllers_of(&cgroups),
            created,
        })
    }

    /// Makes the cgroup in each hierarchy. Implied ones where the caller may not are left out,
    /// unless that leaves none.
    fn make_all(
        &self,
        targets: Vec<Target>,
        wanted: &Wanted,
        made: &mut Made,
    ) -> Result<Vec<Cgroup>> {
        let mut cgroups = Vec::with_capacity(targets.len());
        let mut refused = None;
        for target in targets {
            match self.make(target, made) {
                Ok(cgroup) => cgroups.push(cgroup),
                Err(error) if *wanted == Wanted::Implied && error.name == ErrorName::Denied => {
                    refused.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match refused {
            Some(error) if cgroups.is_empty() => Err(error),
            _ => Ok(cgroups),
        }
    }

    /// Opens the cgroup, or the deepest of its ancestors that exists, and makes the rest.
    fn make(&self, target: Target, made: &mut Made) -> Result<Cgroup> {
        let (mut dir, present) = self.deepest(&target)?;
        let missing = &target.names[present..];
        for name in missing {
            check_new_name(name)?;
        }
        self.charge(&target, missing.len())?;
        for name in missing {
            dir = self
                .make_child(target.hierarchy, dir, name, made)
                .inspect_err(|_| self.discharge(target.hierarchy, missing.len()))?;
        }
        Ok(Cgroup { target, dir })
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
    fn make_child(&self, index: usize, parent: Dir, name: &str, made: &mut Made) -> Result<Dir> {
        let terms = change(self.subject(), Position::Below, node_of(&parent)?)?;
        let hierarchy = self.hierarchy(index);
        let label = &hierarchy.label;
        let result = terms.actor.run(|| {
            let fresh = match parent.make(name) {
                Ok(()) => true,
                Err(Errno::EEXIST) => false,
                Err(errno) => return Err(("mkdir", errno)),
            };
            let child = parent.open(name).map_err(|errno| ("open", errno))?;
            Ok((child, fresh))
        });
        let (child, fresh) = result
            .map_err(|(what, errno)| Error::kernel(format_args!("{what} in {label}"), errno))?;
        if fresh {
            let id = child.id().map_err(|errno| Error::kernel("stat", errno))?;
            let undo = parent.try_clone().map_err(|errno| Error::kernel("dup", errno))?;
            made.add(undo, name, id, terms.actor.clone());
            if hierarchy.is_v1_of("cpuset") {
                inherit(&terms.actor, &parent, &child)?;
            }
        }
        Ok(child)
    }

    /// The controllers of the hierarchies a cgroup exists in, named ones by their name.
    pub(super) fn controllers_of(&self, cgroups: &[Cgroup]) -> Vec<String> {
        let mut names = Vec::new();
        for cgroup in cgroups {
            let hierarchy = self.hierarchy(cgroup.target.hierarchy);
            match hierarchy.version {
                crate::cgroup::Version::V1 if !hierarchy.controllers.is_empty() => {
                    names.extend(hierarchy.controllers.iter().cloned());
                }
                _ => names.push(hierarchy.label.clone()),
            }
        }
        names
    }
}

/// A new v1 cpuset is empty, and nothing could enter it.
fn inherit(actor: &Actor, parent: &Dir, child: &Dir) -> Result<()> {
    actor
        .run(|| inherit_cpuset(parent, child))
        .map_err(|errno| Error::kernel("inherit the parent's cpuset", errno))
}
