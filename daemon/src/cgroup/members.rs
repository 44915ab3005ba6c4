//! The processes in a cgroup and below it, as the daemon's pid namespace counts them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use nix::errno::Errno;

use super::{Dir, below};

/// All of them, whoever may see them. Cgroups that vanish meanwhile have none, and threaded ones
/// below are listed by their domain.
///
/// # Errors
/// What reading `cgroup.procs` of `top` answers: EOPNOTSUPP for a threaded cgroup, ENODEV for one
/// that is gone; EFBIG for more than fit into [`super::handle::MAX_READ`].
pub fn members(top: &Dir) -> nix::Result<BTreeSet<i32>> {
    let mut pids: BTreeSet<i32> = numbers(&top.read("cgroup.procs")?).collect();
    if top.has_children()? {
        below(top, |_, _, dir| {
            match dir.read("cgroup.procs") {
                Ok(text) => pids.extend(numbers(&text)),
                Err(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => {}
                Err(errno) => return Err(errno),
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(pids)
}

/// The numbers in a list of processes; 0 is one that this pid namespace cannot see.
pub fn numbers(text: &str) -> impl Iterator<Item = i32> + '_ {
    text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0)
}
