//! Paths that start at the cgroup the caller is in itself, as cgmanager's do: there is one of them
//! in each hierarchy, so such a request means one hierarchy.

use cgroupd_proto::{CgroupPath, ErrorName};

use super::Request;
use super::request::gone;
use super::target::{Wanted, no_scope};
use crate::caller::{Place, Scope};
use crate::cgroup::Version;
use crate::{Error, Result};

impl Request<'_> {
    /// The same call as it concerns one hierarchy: its relative paths start at the caller's own
    /// cgroup there, and not at its home.
    pub(crate) fn at_own(&self, hierarchy: usize) -> Self {
        let Self { service, caller, .. } = *self;
        let (now, share) = (self.now.clone(), self.share.clone());
        Self { service, caller, now, share, own: Some(hierarchy) }
    }

    /// The caller's own cgroup in the hierarchy that is meant, as names from its scope down.
    ///
    /// # Errors
    /// NotFound where the caller has no scope, or has left it.
    pub(crate) fn own_cgroup(&self) -> Result<Vec<String>> {
        let targets = self.targets(&CgroupPath::parse("")?, &Wanted::Implied)?;
        Ok(targets.into_iter().next().map(|target| target.names).unwrap_or_default())
    }

    /// The way from the managed root to the caller's scope in the hierarchy that is meant.
    ///
    /// # Errors
    /// NotFound where the caller has none.
    pub(crate) fn scope_from_root(&self) -> Result<Vec<String>> {
        let Some(index) = self.own else { return Ok(Vec::new()) };
        let hierarchy = self.hierarchy(index);
        match self.scope(index)? {
            Some(scope) => self.scope_names(hierarchy, &scope),
            None => Err(no_scope(hierarchy)),
        }
    }

    /// Whether the caller is elsewhere than in the managed root, in the hierarchy that is meant.
    pub(super) fn is_outside(&self) -> Result<bool> {
        match self.own {
            Some(index) => Ok(self.own_place(index)? == Place::Outside),
            None => Ok(false),
        }
    }

    fn own_place(&self, index: usize) -> Result<Place> {
        let places = self.caller.places(&self.now);
        let places = places.map_err(|errno| gone(errno).rule("caller"))?;
        Ok(places.within(self.hierarchy(index)))
    }

    /// The controllers that cgroups can be given in the hierarchy that is meant; `None` for v1's,
    /// which have them in any case.
    pub(crate) fn v2_controllers(&self) -> Option<&[String]> {
        let hierarchy = self.hierarchy(self.own?);
        (hierarchy.version == Version::V2).then_some(&hierarchy.controllers[..])
    }

    /// As [`Self::own_cgroup`]. Whoever is outside the managed root, as root's shell is where
    /// systemd owns the tree, is taken to be at its home.
    pub(super) fn own_names(&self, index: usize, scope: &Scope) -> Result<Vec<String>> {
        let hierarchy = self.hierarchy(index);
        let nowhere = |why: &str| {
            let text = format!("the caller's own cgroup in {} {why}", hierarchy.label);
            Error::new(ErrorName::NotFound, text).rule("no-scope")
        };
        let top = self.scope_names(hierarchy, scope)?;
        match self.own_place(index)? {
            Place::Outside => Ok(scope.home.clone()),
            Place::Unknown => Err(nowhere("is not known")),
            Place::Inside(names) => match names.strip_prefix(&top[..]) {
                Some(below) => Ok(below.to_vec()),
                None => Err(nowhere("is outside of what it may see")),
            },
        }
    }
}
