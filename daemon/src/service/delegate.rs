//! Delegate: a cgroup is made or taken, gets its controllers and its limits, and is handed over, all
//! of it or nothing; what it can grow to is bounded. Undelegate takes back one that nobody uses.

use std::collections::HashMap;

use cgroupd_proto::limit::LimitSet;
use cgroupd_proto::{CgroupPath, ErrorName};

use super::Request;
use super::create::{Created, Order};
use super::enable::Enabling;
use super::handover::restore_each;
use super::request::node_of;
use super::target::{Cgroup, Wanted};
use super::victim::Victims;
use crate::cgroup::Version;
use crate::cgroup::limits::{Wire, hierarchy_for};
use crate::policy::{Class, Subject};
use crate::{Error, Result};

/// How many cgroups there may be in one that is made or changes hands, and how deep, unless that is
/// said or bounded already.
const CAPS: [(&str, &str); 2] = [("cgroup.max.descendants", "256"), ("cgroup.max.depth", "8")];
/// What v2 writes where there is no limit.
const UNLIMITED: &str = "max";
const UNCAPPED: &str = "cgroup v1 does not bound the number of cgroups; the daemon's quota does, for \
                        those that are made through it";

/// What Delegate was asked.
#[derive(Debug)]
pub(crate) struct Delegation<'a> {
    pub(crate) path: &'a CgroupPath,
    /// The new owner, in the caller's numbers.
    pub(crate) owner: (u32, u32),
    pub(crate) controllers: &'a [String],
    pub(crate) limits: &'a HashMap<String, String>,
    /// Whether the new owner's processes may enter it from above (grant G8).
    pub(crate) enter: bool,
    pub(crate) enabling: Enabling,
}

/// A hierarchy, and uid and gid of a cgroup's owner there, in the caller's numbers.
type Owner = (usize, (u32, u32));

/// How cgroups are.
#[derive(Debug, Default)]
struct Terms {
    limits: Wire,
    owners: Vec<Owner>,
}

