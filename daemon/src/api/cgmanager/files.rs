//! Methods about interface files, and the controllers that have them.

use super::{Call, Error, ErrorName, absolute, below_own, meant};
use crate::Result;
use crate::api::reply::Reply;
use crate::service::Request;

/// The id that stands for one which the caller's user namespace does not map.
const UNMAPPED: u32 = u32::MAX;

/// The value, without the line breaks at its end.
pub(super) fn get_value(call: &Call<'_>) -> Result<Reply> {
    let (controller, cgroup, key): (String, String, String) = call.arguments()?;
    let request = call.one(&controller)?;
    let path = match is_below_own(&request, &cgroup)? {
        true => absolute(&cgroup)?,
        false => below_own(&cgroup)?,
    };
    let value = request.read_file(&path, &key)?;
    call.success(&(value.trim_end_matches('\n'),))
}

/// Whether an absolute path, as GetPidCgroupAbs answers it, lies in the caller's own cgroup.
fn is_below_own(request: &Request<'_>, cgroup: &str) -> Result<bool> {
    match cgroup.starts_with('/') {
        true => Ok(absolute(cgroup)?.components().starts_with(&request.own_cgroup()?)),
        false => Ok(false),
    }
}

/// Nothing is written for the empty value.
pub(super) fn set_value(call: &Call<'_>) -> Result<Reply> {
    let (controller, cgroup, key, value): (String, String, String, String) = call.arguments()?;
    let (request, path) = (call.one(&controller)?, below_own(&cgroup)?);
    if !value.is_empty() {
        request.write_file(&path, &key, &value)?;
    }
    call.success(&())
}

/// Name, uid, gid and `st_mode` of each.
pub(super) fn list_keys(call: &Call<'_>) -> Result<Reply> {
    let (controller, cgroup): (String, String) = call.arguments()?;
    let keys = call.one(&controller)?.keys(&below_own(&cgroup)?)?;
    let shown = |id: Option<u32>| id.unwrap_or(UNMAPPED);
    let rows = keys.into_iter().map(|key| (key.name, shown(key.uid), shown(key.gid), key.mode));
    call.success(&(rows.collect::<Vec<_>>(),))
}

pub(super) fn list_controllers(call: &Call<'_>) -> Result<Reply> {
    let names = meant::list(&call.service.layout.hierarchies);
    match names.is_empty() {
        true => Err(Error::new(ErrorName::NotSupported, "no hierarchy is mounted")),
        false => call.success(&(names,)),
    }
}
