//! The verbs that move processes, list them, or tell where they are.

use std::collections::BTreeSet;

use cgroupd_proto::{CgroupPath, ErrorName};

use super::{Asked, below_own};
use crate::service::{Request, Victims};
use crate::{Error, Result};

/// Where MovePid goes: below the caller's own cgroup, and not by a path that looks absolute.
pub(super) fn relative(cgroup: &str) -> Result<CgroupPath> {
    match cgroup.starts_with('/') {
        true => Err(Error::new(ErrorName::InvalidPath, "MovePid takes no absolute path")),
        false => below_own(cgroup),
    }
}

pub(super) fn attach(
    asked: &Asked<'_>,
    controllers: &str,
    path: &CgroupPath,
    victims: &Victims,
) -> Result<()> {
    asked.each(controllers, |request, _| request.attach(path, victims)).map(drop)
}

/// In ascending order.
pub(super) fn pids(asked: &Asked<'_>, controller: &str, cgroup: &str) -> Result<Vec<u32>> {
    asked.one(controller)?.processes(&below_own(cgroup)?, false, false)
}

/// As [`pids`], by the daemon's numbers.
pub(super) fn daemon_pids(asked: &Asked<'_>, controller: &str, cgroup: &str) -> Result<Vec<i32>> {
    asked.one(controller)?.seen_processes(&below_own(cgroup)?, false)
}

/// As [`pids_below`], by the daemon's numbers.
pub(super) fn daemon_pids_below(
    asked: &Asked<'_>,
    controllers: &str,
    cgroup: &str,
) -> Result<Vec<i32>> {
    let path = below_own(cgroup)?;
    let found = asked.each(controllers, |request, _| request.seen_processes(&path, true))?;
    Ok(BTreeSet::from_iter(found.into_iter().flatten()).into_iter().collect())
}

/// Those below too, of all hierarchies that are meant.
pub(super) fn pids_below(
    asked: &Asked<'_>,
    controllers: &str,
    cgroup: &str,
) -> Result<BTreeSet<u32>> {
    let path = below_own(cgroup)?;
    let found = asked.each(controllers, |request, _| request.processes(&path, true, false))?;
    Ok(found.into_iter().flatten().collect())
}

/// Where the process is in the hierarchy that is meant, from the caller's scope down.
pub(super) fn cgroup_of(request: &Request<'_>, pid: u32) -> Result<Vec<String>> {
    let rows = request.cgroup_of(Some(pid))?;
    let found = rows.into_iter().next().map(|(_, path)| path);
    let outside = || Error::new(ErrorName::NotFound, "the process is in no cgroup that is seen");
    Ok(CgroupPath::parse(&found.ok_or_else(outside)?)?.components().to_vec())
}

/// How the original shows a cgroup: `/` for `own` itself, `a/b` for what is below.
pub(super) fn below(own: &[String], found: &[String]) -> Result<String> {
    match found.strip_prefix(own) {
        Some([]) => Ok("/".to_owned()),
        Some(below) => Ok(below.join("/")),
        None => Err(Error::new(ErrorName::Denied, "the process is outside of that cgroup")),
    }
}
