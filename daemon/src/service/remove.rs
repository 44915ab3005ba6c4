//! Remove: in every hierarchy where the cgroup exists, all checked before the first rmdir.

use std::ffi::OsString;
use std::sync::Arc;

use cgroupd_proto::{CgroupPath, ErrorName};
use nix::errno::Errno;

use super::Request;
use super::request::node_of;
use super::target::{Cgroup, Wanted, not_found, real_name};
use crate::cgroup::walk::remove_below;
use crate::cgroup::{Actor, Dir, Walk};
use crate::policy::{Position, change};
use crate::{Error, Result};

/// A checked removal.
struct Removal {
    hierarchy: usize,
    parent: Dir,
    name: OsString,
    actor: Actor,
    /// The cgroup itself, when what is below it goes first.
    below: Option<Dir>,
}

impl Request<'_> {
    pub(crate) fn remove(&self, path: &CgroupPath, recursive: bool) -> Result<()> {
        let cgroups = self.existing(path, &Wanted::Implied)?;
        let removals = cgroups
            .iter()
            .map(|cgroup| self.check_removal(cgroup, recursive))
            .collect::<Result<Vec<_>>>()?;
        let mut done = Vec::new();
        for removal in removals {
            let hierarchy = removal.hierarchy;
            let label = &self.hierarchy(hierarchy).label;
            let fewer = removal.run(label).map_err(|error| partly(error, &done))?;
            self.discharge(hierarchy, fewer);
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
        if !recursive && has_children(&cgroup.dir)? {
            return Err(Error::new(ErrorName::Busy, format!("it has children in {label}"))
                .hint("remove them first, or use the flag recursive (cgctl rm -r)"));
        }
        check_empty(&cgroup.dir, recursive, label)?;
        let below = recursive.then(|| cgroup.dir.try_clone()).transpose();
        let below = below.map_err(|errno| Error::kernel("dup", errno))?;
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
    fn run(self, label: &str) -> Result<usize> {
        let busy = |name: &OsString, errno| match errno {
            Errno::EBUSY => occupied(&name.to_string_lossy(), label),
            Errno::ELOOP => Error::new(ErrorName::QuotaExceeded, format!("too deep in {label}"))
                .hint("remove the deeper cgroups first"),
            errno => Error::kernel(format_args!("rmdir in {label}"), errno),
        };
        let removed = match self.below {
            Some(top) => remove_below(top).map_err(|(name, errno)| busy(&name, errno))?,
            None => 0,
        };
        match self.actor.run(|| self.parent.remove(&self.name)) {
            Ok(()) => Ok(1 + removed),
            Err(errno) => Err(busy(&self.name, errno)),
        }
    }
}

fn has_children(dir: &Dir) -> Result<bool> {
    let stat = dir.stat().map_err(|errno| Error::kernel("stat", errno))?;
    Ok(stat.st_nlink > 2)
}

/// Whether anything lives in the cgroup or below, before anything is removed.
fn check_empty(dir: &Dir, recursive: bool, label: &str) -> Result<()> {
    let inhabited = |dir: &Dir| dir.read("cgroup.procs").is_ok_and(|text| !text.is_empty());
    if inhabited(dir) {
        return Err(occupied("it", label));
    }
    let top = Arc::new(dir.try_clone().map_err(|errno| Error::kernel("dup", errno))?);
    match recursive && Walk::below(top).any(|dir| inhabited(&dir)) {
        true => Err(occupied("a cgroup below it", label)),
        false => Ok(()),
    }
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
