//! Removal when empty: the remove rule is asked when it is promised, written down on the cgroup
//! with whom it was promised to, and asked again when the cgroup is empty. It outlasts the daemon.

mod keeper;
mod lanes;
mod promise;
mod vow;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use cgroupd_proto::{CgroupPath, ErrorName};
use nix::errno::Errno;

use super::remove::{Removal, check_empty};
use super::target::{Cgroup, Wanted};
use super::{Request, Service};
use crate::accounting::{Account, Resource};
use crate::cgroup::{Actor, Dir, Hierarchy};
use crate::sys::creds::Cap;
use crate::{Error, Result, known};
pub use keeper::Keeper;
use promise::{MARK, Promise};
use vow::{Kept, Vow};

/// A promise that is taken back unless the rest of the call succeeds.
#[must_use]
pub(super) struct Promised<'a> {
    service: &'a Service,
    vow: Arc<Vow>,
    stands: bool,
}

impl Promised<'_> {
    /// It stands; with `populated` somebody has been put into the cgroup.
    pub(super) fn stand(mut self, populated: bool) {
        self.stands = true;
        if populated {
            self.vow.populate();
        }
        self.service.keeper.look_at(&self.vow);
    }
}

impl Drop for Promised<'_> {
    fn drop(&mut self) {
        if !self.stands {
            self.vow.take_back();
            self.vow.cgroups.iter().for_each(|kept| self.service.keeper.forget(kept.id));
        }
    }
}

impl<'a> Request<'a> {
    /// Removes the cgroup if it is empty (`true`), else promises it.
    pub(crate) fn remove_when_empty(&self, path: &CgroupPath) -> Result<bool> {
        let cgroups = self.existing(path, &Wanted::Implied)?;
        let removals = self.plan_removals(cgroups)?;
        match self.are_empty(&removals)? {
            true => self.run_removals(&removals).map(|()| true),
            false => {
                self.promise(&removals, true)?.stand(false);
                Ok(false)
            }
        }
    }

    /// Promises to remove the cgroup once the last process has left it, also when none has been in
    /// it yet.
    pub(crate) fn remove_when_left(&self, path: &CgroupPath) -> Result<()> {
        let removals = self.plan_removals(self.existing(path, &Wanted::Implied)?)?;
        self.promise(&removals, !self.are_empty(&removals)?)?.stand(false);
        Ok(())
    }

