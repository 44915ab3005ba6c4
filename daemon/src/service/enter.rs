//! Entering what was delegated (grant G8): the mark on a delegated cgroup that lets its owner's
//! processes in from above, and the facts that the rule asks for. cgroup v1 needs neither: there
//! the kernel asks for nothing but that the process is the user's.

use std::sync::Arc;

use super::Request;
use super::attach::{Judged, Step, opened};
use super::enable::{ENABLED, words_of};
use super::owner::NewOwner;
use super::request::node_of;
use super::target::{Cgroup, shown};
use super::victim::{gone, uids};
use crate::caller::Places;
use crate::cgroup::{Dir, Hierarchy, Version, names_in};
use crate::log::start_of;
use crate::policy::{Class, ENTER, Entry, Source};
use crate::{Error, Result};

/// The mark. Its value is the uid of the user whose processes may enter.
const MARK: &str = "enter";

impl Request<'_> {
    /// Lets the new owner's processes enter, or nobody's. Past what is its own only host root can let
    /// them: a mark of anybody else would mean nothing, and none is made.
    pub(super) fn mark_to_enter(
        &self,
        cgroups: &[Cgroup],
        (uid, _): NewOwner,
        enter: bool,
    ) -> Result<()> {
        let (Some(uid), Class::HostRoot) = (uid, self.subject().class) else { return Ok(()) };
        let on_v2 = |cgroup: &&Cgroup| {
            self.hierarchy(cgroup.target.hierarchy).version == Version::V2
                && !cgroup.target.names.is_empty()
        };
        cgroups.iter().filter(on_v2).try_for_each(|Cgroup { dir, .. }| {
            let marked = if enter { dir.mark(MARK, &uid.to_string()) } else { dir.unmark(MARK) };
            marked.map_err(|errno| Error::kernel("say whether its owner may enter", errno))
        })
    }

    /// The way into `cgroup` for a process at these places; `None` where nothing above it was
    /// delegated to the caller to be entered.
    pub(super) fn entry(
        &self,
        hierarchy: &Hierarchy,
        places: &Places,
        cgroup: &Cgroup,
    ) -> Result<Option<Entry>> {
        let to = hierarchy.names_of(&cgroup.dir).map_err(unseen)?;
        let Some(depth) = self.marked_depth(hierarchy, &to)? else { return Ok(None) };
        let source = self.entered_from(hierarchy, places, &to[..depth])?;
        let is_leaf = depth < to.len() && is_leaf(&cgroup.dir)?;
        Ok(Some(Entry { dir: node_of(&cgroup.dir)?, is_leaf, source }))
    }

    /// How many names from the managed root down the topmost cgroup lies that is marked for the
    /// caller and still the caller's.
    fn marked_depth(&self, hierarchy: &Hierarchy, names: &[String]) -> Result<Option<usize>> {
        let own = self.subject().uid;
        let mut dir = Arc::clone(&hierarchy.root);
        for (depth, name) in (1..).zip(names) {
            dir = Arc::new(dir.open(name).map_err(unseen)?);
            let is_own = node_of(&dir)?.uid == own;
            if is_own && dir.marked(MARK).map_err(unseen)? == Some(own.to_string()) {
                return Ok(Some(depth));
            }
        }
        Ok(None)
    }

    fn entered_from(
        &self,
        hierarchy: &Hierarchy,
        places: &Places,
        marked: &[String],
    ) -> Result<Source> {
        let Some(from) = places.names(hierarchy) else { return Ok(Source::Elsewhere) };
        let to = [&hierarchy.base()[..], marked].concat();
        if from.len() < to.len() && to.starts_with(&from) {
            return Ok(Source::Above);
        }
        let share = self.share()?.filter(|share| share.home() == marked);
        Ok(match share.is_some_and(|share| share.lets_leave(&from)) {
            true => Source::Allowed,
            false => Source::Elsewhere,
        })
    }

    /// The cgroup of a process outside of the managed root, to put it back there.
    pub(super) fn source_above(
        &self,
        hierarchy: &Hierarchy,
        places: &Places,
    ) -> Result<Option<Arc<Dir>>> {
        let from = places.names(hierarchy);
        let mounted = names_in(&hierarchy.mounted);
        match from.as_deref().and_then(|from| from.strip_prefix(&mounted[..])) {
            Some(below) => opened(hierarchy.top.open(below.join("/"))),
            None => Ok(None),
        }
    }
}

impl Step<'_> {
    /// The kernel judges nothing here: so all is judged again while the number is held, and once it
    /// is there whether it is still the caller's own, which executing a program can end.
    pub(super) fn enter(&self) -> Result<()> {
        let _held = self.hold()?;
        let again = self.judge_again()?;
        if again.terms.actor != self.actor || again.from != self.from {
            return Err(self.raced());
        }
        self.put(&self.cgroup.dir, &self.actor)?;
        self.has_moved.set(true);
        if self.is_there() == Ok(false) {
            // Somebody else has moved it on.
            return Err(self.raced());
        }
        let is_callers = self.is_callers();
        if is_callers == Ok(true) {
            self.log(again.from.as_deref());
            return Ok(());
        }
        // Whether that did it is looked at by whoever moves back what was moved.
        let _ = self.source.as_ref().map(|source| self.put(source, &self.back));
        is_callers.map_err(|errno| gone(self.what)(errno))?;
        Err(self.raced())
    }

    fn log(&self, from: Option<&[String]>) {
        let caller = self.request.caller;
        if self.request.service.audit.admits(caller.account) {
            let from = from.map(shown);
            let from = start_of(from.as_deref().unwrap_or_default());
            let (uid, pid) = (caller.uid, self.process.pid);
            tracing::info!(uid, pid, ?from, grant = ENTER, "a process has entered");
        }
    }

    fn judge_again(&self) -> Result<Judged> {
        let facts = self.request.facts(self.process).map_err(gone(self.what))?;
        let places = self.process.places().map_err(gone(self.what))?;
        self.request.judge(self.what, &facts, &places, self.cgroup)
    }

    fn is_callers(&self) -> nix::Result<bool> {
        let own = self.request.subject().uid;
        uids(self.process).map(|uids| uids.iter().all(|uid| *uid == own))
    }
}

/// Whether processes can be in it, and there is nothing below it.
fn is_leaf(dir: &Dir) -> Result<bool> {
    let kind = dir.read("cgroup.type").map_err(unseen)?;
    let childless = !dir.has_children().map_err(unseen)?;
    Ok(kind.trim() == "domain" && childless && words_of(dir, ENABLED)?.is_empty())
}

fn unseen(errno: nix::errno::Errno) -> Error {
    Error::kernel("look at the way into it", errno)
}
