//! Methods that move processes, list them, or tell where they are.

use std::collections::BTreeSet;

use cgroupd_proto::{CgroupPath, ErrorName};

use super::{Call, absolute, below_own, said, unsigned};
use crate::api::reply::Reply;
use crate::service::{Request, Victims};
use crate::{Error, Result};

pub(super) fn move_pid(call: &Call<'_>) -> Result<Reply> {
    let (controllers, cgroup, pid): (String, String, i32) = call.arguments()?;
    if cgroup.starts_with('/') {
        return Err(Error::new(ErrorName::InvalidPath, "MovePid takes no absolute path"));
    }
    move_to(call, &controllers, &below_own(&cgroup)?, pid)
}

/// Out of the caller's own cgroup: grant G7 is the caller's scope, which for host root is all.
pub(super) fn move_pid_abs(call: &Call<'_>) -> Result<Reply> {
    let (controllers, cgroup, pid): (String, String, i32) = call.arguments()?;
    let now = call.request.now();
    if !now.pid_ns_is_ours || !now.user_ns_is_ours {
        return Err(said("Escape request from different namespace requires a proxy"));
    }
    move_to(call, &controllers, &absolute(&cgroup)?, pid)
}

fn move_to(call: &Call<'_>, controllers: &str, path: &CgroupPath, pid: i32) -> Result<Reply> {
    let pid = unsigned(pid)?;
    call.each(controllers, |request, _| {
        request.attach(path, &Victims::from_pids(request, &[pid])?)
    })?;
    call.success(&())
}

pub(super) fn get_tasks(call: &Call<'_>) -> Result<Reply> {
    let (controller, cgroup): (String, String) = call.arguments()?;
    let pids = call.one(&controller)?.processes(&below_own(&cgroup)?, false, false)?;
    call.success(&(signed(pids),))
}

pub(super) fn get_tasks_recursive(call: &Call<'_>) -> Result<Reply> {
    let (controllers, cgroup): (String, String) = call.arguments()?;
    let path = below_own(&cgroup)?;
    let found = call.each(&controllers, |request, _| request.processes(&path, true, false))?;
    call.success(&(signed(found.into_iter().flatten().collect::<BTreeSet<_>>()),))
}

fn signed(pids: impl IntoIterator<Item = u32>) -> Vec<i32> {
    pids.into_iter().map(u32::cast_signed).collect()
}

/// Relative to the caller's own cgroup: `/` for that, `a/b` below.
pub(super) fn get_pid_cgroup(call: &Call<'_>) -> Result<Reply> {
    let (controller, pid): (String, i32) = call.arguments()?;
    check_pid_namespace(call, "GetPidCgroup called from non-init namespace")?;
    let request = call.one(&controller)?;
    let (own, found) = (request.own_cgroup()?, cgroup_of(&request, pid)?);
    match found.components().strip_prefix(&own[..]) {
        Some([]) => call.success(&("/",)),
        Some(below) => call.success(&(below.join("/"),)),
        None => Err(Error::new(ErrorName::Denied, "the process is outside of the caller's cgroup")),
    }
}

/// From the top of what the caller may see.
pub(super) fn get_pid_cgroup_abs(call: &Call<'_>) -> Result<Reply> {
    let (controller, pid): (String, i32) = call.arguments()?;
    check_pid_namespace(call, "GetPidCgroupAbs called from non-init namespace")?;
    let found = cgroup_of(&call.one(&controller)?, pid)?;
    call.success(&(found.to_string(),))
}

fn check_pid_namespace(call: &Call<'_>, text: &str) -> Result<()> {
    match call.request.now().pid_ns_is_ours {
        true => Ok(()),
        false => Err(said(text)),
    }
}

fn cgroup_of(request: &Request<'_>, pid: i32) -> Result<CgroupPath> {
    let rows = request.cgroup_of(Some(unsigned(pid)?))?;
    let found = rows.into_iter().next().map(|(_, path)| path);
    let outside = || Error::new(ErrorName::NotFound, "the process is in no cgroup that is seen");
    Ok(CgroupPath::parse(&found.ok_or_else(outside)?)?)
}
