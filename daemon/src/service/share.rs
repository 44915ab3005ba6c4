//! What a rule of `[[delegate]]` gives one user.

use std::sync::{Arc, OnceLock};

use cgroupd_proto::{CgroupPath, ErrorName};

use crate::config::{Delegate, group_id};
use crate::{Error, Result};

/// A rule, and the groups it names as numbers, once they have been looked up.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) delegate: Arc<Delegate>,
    gids: OnceLock<Vec<u32>>,
}

/// What a rule gives one user.
#[derive(Clone, Debug)]
pub(super) struct Share {
    pub(super) rule: Arc<Delegate>,
    pub(super) path: CgroupPath,
}

impl Share {
    /// The way to it from the managed root.
    pub(super) fn home(&self) -> &[String] {
        self.path.components()
    }

    /// Whether its owner's processes may leave the cgroup at this path for it.
    pub(super) fn lets_leave(&self, from: &[String]) -> bool {
        self.rule.lets_leave(from)
    }

    /// The most cgroups of its owner in one hierarchy, if that is said.
    pub(super) fn cgroups(&self) -> Option<usize> {
        Some(self.rule.cgroups).filter(|most| *most > 0)
    }
}

impl Rule {
    pub(super) fn new(delegate: &Delegate) -> Self {
        Self { delegate: Arc::new(delegate.clone()), gids: OnceLock::new() }
    }

    /// Looks up the groups, the first time that it can. One that is not there has no members,
    /// and is not looked for again.
    ///
    /// # Errors
    /// Failed when a group cannot be asked for.
    pub(super) fn gids(&self) -> Result<&[u32]> {
        if let Some(known) = self.gids.get() {
            return Ok(known);
        }
        let mut gids = Vec::new();
        for group in &self.delegate.groups {
            match group_id(group).map_err(|errno| Error::kernel("look up the group", errno))? {
                Some(gid) => gids.push(gid),
                None => tracing::warn!(group, "there is no such group to delegate to"),
            }
        }
        Ok(self.gids.get_or_init(|| gids))
    }

    /// Whether it is for this user. Groups are looked at first: as a rule they are known.
    ///
    /// # Errors
    /// Failed when the user's name, or a group, cannot be asked for: whether the rule fits is
    /// not known then.
    pub(super) fn fits(&self, person: &Person<'_>) -> Result<bool> {
        let by_group = self.gids()?.iter().any(|gid| person.gids.contains(gid));
        Ok(by_group || self.delegate.names_user(person.uid, || person.name())?)
    }

    /// # Errors
    /// Denied when the user's name cannot be in a path; Failed as above.
    pub(super) fn share(&self, person: &Person<'_>) -> Result<Share> {
        let name = if self.delegate.needs_name() { person.name()? } else { None };
        let path = self.delegate.path_of(person.uid, name.as_deref());
        let path = path.map_err(|why| Error::new(ErrorName::Denied, why).rule("delegate"))?;
        Ok(Share { rule: Arc::clone(&self.delegate), path })
    }
}

/// A user, as rules look at it.
pub(super) struct Person<'a> {
    pub(super) uid: u32,
    pub(super) gids: Vec<u32>,
    /// Its name: a directory elsewhere may have it, and not answer.
    pub(super) look_up: &'a dyn Fn() -> nix::Result<Option<String>>,
}

impl Person<'_> {
    fn name(&self) -> Result<Option<String>> {
        let unknown = |errno| Error::kernel("look up the user's name", errno);
        (self.look_up)().map_err(unknown)
    }
}
