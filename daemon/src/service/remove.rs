//! Remove: in every hierarchy where the cgroup exists, all checked before the first rmdir.

use std::ffi::OsString;

use cgroupd_proto::{CgroupPath, ErrorName};
use nix::errno::Errno;

use super::Request;
use super::request::node_of;
use super::target::{Cgroup, Wanted, not_found, real_name};
use crate::cgroup::{Actor, Dir};
use crate::policy::{Position, change};
use crate::{Error, Result};

/// A checked removal.
struct Removal {
    hierarchy: usize,
    parent: Dir,
    name: OsString,
    actor: Actor,
    /// Descendants, children before parents: each the parent's handle and the name.
    below: Vec<(Dir, OsString)>,
}

impl Request<'_> {
    pub(crate) fn remove(&self, path: &CgroupPath, recursive: bool) -> Result<()> {
        let cgroups = self.existing(path, &Wanted::Implied)?;
        let removals = cgroups
            .iter()
            .map(|cgroup| self.check_removal(cgroup, recursive))
            .collect::<Result<Vec<_>>>()?;
        let mut done = Vec::new();
        for removal in &removals {
            let label = &self.hierarchy(removal.hierarchy).label;
            let fewer = removal.run(label).map_err(|error| partly(error, &done))?;
            self.discharge(removal.hierarchy, fewer);
            done.push(label.as_str());
        }
        Ok(())
    }

    fn check_removal(&self, cgroup: &Cgroup, recursive: bool) -> Result<Removal> {
        let target = &cgroup.target;
        let label = &self.hierarchy(target.hierarchy).label;
        let (name, above) = match target.names.split_last() {
            Some(split) => split,
            None => {
                return Err(change(self.subject(), Position::Top, node_of(&cgroup.dir)?)
                    .map_or_else(Error::from, |_| not_found()));
            }
        };
        let parent = self
            .open(&target.scope.dir, above)
            .map_err(|errno| Error::kernel("open its parent", errno))?;
        let name = real_name(&parent, name);
        let terms = change(self.subject(), target.position(), node_of(&parent)?)?;
        self.may_write(&terms.actor, &parent, label)?;
        let below = if recursive { descendants(&cgroup.dir)? } else { Vec::new() };
        if !recursive && has_children(&cgroup.dir)? {
            return Err(Error::new(ErrorName::Busy, format!("it has children in {label}"))
                .hint("remove them first, or use the flag recursive (cgctl rm -r)"));
        }
        check_empty(&cgroup.dir, &below, label)?;
        Ok(Removal { hierarchy: target.hierarchy, parent, name, actor: terms.actor, below })
    }

    /// Asks the kernel for write permission without changing anything, so that a refusal in
    /// the second hierarchy comes before the removal in the first.
    fn may_write(&self, actor: &Actor, parent: &Dir, label: &str) -> Result<()> {
        use nix::fcntl::AtFlags;
        use nix::unistd::{AccessFlags, faccessat};
        let flags = AccessFlags::W_OK | AccessFlags::X_OK;
        actor
            .run(|| faccessat(parent, ".", flags, AtFlags::AT_EACCESS))
            .map_err(|errno| Error::kernel(format_args!("remove it from {label}"), errno))
    }
}

impl Removal {
    /// Removes descendants, then the cgroup. Grant G4: descendants are removed as root, they
    /// were made by whoever could write their parents, and they are empty.
    fn run(&self, label: &str) -> Result<usize> {
        let busy = |name: &OsString, errno| match errno {
            Errno::EBUSY => occupied(&name.to_string_lossy(), label),
            errno => Error::kernel(format_args!("rmdir in {label}"), errno),
        };
        for (parent, name) in &self.below {
            match parent.remove(name) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(busy(name, errno)),
            }
        }
        match self.actor.run(|| self.parent.remove(&self.name)) {
            Ok(()) => Ok(1 + self.below.len()),
            Err(errno) => Err(busy(&self.name, errno)),
        }
    }
}

/// All descendants, deepest first.
fn descendants(dir: &Dir) -> Result<Vec<(Dir, OsString)>> {
    let kernel = |errno| Error::kernel("list its children", errno);
    let mut found = Vec::new();
    let mut queue = std::collections::VecDeque::from([dir.try_clone().map_err(kernel)?]);
    while let Some(dir) = queue.pop_front() {
        for name in dir.entries().map_err(kernel)?.children {
            match dir.open(&name) {
                Ok(child) => queue.push_back(child),
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(kernel(errno)),
            }
            found.push((dir.try_clone().map_err(kernel)?, name));
        }
    }
    found.reverse();
    Ok(found)
}

fn has_children(dir: &Dir) -> Result<bool> {
    let stat = dir.stat().map_err(|errno| Error::kernel("stat", errno))?;
    Ok(stat.st_nlink > 2)
}

/// Whether anything lives in the cgroup or below, before anything is removed.
fn check_empty(dir: &Dir, below: &[(Dir, OsString)], label: &str) -> Result<()> {
    let inhabited = |dir: &Dir| dir.read("cgroup.procs").is_ok_and(|text| !text.is_empty());
    if inhabited(dir) {
        return Err(occupied("it", label));
    }
    for (parent, name) in below {
        if parent.open(name).is_ok_and(|dir| inhabited(&dir)) {
            return Err(occupied(&name.to_string_lossy(), label));
        }
    }
    Ok(())
}

fn occupied(what: &str, label: &str) -> Error {
    Error::new(ErrorName::Busy, format!("{what} has processes or children in {label}"))
        .hint("`cgctl ps -r` shows them; move or end them first")
}

fn partly(error: Error, done: &[&str]) -> Error {
    if done.is_empty() {
        return error;
    }
    let text = format!("{}; it was already removed from {}", error.text, done.join(", "));
    Error { text, ..error }
}
