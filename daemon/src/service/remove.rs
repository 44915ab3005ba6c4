//! Remove: in every hierarchy where the cgroup exists, all checked before the first rmdir.

use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use cgroupd_proto::{CgroupPath, ErrorName};
use nix::errno::Errno;

use super::Request;
use super::request::node_of;
use super::signal::Signal;
use super::target::{Cgroup, Wanted, not_found, real_name};
use crate::cgroup::{Actor, Dir, DirId, Pauses, below};
use crate::policy::{Position, change};
use crate::{Error, Result};

/// How long the kernel may take to let go of processes that have ended.
const LEAVING: Duration = Duration::from_secs(1);

/// A removal that policy allows.
pub(super) struct Removal {
    pub(super) hierarchy: usize,
    pub(super) parent: Dir,
    pub(super) name: OsString,
    /// The cgroup itself.
    pub(super) dir: Dir,
    /// Whether its descendants go first.
    recursive: bool,
    pub(super) actor: Actor,
}

impl Request<'_> {
    pub(crate) fn remove(&self, path: &CgroupPath, recursive: bool, kill: bool) -> Result<()> {
        let cgroups = self.existing(path, &Wanted::Implied)?;
        // A single rmdir checks everything itself, and at once.
        let single = cgroups.len() == 1 && !recursive && !kill;
        let removals = cgroups
            .into_iter()
            .map(|cgroup| self.plan_removal(cgroup, recursive))
            .collect::<Result<Vec<_>>>()?;
        if kill {
            removals.iter().try_for_each(|removal| self.check_unpeopled(removal))?;
            self.kill(path, Signal::KILL)?;
        }
        if !single {
            removals.iter().try_for_each(|removal| self.check_removal(removal))?;
        }
        match kill {
            true => self.run_each(&removals, Removal::run_when_dead),
            false => self.run_removals(&removals),
        }
    }

    /// Removes what was checked.
    pub(super) fn run_removals(&self, removals: &[Removal]) -> Result<()> {
        self.run_each(removals, Removal::run)
    }

    fn run_each(
        &self,
        removals: &[Removal],
        run: impl Fn(&Removal, &str) -> Result<Vec<DirId>>,
    ) -> Result<()> {
        let mut done = Vec::new();
        for removal in removals {
            let label = &self.hierarchy(removal.hierarchy).label;
            let removed = run(removal, label).map_err(|error| partly(error, &done))?;
            self.discharge(removal.hierarchy, &removed);
            self.forget_promise(&removal.dir);
            done.push(label.as_str());
        }
        Ok(())
    }

    /// What is gone need not be removed when it is empty.
    pub(super) fn forget_promise(&self, dir: &Dir) {
        let keeper = &self.service.keeper;
        if !keeper.is_empty()
            && let Ok(id) = dir.id()
        {
            keeper.forget(id);
        }
    }

    pub(super) fn plan_removal(&self, cgroup: Cgroup, recursive: bool) -> Result<Removal> {
        let Cgroup { target, dir } = cgroup;
        self.check_free(&target)?;
        let (name, above) = match target.names.split_last() {
            Some(split) => split,
            None => {
                return Err(change(self.subject(), Position::Top, node_of(&dir)?)
                    .map_or_else(Error::from, |_| not_found()));
            }
        };
        let parent = self
            .open(&target.scope.dir, above)
            .map_err(|errno| Error::kernel("open its parent", errno))?;
        let name = real_name(&parent, name)?;
        let terms = change(self.subject(), target.position(), node_of(&parent)?)?;
        let (hierarchy, actor) = (target.hierarchy, terms.actor);
        Ok(Removal { hierarchy, parent, name, dir, recursive, actor })
    }

    /// Everything that can be known before the first rmdir.
    pub(super) fn check_removal(&self, removal: &Removal) -> Result<()> {
        let label = &self.hierarchy(removal.hierarchy).label;
        self.may_write(&removal.actor, &removal.parent, label)?;
        check_empty(&removal.dir, removal.recursive, label)
    }

    /// The same before its processes are killed, which are not in the way.
    fn check_unpeopled(&self, removal: &Removal) -> Result<()> {
        let label = &self.hierarchy(removal.hierarchy).label;
        self.may_write(&removal.actor, &removal.parent, label)?;
        check_childless(&removal.dir, removal.recursive, label)
    }

    /// Asks the kernel for write permission without changing anything, so that a refusal in
    /// the second hierarchy comes before the removal in the first.
    pub(super) fn may_write(&self, actor: &Actor, parent: &Dir, label: &str) -> Result<()> {
        actor
            .run(|| parent.check_change())
            .map_err(|errno| Error::kernel(format_args!("remove it from {label}"), errno))
    }
}

