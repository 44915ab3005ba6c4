//! Methods about cgroups themselves. In lists of controllers each hierarchy is done by itself:
//! what was done in the first ones stays when a later one fails.

use std::collections::HashMap;

use cgroupd_proto::{CgroupPath, ErrorName};

use super::{Call, Meant, absolute, below_own, said, unsigned};
use crate::Result;
use crate::api::reply::Reply;
use crate::service::{Enabling, Order, Page, Request, Victims};

/// The rows that are read at a time of what is pruned.
const PAGE: usize = 1000;

/// 1 where it existed in any hierarchy, else -1.
pub(super) fn create(call: &Call<'_>) -> Result<Reply> {
    let (controllers, cgroup): (String, String) = call.arguments()?;
    let path = below_own(&cgroup)?;
    if path.components().is_empty() {
        return call.success(&(if cgroup.is_empty() { -1 } else { 1 },));
    }
    let created = call.each(&controllers, |request, meant| create_in(request, meant, &path))?;
    call.success(&(if created.contains(&false) { 1 } else { -1 },))
}

/// On v2 the cgroup is also given the controllers that are named, if they can be had there:
/// ListControllers names those of the whole host. For those that are named processes may have to
/// give way; where all are meant nobody has to.
fn create_in(request: &Request<'_>, meant: &Meant, path: &CgroupPath) -> Result<bool> {
    let make = |controllers: &[String], no_evacuate| {
        let order = Order {
            path,
            controllers,
            limits: &HashMap::new(),
            must_create: false,
            when_empty: false,
            enabling: Enabling::new(no_evacuate),
        };
        request.create(&order, &Victims::none()).map(|created| created.created)
    };
    match request.v2_controllers() {
        None => make(&[], true),
        Some(all) if meant.controllers.is_empty() => make(all, true).or_else(|_| make(&[], true)),
        Some(_) => make(&meant.controllers, false).or_else(|_| make(&[], true)),
    }
}

/// 1 where it was removed, -1 where it was not there; always 1 for a list.
pub(super) fn remove(call: &Call<'_>) -> Result<Reply> {
    let (controllers, cgroup, recursive): (String, String, i32) = call.arguments()?;
    let path = below_own(&cgroup)?;
    let removed =
        call.each(&controllers, |request, _| match request.remove(&path, recursive != 0, false) {
            Err(error) if error.name == ErrorName::NotFound && error.rule.is_none() => Ok(false),
            removed => removed.map(|()| true),
        })?;
    let found = super::meant::is_list(&controllers) || removed.contains(&true);
    call.success(&(if found { 1 } else { -1 },))
}

pub(super) fn chown(call: &Call<'_>) -> Result<Reply> {
    let (controllers, cgroup, uid, gid): (String, String, i32, i32) = call.arguments()?;
    if !call.request.now().user_ns_is_ours {
        return Err(said("chown called from different user namespace"));
    }
    let (path, uid, gid) = (below_own(&cgroup)?, unsigned(uid)?, unsigned(gid)?);
    call.each(&controllers, |request, _| request.chown(&path, uid, gid, false))?;
    call.success(&())
}

pub(super) fn chmod(call: &Call<'_>) -> Result<Reply> {
    let (controllers, cgroup, file, mode): (String, String, String, i32) = call.arguments()?;
    let (path, mode) = (below_own(&cgroup)?, unsigned(mode)?);
    call.each(&controllers, |request, _| request.chmod(&path, &file, mode))?;
    call.success(&())
}

pub(super) fn list_children(call: &Call<'_>) -> Result<Reply> {
    let (controller, cgroup): (String, String) = call.arguments()?;
    let children = call.one(&controller)?.children(&below_own(&cgroup)?)?;
    call.success(&(children,))
}

pub(super) fn remove_on_empty(call: &Call<'_>) -> Result<Reply> {
    let (controllers, cgroup): (String, String) = call.arguments()?;
    let path = below_own(&cgroup)?;
    call.each(&controllers, |request, _| request.remove_when_left(&path))?;
    call.success(&())
}

/// What is empty goes at once, the deepest first; the rest when it is.
pub(super) fn prune(call: &Call<'_>) -> Result<Reply> {
    let (controllers, cgroup): (String, String) = call.arguments()?;
    let path = below_own(&cgroup)?;
    call.each(&controllers, |request, _| {
        for below in all_below(request, &path)?.iter().rev() {
            gone_or(request.remove_when_empty(&absolute(below)?).map(drop))?;
        }
        match path.components().is_empty() {
            true => Ok(()),
            false => request.remove_when_empty(&path).map(drop),
        }
    })?;
    call.success(&())
}

/// Somebody else may have been faster.
fn gone_or(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.name == ErrorName::NotFound => Ok(()),
        result => result,
    }
}

/// The cgroups below, as paths from the caller's scope down, each after its parent.
fn all_below(request: &Request<'_>, path: &CgroupPath) -> Result<Vec<String>> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = Page { depth: 0, after, limit: PAGE, children: false };
        let (rows, next) = request.list(path, &page)?;
        all.extend(rows.into_iter().map(|(path, _)| path));
        if next.is_empty() {
            return Ok(all);
        }
        after = next;
    }
}
