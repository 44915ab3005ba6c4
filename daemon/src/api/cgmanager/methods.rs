//! The methods: arguments in, a verb, the original's values out.

use serde::{Deserialize, Serialize};
use zbus::Message;
use zbus::zvariant::{DynamicType, Type};

use super::{Asked, cgroups, files, processes, said, unsigned};
use crate::api::reply::{Reply, success};
use crate::service::Victims;
use crate::{Error, Result};
use cgroupd_proto::ErrorName;

/// A call whose signature fits.
pub(super) struct Call<'a> {
    pub(super) message: &'a Message,
    pub(super) asked: Asked<'a>,
}

type Handler = fn(&Call<'_>) -> Result<Reply>;

pub(super) const HANDLERS: &[(&str, Handler)] = &[
    ("Ping", |call| call.success(&())),
    ("Create", create),
    ("Chown", chown),
    ("Chmod", chmod),
    ("MovePid", move_pid),
    ("MovePidAbs", move_pid_abs),
    ("GetValue", get_value),
    ("SetValue", set_value),
    ("Remove", remove),
    ("GetTasks", get_tasks),
    ("GetTasksRecursive", get_tasks_recursive),
    ("ListChildren", list_children),
    ("RemoveOnEmpty", remove_on_empty),
    ("Prune", prune),
    ("ListKeys", list_keys),
    ("ListControllers", list_controllers),
    ("GetPidCgroup", get_pid_cgroup),
    ("GetPidCgroupAbs", get_pid_cgroup_abs),
];

impl Call<'_> {
    /// The arguments; the signature was compared already.
    fn arguments<T: for<'d> Deserialize<'d> + Type>(&self) -> Result<T> {
        let parsed = self.message.body().deserialize_ignore_signature::<T>();
        parsed.map_err(|error| Error::new(ErrorName::InvalidArgument, error.to_string()))
    }

    fn success<B: Serialize + DynamicType>(&self, body: &B) -> Result<Reply> {
        Ok(success(self.message, body))
    }

    /// The process of this number in the caller's pid namespace.
    fn victim(&self, pid: i32) -> Result<Victims> {
        Victims::from_pids(&self.asked.request, &[unsigned(pid)?])
    }

    fn check_pid_namespace(&self, text: &str) -> Result<()> {
        let ours = self.asked.request.now().pid_ns_is_ours;
        ours.then_some(()).ok_or_else(|| said(text))
    }
}

/// 1 where it existed in any hierarchy, else -1.
fn create(call: &Call<'_>) -> Result<Reply> {
    let (controllers, cgroup): (String, String) = call.arguments()?;
    let existed = cgroups::create(&call.asked, &controllers, &cgroup)?;
    call.success(&(if existed { 1 } else { -1 },))
}

/// 1 where it was removed, -1 where it was not there.
fn remove(call: &Call<'_>) -> Result<Reply> {
    let (controllers, cgroup, recursive): (String, String, i32) = call.arguments()?;
    let existed = cgroups::remove(&call.asked, &controllers, &cgroup, recursive != 0)?;
    call.success(&(if existed { 1 } else { -1 },))
}

fn chown(call: &Call<'_>) -> Result<Reply> {
    let (controllers, cgroup, uid, gid): (String, String, i32, i32) = call.arguments()?;
    if !call.asked.request.now().user_ns_is_ours {
        return Err(said("chown called from different user namespace"));
    }
    let owner = (unsigned(uid)?, unsigned(gid)?);
    cgroups::chown(&call.asked, &controllers, &cgroup, owner)?;
    call.success(&())
}

fn chmod(call: &Call<'_>) -> Result<Reply> {
    let (controllers, cgroup, file, mode): (String, String, String, i32) = call.arguments()?;
    cgroups::chmod(&call.asked, &controllers, &cgroup, &file, mode)?;
    call.success(&())
}

fn list_children(call: &Call<'_>) -> Result<Reply> {
    let (controller, cgroup): (String, String) = call.arguments()?;
    call.success(&(cgroups::children(&call.asked, &controller, &cgroup)?,))
}

fn remove_on_empty(call: &Call<'_>) -> Result<Reply> {
    let (controllers, cgroup): (String, String) = call.arguments()?;
    cgroups::remove_on_empty(&call.asked, &controllers, &cgroup)?;
    call.success(&())
}

