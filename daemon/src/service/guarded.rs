//! Those whom nobody stops or ends by way of a cgroup: pid 1, the daemon, the bus, and the leaves
//! that the daemon lives in.

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use cgroupd_proto::ErrorName;
use nix::errno::Errno;

use super::Request;
use super::target::{Cgroup, Target};
use crate::caller::{Place, Process};
use crate::cgroup::{Dir, Hierarchy, below};
use crate::policy::check_reserved;
use crate::{Error, Result};

/// The processes, by what they are.
#[derive(Debug, Default)]
pub struct Guarded {
    bus: Mutex<Option<Process>>,
}

impl Guarded {
    /// The bus that the daemon has joined. It lives on without the daemon, which does not work
    /// as well without it.
    pub fn set_bus(&self, process: Process) {
        *self.bus.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
    }

    /// Those that live: their numbers, and what they are.
    fn living(&self) -> Vec<(i32, &'static str)> {
        let own = nix::unistd::getpid().as_raw();
        let bus = self.bus.lock().unwrap_or_else(PoisonError::into_inner);
        let bus = bus.as_ref().filter(|process| process.is_alive()).map(|process| process.pid);
        let bus = bus.map(|pid| (pid, "the system bus"));
        [(1, "pid 1"), (own, "the daemon")].into_iter().chain(bus).collect()
    }

    /// What this process is, when it is one of them.
    pub fn what(&self, pid: i32) -> Option<&'static str> {
        self.living().into_iter().find(|(number, _)| *number == pid).map(|(_, what)| what)
    }
}

impl Request<'_> {
    /// Refuses what lies in a leaf of the daemon's own. Only who has the managed root for its
    /// scope sees them.
    pub(super) fn check_free(&self, target: &Target) -> Result<()> {
        let root = &self.hierarchy(target.hierarchy).root;
        match std::sync::Arc::ptr_eq(root, &target.scope.dir) {
            true => Ok(check_reserved(&target.names)?),
            false => Ok(()),
        }
    }

    /// Refuses a cgroup with a guarded process in it or below. What cannot be looked at is an error,
    /// never a cgroup without one.
    ///
    /// They are moved by root alone, and so are the cgroups right below the managed root: who is
    /// not below the same one of them is not in the cgroup, and that is how it is as a rule. The
    /// names further down may change hands while they are compared: there the processes of each
    /// cgroup are asked for, by its handle.
    pub(super) fn check_unguarded(&self, cgroup: &Cgroup) -> Result<()> {
        let hierarchy = self.hierarchy(cgroup.target.hierarchy);
        let near = |(pid, _): &(i32, &str)| may_be_below(*pid, hierarchy, &cgroup.dir);
        let guarded: Vec<_> = self.service.guarded.living().into_iter().filter(near).collect();
        if guarded.is_empty() {
            return Ok(());
        }
        match find(&cgroup.dir, &guarded) {
            Ok(None) => Ok(()),
            Ok(Some(what)) => Err(Error::new(
                ErrorName::Denied,
                format!("{what} is in it, in {}", hierarchy.label),
            )
            .hint("name a cgroup below it without that process")
            .rule("guarded")),
            Err(errno) => Err(Error::kernel("list the processes in it", errno)),
        }
    }
}

/// Whether a process may be in `dir` or below; when in doubt it may.
fn may_be_below(pid: i32, hierarchy: &Hierarchy, dir: &Dir) -> bool {
    let Ok(names) = hierarchy.names_of(dir) else { return true };
    match Process::pin(pid).and_then(|process| process.place(hierarchy)) {
        Ok(Place::Inside(its)) => !its.is_empty() && its.first() == names.first(),
        Ok(Place::Outside) | Err(Errno::ESRCH) => false,
        Ok(Place::Unknown) | Err(_) => true,
    }
}

fn find(top: &Dir, guarded: &[(i32, &'static str)]) -> nix::Result<Option<&'static str>> {
    let mut found = member(top, guarded)?;
    if found.is_none() {
        below(top, |_, _, dir| {
            found = member(dir, guarded)?;
            Ok(if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    }
    Ok(found)
}

/// Which guarded process is directly in a cgroup. A threaded cgroup lists none, its domain does; one
/// that was removed has none.
fn member(dir: &Dir, guarded: &[(i32, &'static str)]) -> nix::Result<Option<&'static str>> {
    let text = match dir.read("cgroup.procs") {
        Err(Errno::EOPNOTSUPP | Errno::ENOENT | Errno::ENODEV) => return Ok(None),
        text => text?,
    };
    let is_one = |line: &str| guarded.iter().find(|(pid, _)| line.parse() == Ok(*pid));
    Ok(text.lines().find_map(is_one).map(|(_, what)| *what))
}
