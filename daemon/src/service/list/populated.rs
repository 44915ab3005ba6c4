//! Whether a process is in a cgroup or below. v2 says it in a file; on v1 processes are looked for.

use std::ops::ControlFlow;

use nix::errno::Errno;

use super::super::Request;
use crate::cgroup::{self, Dir, Reach, Version, all_below};
use crate::{Error, Result};

/// How many cgroups are searched for processes for the rows of one page. When they are used up
/// rows do not say whether they are populated: the search begins anew for each of the levels
/// above a large empty tree.
pub(super) const LOOKS: usize = 4_000;

impl Request<'_> {
    /// Whether a process is in the cgroup or below, in any of its hierarchies; `None` when that
    /// cannot be told of one of them, or is not the caller's to know.
    pub(super) fn are_populated(
        &self,
        dirs: &[(usize, Dir)],
        looks: &mut usize,
    ) -> Result<Option<bool>> {
        let found = self.as_caller(|reach| {
            let (mut all_known, mut closed) = (true, false);
            for (index, dir) in dirs {
                match is_populated(reach, self.hierarchy(*index).version, dir, looks) {
                    Ok(Some(true)) => return Ok(Some(true)),
                    Ok(known) => all_known &= known.is_some(),
                    Err(Errno::EACCES) => closed = true,
                    Err(errno) => return Err(errno),
                }
            }
            if closed { Err(Errno::EACCES) } else { Ok(all_known.then_some(false)) }
        });
        match found {
            Err(Errno::EACCES) => Ok(None),
            found => found.map_err(unread),
        }
    }
}

/// v2 says it in a file. v1 does not: processes are looked for, and the first one ends the search.
/// `None` when no looks are left.
///
/// # Errors
/// EACCES where the caller may not look.
fn is_populated(
    reach: &dyn Reach,
    version: Version,
    dir: &Dir,
    looks: &mut usize,
) -> nix::Result<Option<bool>> {
    let found = match version {
        Version::V2 => reach.read(dir, "cgroup.events").map(|text| cgroup::is_populated(&text)),
        Version::V1 => has_process(reach, dir, looks),
    };
    match found {
        Ok(found) => Ok(Some(found)),
        // No looks are left; or it is too deep.
        Err(Errno::ENOSPC | Errno::ELOOP) => Ok(None),
        // A list of processes that is longer than any that is read.
        Err(Errno::EFBIG) => Ok(Some(true)),
        // It was removed meanwhile.
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(Some(false)),
        Err(errno) => Err(errno),
    }
}

/// # Errors
/// ENOSPC when `looks` are used up.
fn has_process(reach: &dyn Reach, dir: &Dir, looks: &mut usize) -> nix::Result<bool> {
    let mut found = !reach.read(dir, "cgroup.procs")?.is_empty();
    if found || !dir.has_children()? {
        return Ok(found);
    }
    // The walk comes to the deepest first: with no looks left it would go there in vain.
    if *looks == 0 {
        return Err(Errno::ENOSPC);
    }
    let walked = all_below(reach, dir, |_, _, dir| {
        *looks = looks.checked_sub(1).ok_or(Errno::ENOSPC)?;
        found = match reach.read(dir, "cgroup.procs") {
            Err(Errno::ENOENT | Errno::ENODEV) => false,
            text => !text?.is_empty(),
        };
        Ok(if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    if walked == Err(Errno::ELOOP) {
        // What was too deep for this walk would be for the next one, from a level above.
        *looks = 0;
    }
    walked.map(|()| found)
}

pub(super) fn unread(errno: Errno) -> Error {
    Error::kernel("look whether a process is in it", errno)
}