impl Request<'_> {
    /// Answers the path, and what was not so before: `created` with the controllers, `owner` with
    /// who it was, limits with their new values; and `note` on v1, which has no caps.
    pub(crate) fn delegate(&self, wish: Delegation<'_>) -> Result<(String, Wire)> {
        let Delegation { path, owner, controllers, enter, enabling, .. } = wish;
        self.check_binding(wish.limits)?;
        let wanted = self.wanted(controllers)?;
        let version = |hierarchy: usize| self.hierarchy(hierarchy).version;
        let targets = self.targets(path, &wanted)?;
        let has = |wanted| targets.iter().any(|target| version(target.hierarchy) == wanted);
        let before = if_there(self.existing(path, &wanted))?;
        let owners = self.owners(&before)?;
        let is_its_own = owners.iter().any(|own| version(own.0) == Version::V2 && own.1 == owner);
        let limits = match has(Version::V2) && !is_its_own {
            true => self.with_caps(path, wish.limits)?,
            false => wish.limits.clone(),
        };
        let was = self.terms(path, &before, &limits)?;
        let (must_create, when_empty, owner) = (false, false, Some(owner));
        let limits = &limits;
        let order =
            Order { path, controllers, limits, must_create, when_empty, enabling, owner, enter };
        let created = self.create(&order, &Victims::default())?;
        // It is done: what cannot be looked at now is not told.
        let is = self.existing(path, &wanted).and_then(|is| self.terms(path, &is, limits));
        let mut changed = is.map_or_else(|_| Wire::new(), |is| difference(&was, is, &created));
        if has(Version::V1) {
            changed.insert("note".to_owned(), UNCAPPED.to_owned());
        }
        Ok((created.path, changed))
    }

    /// The limits, and the caps that are neither among them nor there already.
    fn with_caps(
        &self,
        path: &CgroupPath,
        limits: &HashMap<String, String>,
    ) -> Result<HashMap<String, String>> {
        let names = CAPS.map(|(name, _)| name.to_owned());
        let present = if_there(self.get_limits(path, &names))?;
        let is_missing = |name: &str| {
            !limits.contains_key(name) && present.get(name).is_none_or(|value| value == UNLIMITED)
        };
        let caps = CAPS.iter().filter(|(name, _)| is_missing(name));
        let caps = caps.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Ok(limits.clone().into_iter().chain(caps).collect())
    }

    fn terms(
        &self,
        path: &CgroupPath,
        cgroups: &[Cgroup],
        limits: &HashMap<String, String>,
    ) -> Result<Terms> {
        let names: Vec<String> =
            LimitSet::parse(limits)?.names().map(|name| name.to_string()).collect();
        let limits = match names.is_empty() || cgroups.is_empty() {
            true => Wire::default(),
            false => if_there(self.get_limits(path, &names))?,
        };
        Ok(Terms { limits, owners: self.owners(cgroups)? })
    }

    fn owners(&self, cgroups: &[Cgroup]) -> Result<Vec<Owner>> {
        let Subject { uid_map, gid_map, .. } = self.subject();
        let owner = |Cgroup { target, dir }: &Cgroup| {
            let node = node_of(dir)?;
            Ok((target.hierarchy, (uid_map.shown(node.uid), gid_map.shown(node.gid))))
        };
        cgroups.iter().map(owner).collect()
    }

    /// Refuses what on v1 holds for the cgroup and for none below it (blkio-controller.rst, "the
    /// throttling implementation").
    fn check_binding(&self, limits: &HashMap<String, String>) -> Result<()> {
        for name in LimitSet::parse(limits)?.names().filter(|name| name.controller() == Some("io"))
        {
            let index = hierarchy_for(name, &self.service.layout)?;
            if self.hierarchy(index).version == Version::V1 {
                let text = format!("{name}: on cgroup v1 it does not bind the cgroups below");
                return Err(Error::new(ErrorName::NotSupported, text)
                    .hint("leave it out; its owner can set it in each cgroup below"));
            }
        }
        Ok(())
    }

    /// Takes back what is the user's of a cgroup, and removes it with what is below.
    ///
    /// # Errors
    /// NotFound when nothing of it is the user's. Busy while there are processes in it: it is the
    /// user's again, what of it could be removed until then excepted.
    pub(crate) fn undelegate(&self, path: &CgroupPath, uid: u32) -> Result<()> {
        // Where a rule could give it again meanwhile; a container's is no rule's.
        let is_roots = self.subject().class == Class::HostRoot;
        let _alone = is_roots.then(|| self.service.delegations.alone());
        let found = self.existing(path, &Wanted::Implied)?;
        let owners = self.owners(&found)?;
        let theirs = found.into_iter().zip(owners).filter(|(_, (_, (owner, _)))| *owner == uid);
        let cgroups: Vec<Cgroup> = theirs.map(|(cgroup, _)| cgroup).collect();
        if cgroups.is_empty() {
            let text = format!("it is not delegated to the user {uid}");
            return Err(Error::new(ErrorName::NotFound, text).hint("`cgctl ls -l` shows owners"));
        }
        let own = (Some(self.subject().uid), Some(self.subject().gid));
        let handovers = self.handovers(&cgroups, own)?;
        let removals = cgroups.into_iter().map(|cgroup| self.plan_removal(cgroup, true));
        let removals = removals.collect::<Result<Vec<_>>>()?;
        let check = || removals.iter().try_for_each(|removal| self.check_removal(removal));
        check()?;
        // From here on its owner makes nothing more in it, and moves nobody to it.
        let seized = handovers.iter().try_for_each(|handover| handover.seize(own));
        let removed = seized.and_then(|()| check()).and_then(|()| self.run_removals(&removals));
        removed.inspect_err(|_| restore_each(&handovers))
    }
}

/// What is not as it was.
fn difference(was: &Terms, is: Terms, created: &Created) -> Wire {
    let another = was.owners.iter().find(|owner| !is.owners.contains(owner));
    let another = another.map(|(_, (uid, gid))| ("owner".to_owned(), format!("{uid}:{gid}")));
    let made = created.created.then(|| ("created".to_owned(), created.controllers.join(" ")));
    let limits = is.limits.into_iter();
    let limits = limits.filter(|(name, value)| was.limits.get(name) != Some(value));
    limits.chain(another).chain(made).collect()
}

/// Nothing, of what is not there.
pub(super) fn if_there<T: Default>(found: Result<T>) -> Result<T> {
    match found {
        Err(error) if error.name == ErrorName::NotFound => Ok(T::default()),
        found => found,
    }
}
