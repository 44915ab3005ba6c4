//! The verbs about interface files.

use super::{Asked, absolute, below_own};
use crate::Result;
use crate::service::{Key, Request};

/// The value, without the line breaks at its end.
pub(super) fn value(
    asked: &Asked<'_>,
    controller: &str,
    cgroup: &str,
    key: &str,
) -> Result<String> {
    let request = asked.one(controller)?;
    let path = match is_below_own(&request, cgroup)? {
        true => absolute(cgroup)?,
        false => below_own(cgroup)?,
    };
    let mut value = request.read_file(&path, key)?;
    value.truncate(value.trim_end_matches('\n').len());
    Ok(value)
}

/// Whether an absolute path, as GetPidCgroupAbs answers it, lies in the caller's own cgroup.
fn is_below_own(request: &Request<'_>, cgroup: &str) -> Result<bool> {
    match cgroup.starts_with('/') {
        true => Ok(absolute(cgroup)?.components().starts_with(&request.own_cgroup()?)),
        false => Ok(false),
    }
}

/// Nothing is written for the empty value.
pub(super) fn set_value(
    asked: &Asked<'_>,
    controller: &str,
    cgroup: &str,
    key: &str,
    value: &str,
) -> Result<()> {
    let (request, path) = (asked.one(controller)?, below_own(cgroup)?);
    match value.is_empty() {
        true => Ok(()),
        false => request.write_file(&path, key, value),
    }
}

pub(super) fn keys(asked: &Asked<'_>, controller: &str, cgroup: &str) -> Result<Vec<Key>> {
    asked.one(controller)?.keys(&below_own(cgroup)?)
}