fn prune(call: &Call<'_>) -> Result<Reply> {
    let (controllers, cgroup): (String, String) = call.arguments()?;
    cgroups::prune(&call.asked, &controllers, &cgroup)?;
    call.success(&())
}

fn get_value(call: &Call<'_>) -> Result<Reply> {
    let (controller, cgroup, key): (String, String, String) = call.arguments()?;
    call.success(&(files::value(&call.asked, &controller, &cgroup, &key)?,))
}

fn set_value(call: &Call<'_>) -> Result<Reply> {
    let (controller, cgroup, key, value): (String, String, String, String) = call.arguments()?;
    files::set_value(&call.asked, &controller, &cgroup, &key, &value)?;
    call.success(&())
}

/// Name, uid, gid and `st_mode` of each.
fn list_keys(call: &Call<'_>) -> Result<Reply> {
    let (controller, cgroup): (String, String) = call.arguments()?;
    let keys = files::keys(&call.asked, &controller, &cgroup)?;
    // What is not mapped.
    let shown = |id: Option<u32>| id.unwrap_or(u32::MAX);
    let rows = keys.into_iter().map(|key| (key.name, shown(key.uid), shown(key.gid), key.mode));
    call.success(&(rows.collect::<Vec<_>>(),))
}

fn list_controllers(call: &Call<'_>) -> Result<Reply> {
    call.success(&(super::meant::list(&call.asked.service.layout),))
}

fn move_pid(call: &Call<'_>) -> Result<Reply> {
    let (controllers, cgroup, pid): (String, String, i32) = call.arguments()?;
    let path = processes::relative(&cgroup)?;
    processes::attach(&call.asked, &controllers, &path, &call.victim(pid)?)?;
    call.success(&())
}

/// Out of the caller's own cgroup: grant G7 is the caller's scope, which for host root is all.
fn move_pid_abs(call: &Call<'_>) -> Result<Reply> {
    let (controllers, cgroup, pid): (String, String, i32) = call.arguments()?;
    let now = call.asked.request.now();
    if !now.pid_ns_is_ours || !now.user_ns_is_ours {
        return Err(said("Escape request from different namespace requires a proxy"));
    }
    let path = super::absolute(&cgroup)?;
    processes::attach(&call.asked, &controllers, &path, &call.victim(pid)?)?;
    call.success(&())
}

fn get_tasks(call: &Call<'_>) -> Result<Reply> {
    let (controller, cgroup): (String, String) = call.arguments()?;
    let pids = processes::pids(&call.asked, &controller, &cgroup)?;
    call.success(&(signed(pids),))
}

fn get_tasks_recursive(call: &Call<'_>) -> Result<Reply> {
    let (controllers, cgroup): (String, String) = call.arguments()?;
    let pids = processes::pids_below(&call.asked, &controllers, &cgroup)?;
    call.success(&(signed(pids),))
}

fn signed(pids: impl IntoIterator<Item = u32>) -> Vec<i32> {
    pids.into_iter().map(u32::cast_signed).collect()
}

/// Relative to the caller's own cgroup.
fn get_pid_cgroup(call: &Call<'_>) -> Result<Reply> {
    let (controller, pid): (String, i32) = call.arguments()?;
    call.check_pid_namespace("GetPidCgroup called from non-init namespace")?;
    let request = call.asked.one(&controller)?;
    let found = processes::cgroup_of(&request, unsigned(pid)?)?;
    call.success(&(processes::below(&request.own_cgroup()?, &found)?,))
}

/// From the top of what the caller may see.
fn get_pid_cgroup_abs(call: &Call<'_>) -> Result<Reply> {
    let (controller, pid): (String, i32) = call.arguments()?;
    call.check_pid_namespace("GetPidCgroupAbs called from non-init namespace")?;
    let found = processes::cgroup_of(&call.asked.one(&controller)?, unsigned(pid)?)?;
    call.success(&(format!("/{}", found.join("/")),))
}

#[cfg(test)]
mod tests {
    use super::HANDLERS;
    use cgroupd_proto::cgmanager::METHODS;

    #[test]
    fn every_method_has_a_handler() {
        let mut contract: Vec<_> = METHODS.iter().map(|method| method.member).collect();
        contract.retain(|member| !member.ends_with("Scm"));
        let handlers: Vec<_> = HANDLERS.iter().map(|(member, _)| *member).collect();
        assert_eq!(contract, handlers);
    }
}
