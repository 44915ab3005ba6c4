//! The verbs about cgroups themselves. In lists of controllers each hierarchy is done by itself:
//! what was done in the first ones stays when a later one fails.

use std::collections::HashMap;

use cgroupd_proto::{CgroupPath, ErrorName};

use super::meant::{Meant, is_list};
use super::{Asked, below_own, unsigned};
use crate::Result;
use crate::service::{Enabling, Order, Request, Victims};

/// Whether it existed in any of the hierarchies. Nothing happens for the empty path.
pub(super) fn create(asked: &Asked<'_>, controllers: &str, cgroup: &str) -> Result<bool> {
    let path = below_own(cgroup)?;
    if path.components().is_empty() {
        return Ok(!cgroup.is_empty());
    }
    let created = asked.each(controllers, |request, meant| create_in(request, meant, &path))?;
    Ok(created.contains(&false))
}

/// On v2 the cgroup is also given the controllers that are meant, if all of them can be had there:
/// ListControllers names those of the whole host. Nobody is made to give way for them: that would
/// move the caller itself, and its next path would start elsewhere.
fn create_in(request: &Request<'_>, meant: &Meant, path: &CgroupPath) -> Result<bool> {
    let make = |controllers: &[String]| {
        let order = Order {
            path,
            controllers,
            limits: &HashMap::new(),
            must_create: false,
            when_empty: false,
            enabling: Enabling::new(true),
            owner: None,
            enter: false,
        };
        request.create(&order, &Victims::none()).map(|created| created.created)
    };
    let wanted = match request.v2_controllers() {
        None => return make(&[]),
        Some(all) if meant.controllers.is_empty() => all,
        Some(_) => &meant.controllers,
    };
    make(wanted).or_else(|_| make(&[]))
}

/// Whether it was there; what a list names always was.
pub(super) fn remove(
    asked: &Asked<'_>,
    controllers: &str,
    cgroup: &str,
    recursive: bool,
) -> Result<bool> {
    let path = below_own(cgroup)?;
    let removed =
        asked.each(controllers, |request, _| match request.remove(&path, recursive, false) {
            Err(error) if error.name == ErrorName::NotFound && error.rule.is_none() => Ok(false),
            removed => removed.map(|()| true),
        })?;
    Ok(is_list(controllers) || removed.contains(&true))
}

/// Gives it to ids of the caller's user namespace.
pub(super) fn chown(
    asked: &Asked<'_>,
    controllers: &str,
    cgroup: &str,
    (uid, gid): (u32, u32),
) -> Result<()> {
    let path = below_own(cgroup)?;
    asked.each(controllers, |request, _| request.chown(&path, uid, gid, false)).map(drop)
}

pub(super) fn chmod(
    asked: &Asked<'_>,
    controllers: &str,
    cgroup: &str,
    file: &str,
    mode: i32,
) -> Result<()> {
    let (path, mode) = (below_own(cgroup)?, unsigned(mode)?);
    asked.each(controllers, |request, _| request.chmod(&path, file, mode)).map(drop)
}

pub(super) fn children(asked: &Asked<'_>, controller: &str, cgroup: &str) -> Result<Vec<String>> {
    asked.one(controller)?.children(&below_own(cgroup)?)
}

/// It goes when it is left, though nobody may have been in it yet.
pub(super) fn remove_on_empty(asked: &Asked<'_>, controllers: &str, cgroup: &str) -> Result<()> {
    let path = below_own(cgroup)?;
    asked.each(controllers, |request, _| request.remove_when_left(&path)).map(drop)
}

/// What is empty goes at once, the deepest first; the caller's own that is not, when it is left.
pub(super) fn prune(asked: &Asked<'_>, controllers: &str, cgroup: &str) -> Result<()> {
    let path = below_own(cgroup)?;
    asked.each(controllers, |request, _| request.prune(&path)).map(drop)
}
