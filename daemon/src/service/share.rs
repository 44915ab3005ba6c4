//! What a rule of `[[delegate]]` gives one user.

use std::sync::Arc;

use cgroupd_proto::{CgroupPath, ErrorName};
use nix::unistd::Group;

use crate::config::Delegate;
use crate::{Error, Result};

/// A rule, and the groups it names as numbers.
#[derive(Debug)]
pub(super) struct Rule {
    delegate: Arc<Delegate>,
    gids: Vec<u32>,
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
    /// Its groups are looked up now.
    pub(super) fn new(delegate: &Delegate) -> Self {
        let gid = |name: &String| Group::from_name(name).ok().flatten().map(|group| group.gid);
        let gids = delegate.groups.iter().filter_map(gid).map(|gid| gid.as_raw()).collect();
        Self { delegate: Arc::new(delegate.clone()), gids }
    }

    /// The users that it names one by one.
    pub(super) fn single_users(&self) -> impl Iterator<Item = &str> {
        self.delegate.single_users()
    }

    pub(super) fn fits(&self, uid: u32, name: Option<&str>, gids: &[u32]) -> bool {
        self.delegate.names_user(uid, name) || self.gids.iter().any(|gid| gids.contains(gid))
    }

    /// # Errors
    /// Denied when the user's name cannot be in a path.
    pub(super) fn share(&self, uid: u32, name: Option<&str>) -> Result<Share> {
        let path = self.delegate.path_of(uid, name);
        let path = path.map_err(|why| Error::new(ErrorName::Denied, why).rule("delegate"))?;
        Ok(Share { rule: Arc::clone(&self.delegate), path })
    }
}