    /// Promises to remove what Create made or found, once somebody has been in it. That there is
    /// room for it was checked before.
    pub(super) fn promise_created(&self, cgroups: &[Cgroup]) -> Result<Promised<'a>> {
        let copies = cgroups.iter().map(|cgroup| {
            let dir = cgroup.dir.try_clone().map_err(|errno| Error::kernel("open it", errno))?;
            Ok(Cgroup { target: cgroup.target.clone(), dir })
        });
        let removals = self.plan_removals(copies.collect::<Result<_>>()?)?;
        self.promise(&removals, false)
    }

    /// What can be known before anything is made.
    ///
    /// # Errors
    /// NotSupported for more groups than can be remembered, QuotaExceeded.
    pub(super) fn check_promise(&self) -> Result<()> {
        self.promise_to(self.plain_actor(), None, false).encode()?;
        self.service.keeper.charge(self.caller.account).map(drop)
    }

    fn are_empty(&self, removals: &[Removal]) -> Result<bool> {
        for removal in removals {
            let label = &self.hierarchy(removal.hierarchy).label;
            match check_empty(&removal.dir, false, label) {
                Ok(()) => {}
                Err(error) if error.name == ErrorName::Busy => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn plan_removals(&self, cgroups: Vec<Cgroup>) -> Result<Vec<Removal>> {
        let plan = |cgroup| self.plan_removal(cgroup, false);
        let removals = cgroups.into_iter().map(plan).collect::<Result<Vec<_>>>()?;
        for removal in &removals {
            let label = &self.hierarchy(removal.hierarchy).label;
            self.may_write(&removal.actor, &removal.parent, label)?;
        }
        Ok(removals)
    }

    fn promise(&self, removals: &[Removal], populated: bool) -> Result<Promised<'a>> {
        let charge = self.service.keeper.charge(self.caller.account)?;
        let cgroups = removals.iter().map(|removal| self.kept(removal, populated));
        let cgroups = cgroups.collect::<Result<Vec<_>>>()?;
        let texts = cgroups.iter().map(|kept| kept.promise.encode()).collect::<Result<Vec<_>>>()?;
        let service = self.service;
        let vow = Arc::new(Vow::new(cgroups, &service.audit, charge));
        let promised = Promised { service, vow, stands: false };
        for (removal, text) in removals.iter().zip(texts) {
            removal.dir.mark(MARK, &text).map_err(forgotten)?;
        }
        service.keeper.keep(&service.hub, &promised.vow).map_err(forgotten)?;
        Ok(promised)
    }

    fn promise_to(&self, actor: Actor, lent_for: Option<(u32, u32)>, populated: bool) -> Promise {
        Promise { populated, account: self.caller.account, actor, lent_for, walked: false }
    }

    fn kept(&self, removal: &Removal, populated: bool) -> Result<Kept> {
        let hierarchy = self.hierarchy(removal.hierarchy);
        let lent = match &removal.actor {
            Actor::As(identity) if identity.caps.has(Cap::DacOverride) => {
                let parent = removal.parent.stat().map_err(forgotten)?;
                Some((parent.st_uid, parent.st_gid))
            }
            _ => None,
        };
        let promise = self.promise_to(removal.actor.clone(), lent, populated);
        let above = hierarchy.names_of(&removal.parent).map_err(forgotten)?;
        let walked = Promise::walk(&removal.actor, &hierarchy.root, above.join("/").as_ref());
        let walked = known(walked).map_err(forgotten)?.is_some();
        let promise = Promise { walked, ..promise };
        let place = (above, &*removal.name);
        kept(hierarchy, place, &removal.dir, promise).map_err(forgotten)
    }
}

fn forgotten(errno: Errno) -> Error {
    Error::kernel("remember to remove it", errno)
}

/// The cgroup `dir`, which its parent, the cgroup after these names, calls so.
fn kept(
    hierarchy: &Hierarchy,
    (above, name): (Vec<String>, &OsStr),
    dir: &Dir,
    promise: Promise,
) -> nix::Result<Kept> {
    Ok(Kept {
        root: Arc::clone(&hierarchy.root),
        label: hierarchy.label.clone(),
        version: hierarchy.version,
        above: above.join("/").into(),
        name: name.to_owned(),
        id: dir.id()?,
        promise,
    })
}

/// What earlier daemons promised, as it is found. What was promised to different users at one
/// path was promised apart.
#[derive(Default)]
pub(crate) struct Found(HashMap<(OsString, OsString, Account), Vec<Kept>>);

impl Found {
    /// Looks at the cgroup `dir`, which its parent calls so.
    pub(crate) fn look(
        &mut self,
        hierarchy: &Hierarchy,
        (parent, name): (&Dir, &OsStr),
        dir: &Dir,
    ) -> nix::Result<()> {
        // One that goes meanwhile needs nobody.
        if let Some(promise) = promised(dir)?
            && let Ok(above) = hierarchy.names_of(parent)
        {
            let kept = kept(hierarchy, (above, name), dir, promise)?;
            let vow = (kept.above.clone(), kept.name.clone(), kept.promise.account);
            self.0.entry(vow).or_default().push(kept);
        }
        Ok(())
    }

    /// Keeps all of it in mind; `false`: some could not be.
    pub(crate) fn keep(self, service: &Service) -> bool {
        let mut all = true;
        for cgroups in self.0.into_values() {
            let account = cgroups.first().map_or(Account::HostRoot, |kept| kept.promise.account);
            // What an earlier daemon promised is kept, also where there may be less by now.
            let charge = service.accounts.charge_unchecked(account, Resource::Promises, 1);
            let vow = Arc::new(Vow::new(cgroups, &service.audit, charge));
            match service.keeper.keep(&service.hub, &vow) {
                Ok(()) => service.keeper.look_at(&vow),
                Err(_) => all = false,
            }
        }
        all
    }
}

/// What lies on a cgroup; what is not understood is taken away.
fn promised(dir: &Dir) -> nix::Result<Option<Promise>> {
    let Some(text) = known(dir.marked(MARK))?.flatten() else { return Ok(None) };
    let promise = Promise::decode(&text);
    if promise.is_none() {
        let _ = dir.unmark(MARK);
        tracing::warn!("a mark `{MARK}` of another version is dropped");
    }
    Ok(promise)
}

/// Flags that contradict the promise.
///
/// # Errors
/// InvalidArgument.
pub(crate) fn check_flags(recursive: bool, kill: bool) -> Result<()> {
    match recursive || kill {
        false => Ok(()),
        true => Err(Error::new(
            ErrorName::InvalidArgument,
            "when-empty goes neither with recursive nor with kill: it waits for all to leave",
        )
        .hint("use one or the other")),
    }
}
