//! Delegate: a cgroup is made or taken, gets its controllers and its limits, and is handed over, all
//! of it or nothing; what it can grow to is bounded. Undelegate takes back one that nobody uses.

use std::collections::HashMap;

use cgroupd_proto::limit::LimitSet;
use cgroupd_proto::{CgroupPath, ErrorName};

use super::Request;
use super::create::{Created, Order};
use super::enable::Enabling;
use super::request::node_of;
use super::target::{Cgroup, Wanted};
use super::victim::Victims;
use crate::Result;
use crate::cgroup::Version;
use crate::cgroup::limits::Wire;
use crate::policy::Node;

/// How many cgroups there may be in a delegated one, and how deep, unless that is said.
const CAPS: [(&str, &str); 2] = [("cgroup.max.descendants", "256"), ("cgroup.max.depth", "8")];
/// What v2 writes where there is no limit.
const UNLIMITED: &str = "max";

/// What Delegate was asked.
#[derive(Debug)]
pub(crate) struct Delegation<'a> {
    pub(crate) path: &'a CgroupPath,
    /// The new owner, in the caller's numbers.
    pub(crate) owner: (u32, u32),
    pub(crate) controllers: &'a [String],
    pub(crate) limits: &'a HashMap<String, String>,
    pub(crate) enabling: Enabling,
}

impl Request<'_> {
    /// Answers the path, and what was not so before: `created` with the controllers, `owner` with
    /// who it was, limits with their new values; on v1 alone `note` that it has no caps.
    pub(crate) fn delegate(&self, wish: Delegation<'_>) -> Result<(String, Wire)> {
        let path = wish.path;
        let has_v2 = self
            .targets(path, &self.wanted(wish.controllers)?)?
            .iter()
            .any(|target| self.hierarchy(target.hierarchy).version == Version::V2);
        let limits = if has_v2 { self.with_caps(path, wish.limits)? } else { wish.limits.clone() };
        let before = self.terms(path, &limits)?;
        let order = Order {
            path,
            controllers: wish.controllers,
            limits: &limits,
            must_create: false,
            when_empty: false,
            enabling: wish.enabling,
            owner: Some(wish.owner),
        };
        let created = self.create(&order, &Victims::default())?;
        let after = self.terms(path, &limits)?;
        let mut changed = difference(&before, after, &created);
        if !has_v2 {
            let note = "cgroup v1 does not bound the number of cgroups; the daemon's quota does, \
                        for those that are made through it";
            changed.insert("note".to_owned(), note.to_owned());
        }
        Ok((created.path, changed))
    }

    /// The limits and the caps that are neither among them nor there already.
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

    /// Who has the cgroup, and what it is limited to.
    fn terms(&self, path: &CgroupPath, limits: &HashMap<String, String>) -> Result<Wire> {
        let names =
            LimitSet::parse(limits)?.names().map(|name| name.to_string()).collect::<Vec<_>>();
        let mut terms = match names.is_empty() {
            true => Wire::default(),
            false => if_there(self.get_limits(path, &names))?,
        };
        for Cgroup { target, dir } in if_there(self.existing(path, &Wanted::Implied))? {
            let node = node_of(&dir)?;
            let label = &self.hierarchy(target.hierarchy).label;
            terms.insert(format!("{OWNER} {label}"), format!("{}:{}", node.uid, node.gid));
        }
        Ok(terms)
    }

    /// Takes back a cgroup and removes it, with what is below.
    ///
    /// # Errors
    /// Busy while there are processes in it: then all is as it was.
    pub(crate) fn undelegate(&self, path: &CgroupPath) -> Result<()> {
        let cgroups = self.existing(path, &Wanted::Implied)?;
        let owners =
            cgroups.iter().map(|cgroup| node_of(&cgroup.dir)).collect::<Result<Vec<_>>>()?;
        let removals = self
            .existing(path, &Wanted::Implied)?
            .into_iter()
            .map(|cgroup| self.plan_removal(cgroup, true))
            .collect::<Result<Vec<_>>>()?;
        removals.iter().try_for_each(|removal| self.check_removal(removal))?;
        let own = (Some(self.subject().uid), Some(self.subject().gid));
        self.judge_giving(&cgroups, own, false)?;
        // From here on its owner makes nothing more in it, and moves nobody to it.
        self.give_all(&cgroups, own, false)?;
        self.run_removals(&removals).inspect_err(|_| self.give_back(&cgroups, &owners))
    }

    fn give_back(&self, cgroups: &[Cgroup], owners: &[Node]) {
        for (cgroup, owner) in cgroups.iter().zip(owners) {
            let owner = (Some(owner.uid), Some(owner.gid));
            // What is gone needs no owner.
            let _ = self.give_all(std::slice::from_ref(cgroup), owner, false);
        }
    }
}

/// How the terms of an owner in a hierarchy begin.
const OWNER: &str = "owner";

/// What is not as it was.
fn difference(before: &Wire, after: Wire, created: &Created) -> Wire {
    let is_owner = |key: &String| key.starts_with(OWNER);
    let another = before.iter().find(|(key, was)| is_owner(key) && after.get(*key) != Some(*was));
    let another = another.map(|(_, was)| (OWNER.to_owned(), was.clone()));
    let made = created.created.then(|| ("created".to_owned(), created.controllers.join(" ")));
    let is_new = |(key, value): &(String, String)| !is_owner(key) && before.get(key) != Some(value);
    after.into_iter().filter(is_new).chain(another).chain(made).collect()
}

/// Nothing, of what is not there.
fn if_there<T: Default>(found: Result<T>) -> Result<T> {
    match found {
        Err(error) if error.name == ErrorName::NotFound => Ok(T::default()),
        found => found,
    }
}
