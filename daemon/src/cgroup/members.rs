//! The processes in a cgroup and below it, as the daemon's pid namespace counts them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use nix::errno::Errno;

use super::{AsThread, Dir, Reach, all_below, below};

/// All of them, whoever may see them. Cgroups that vanish meanwhile have none, and threaded ones
/// below are listed by their domain.
///
/// # Errors
/// What reading `cgroup.procs` of `top` answers: EOPNOTSUPP for a threaded cgroup, ENODEV for one
/// that is gone; EFBIG for more than fit into [`super::handle::MAX_READ`].
pub fn members(top: &Dir) -> nix::Result<BTreeSet<i32>> {
    let mut pids: BTreeSet<i32> = numbers(&top.read("cgroup.procs")?).collect();
    if top.has_children()? {
        below(top, |_, _, dir| collect(&AsThread, dir, &mut pids))?;
    }
    Ok(pids)
}

/// As [`members`], by somebody who may be kept from seeing some.
///
/// # Errors
/// EACCES where a cgroup may not be looked into; and as [`members`].
pub fn all_members(reach: &dyn Reach, top: &Dir) -> nix::Result<BTreeSet<i32>> {
    let mut pids: BTreeSet<i32> = numbers(&reach.read(top, "cgroup.procs")?).collect();
    if top.has_children()? {
        all_below(reach, top, |_, _, dir| collect(reach, dir, &mut pids))?;
    }
    Ok(pids)
}

fn collect(reach: &dyn Reach, dir: &Dir, pids: &mut BTreeSet<i32>) -> nix::Result<ControlFlow<()>> {
    match reach.read(dir, "cgroup.procs") {
        Ok(text) => pids.extend(numbers(&text)),
        Err(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => {}
        Err(errno) => return Err(errno),
    }
    Ok(ControlFlow::Continue(()))
}

/// The numbers in a list of processes; 0 is one that this pid namespace cannot see.
pub fn numbers(text: &str) -> impl Iterator<Item = i32> + '_ {
    text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0)
}