impl Removal {
    /// Removes descendants, then the cgroup. Grant G4: descendants are removed as root, they
    /// were made by whoever could write their parents, and they are empty.
    fn run(&self, label: &str) -> Result<Vec<DirId>> {
        let mut removed = if self.recursive { remove_below(&self.dir, label)? } else { Vec::new() };
        match self.actor.run(|| self.parent.remove(&self.name)) {
            Ok(()) => {
                removed.extend(self.dir.id());
                Ok(removed)
            }
            Err(errno) => Err(self.refused(errno, label)),
        }
    }

    /// Whoever has left a list of processes may still be on its way out.
    fn run_when_dead(&self, label: &str) -> Result<Vec<DirId>> {
        let mut pauses = Pauses::until(Instant::now() + LEAVING);
        loop {
            match self.run(label) {
                Err(error) if error.name == ErrorName::Busy => {
                    check_empty(&self.dir, self.recursive, label)?;
                    if !pauses.sleep() {
                        return Err(error);
                    }
                }
                result => return result,
            }
        }
    }

    /// A single removal was not checked: then what is in the way is looked for now.
    fn refused(&self, errno: Errno, label: &str) -> Error {
        let found = match errno {
            Errno::EBUSY => check_empty(&self.dir, self.recursive, label),
            _ => Ok(()),
        };
        found.err().unwrap_or_else(|| refusal(&self.name, label, errno))
    }
}

/// Removes what is below, and answers what that was.
fn remove_below(dir: &Dir, label: &str) -> Result<Vec<DirId>> {
    let mut removed = Vec::new();
    let mut refused = None;
    let walked = below(dir, |parent, name, dir| match parent.remove(name) {
        Ok(()) => {
            removed.extend(dir.id());
            Ok(ControlFlow::Continue(()))
        }
        Err(Errno::ENOENT) => Ok(ControlFlow::Continue(())),
        Err(errno) => {
            // Its name may be closed to the caller: it lies below what the caller named.
            refused = Some(refusal(BELOW.as_ref(), label, errno));
            Ok(ControlFlow::Break(()))
        }
    });
    match refused {
        Some(error) => Err(error),
        None => walked.map(|()| removed).map_err(unlisted),
    }
}

/// Whether anything lives in the cgroup or below, before anything is removed.
pub(super) fn check_empty(dir: &Dir, recursive: bool, label: &str) -> Result<()> {
    if is_inhabited(dir).map_err(unlisted)? {
        return Err(occupied("it", label));
    }
    check_childless(dir, recursive, label)?;
    if !dir.has_children().map_err(unlisted)? {
        return Ok(());
    }
    let mut is_lived_in = false;
    let look = |_: &Dir, _: &OsStr, dir: &Dir| {
        is_lived_in = is_inhabited(dir)?;
        Ok(if is_lived_in { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    below(dir, look).map_err(unlisted)?;
    if is_lived_in { Err(occupied(BELOW, label)) } else { Ok(()) }
}

/// What is said of a descendant, whose name may be closed to the caller.
const BELOW: &str = "a cgroup below it";

/// Whether processes, or threads, are directly in a cgroup. A threaded one lists no processes; one
/// that was removed meanwhile has none.
fn is_inhabited(dir: &Dir) -> nix::Result<bool> {
    let listed = match dir.read("cgroup.procs") {
        Err(Errno::EOPNOTSUPP) => dir.read("cgroup.threads"),
        listed => listed,
    };
    match listed {
        Ok(text) => Ok(!text.is_empty()),
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn check_childless(dir: &Dir, recursive: bool, label: &str) -> Result<()> {
    match recursive || !dir.has_children().map_err(unlisted)? {
        true => Ok(()),
        false => Err(Error::new(ErrorName::Busy, format!("it has children in {label}"))
            .hint("remove them first, or use the flag recursive (cgctl rm -r)")),
    }
}

fn unlisted(errno: Errno) -> Error {
    let error = Error::kernel("list what is below it", errno);
    if errno == Errno::ELOOP {
        error.hint("it is too deep: remove a part of it first")
    } else {
        error
    }
}

fn refusal(name: &OsStr, label: &str, errno: Errno) -> Error {
    match errno {
        Errno::EBUSY => occupied(&name.to_string_lossy(), label),
        errno => Error::kernel(format_args!("rmdir in {label}"), errno),
    }
}

fn occupied(what: &str, label: &str) -> Error {
    Error::new(ErrorName::Busy, format!("{what} has processes or children in {label}")).hint(
        "`cgctl ps -r` shows them; move or end them first, or use the flag kill (cgctl rm -f)",
    )
}

fn partly(error: Error, done: &[&str]) -> Error {
    if done.is_empty() {
        return error;
    }
    let text = format!("{}; it was already removed from {}", error.text, done.join(", "));
    Error { text, ..error }
}
