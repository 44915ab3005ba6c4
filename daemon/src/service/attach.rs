//! Attach: everything is checked before the first write; what was moved when a later move
//! fails is moved back in reverse order, and what could not be is named.

use std::cell::Cell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use cgroupd_proto::{CgroupPath, ErrorName};
use nix::errno::Errno;

use super::Request;
use super::explain::not_entered;
use super::hold::Hold;
use super::request::node_at;
use super::target::{Cgroup, Wanted, shown};
use super::victim::{Facts, Victims, gone, no_process};
use crate::caller::{Place, Places, Process};
use crate::cgroup::{Actor, Dir, Hierarchy, Version};
use crate::policy::{
    Class, ELSEWHERE, ENTER, Move, Node, Terms, Victim, may_move, needs_entry, way_back,
};
use crate::{Error, Result, is_out_of_resources};

/// Where victims come from, open once for all of them: by hierarchy and path.
type Sources = HashMap<(usize, Vec<String>), Option<Arc<Dir>>>;

/// A checked move of one process in one hierarchy.
pub(super) struct Step<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) what: &'a str,
    pub(super) process: &'a Process,
    pub(super) cgroup: &'a Cgroup,
    hierarchy: &'a Hierarchy,
    pub(super) actor: Actor,
    /// Whether it takes grant G8.
    enters: bool,
    /// Where it was, from the hierarchy's root on.
    pub(super) from: Option<Vec<String>>,
    /// Whether this call has moved it: where somebody else did, it stays.
    pub(super) has_moved: Cell<bool>,
    /// Where to put it back, and as whom; absent when it is the only step.
    pub(super) source: Option<Arc<Dir>>,
    pub(super) back: Actor,
}

/// A move that is allowed.
pub(super) struct Judged {
    victim: Victim,
    v1: bool,
    /// Where the process is, from the hierarchy's root on.
    pub(super) from: Option<Vec<String>>,
    pub(super) terms: Terms,
}

/// Checked moves.
pub(super) struct Moves<'a>(Vec<Step<'a>>);

impl Request<'_> {
    pub(crate) fn attach(&self, path: &CgroupPath, victims: &Victims) -> Result<()> {
        if victims.pinned.is_empty() {
            return Err(Error::new(ErrorName::InvalidArgument, "no process is named")
                .hint("pass processes, or the flag caller"));
        }
        let cgroups = self.existing(path, &Wanted::Implied)?;
        self.attach_to(&cgroups, victims)?;
        self.note_populated(&cgroups, victims);
        Ok(())
    }

    /// Whoever is put into a cgroup that is removed when it is empty may leave it before anybody
    /// looks.
    pub(super) fn note_populated(&self, cgroups: &[Cgroup], victims: &Victims) {
        let keeper = &self.service.keeper;
        if victims.pinned.is_empty() || keeper.is_empty() {
            return;
        }
        for id in cgroups.iter().filter_map(|cgroup| cgroup.dir.id().ok()) {
            keeper.populated(id);
        }
    }

    /// Moves all victims into all cgroups, or none.
    pub(super) fn attach_to(&self, cgroups: &[Cgroup], victims: &Victims) -> Result<()> {
        self.check_moves(cgroups, victims)?.run()
    }

    /// Checks the moves of all victims into all cgroups; nothing is written yet.
    pub(super) fn check_moves<'a>(
        &'a self,
        cgroups: &'a [Cgroup],
        victims: &'a Victims,
    ) -> Result<Moves<'a>> {
        cgroups.iter().try_for_each(|cgroup| self.check_free(&cgroup.target))?;
        let (mut steps, mut sources) = (Vec::new(), Sources::new());
        for (what, process) in &victims.pinned {
            let facts = self.facts(process).map_err(gone(what))?;
            // A single move of host root's needs neither a way back nor the victim's scope; what
            // is never moved is refused wherever it is, and need not let us look.
            let single = cgroups.len() == 1 && victims.pinned.len() == 1;
            let simple = self.subject().class == Class::HostRoot && single;
            let places = match simple || facts.untouchable.is_some() {
                true => Places::default(),
                false => process.places().map_err(gone(what))?,
            };
            for cgroup in cgroups {
                steps.push(self.check(what, process, &facts, &places, cgroup, &mut sources)?);
            }
        }
        Ok(Moves(steps))
    }

    fn check<'a>(
        &'a self,
        what: &'a str,
        process: &'a Process,
        facts: &Facts,
        places: &Places,
        cgroup: &'a Cgroup,
        sources: &mut Sources,
    ) -> Result<Step<'a>> {
        let hierarchy = self.hierarchy(cgroup.target.hierarchy);
        let Judged { victim, v1, from, terms } = self.judge(what, facts, places, cgroup)?;
        let enters = terms.grant == Some(ENTER);
        let source = match places.within(hierarchy) {
            Place::Inside(names) => match sources.entry((cgroup.target.hierarchy, names)) {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(new) => {
                    let source = opened(hierarchy.root.open(new.key().1.join("/")))?;
                    new.insert(source).clone()
                }
            },
            Place::Outside if enters => self.source_above(hierarchy, places)?,
            _ => None,
        };
        let back = way_back(self.subject(), &victim, v1, &terms.actor);
        Ok(Step {
            request: self,
            what,
            process,
            cgroup,
            hierarchy,
            actor: terms.actor,
            enters,
            from,
            has_moved: Cell::new(false),
            source,
            back,
        })
    }

    /// Whether the process may be moved to the cgroup, and as whom.
    pub(super) fn judge(
        &self,
        what: &str,
        facts: &Facts,
        places: &Places,
        cgroup: &Cgroup,
    ) -> Result<Judged> {
        let hierarchy = self.hierarchy(cgroup.target.hierarchy);
        let place = places.within(hierarchy);
        let scope = self.scope_names(hierarchy, &cgroup.target.scope)?;
        let mut to = self.destination(hierarchy, &place, cgroup)?;
        let victim = self.victim(facts, &place, &scope);
        if needs_entry(self.subject(), &victim, &to) {
            to.entry = self.entry(hierarchy, places, cgroup)?;
        }
        let from = places.names(hierarchy);
        let terms = may_move(self.subject(), &victim, &to).map_err(|refusal| {
            let place = from.as_ref().filter(|_| refusal.rule == ELSEWHERE);
            let place = place.map(|names| format!(", which is in {}", shown(names)));
            let error = Error::from(refusal);
            Error { text: format!("{what}{}: {}", place.unwrap_or_default(), error.text), ..error }
        })?;
        Ok(Judged { victim, v1: to.v1, from, terms })
    }

    /// What the rule asks of where the process goes.
    fn destination(&self, hierarchy: &Hierarchy, place: &Place, cgroup: &Cgroup) -> Result<Move> {
        let v1 = hierarchy.version == Version::V1;
        let ancestor = match v1 || self.subject().class == Class::HostRoot {
            true => None,
            false => self.common_ancestor(hierarchy, place, cgroup)?,
        };
        let (procs, cpuset) = (node_at(&cgroup.dir, "cgroup.procs")?, hierarchy.is_v1_of("cpuset"));
        Ok(Move { procs, v1, cpuset, ancestor, entry: None })
    }

    /// Owner and mode of cgroup.procs where the way to the victim's cgroup and the way to the
    /// destination part; `None` where the victim's cgroup is not known.
    fn common_ancestor(
        &self,
        hierarchy: &Hierarchy,
        place: &Place,
        cgroup: &Cgroup,
    ) -> Result<Option<Node>> {
        let Place::Inside(from) = place else { return Ok(None) };
        let unseen = |errno| Error::kernel("find the common ancestor", errno);
        let to = hierarchy.names_of(&cgroup.dir).map_err(unseen)?;
        let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        let dir = hierarchy.root.open(from[..shared].join("/")).map_err(unseen)?;
        node_at(&dir, "cgroup.procs").map(Some)
    }
}

impl Moves<'_> {
    /// Makes all of them, or none.
    pub(super) fn run(&self) -> Result<()> {
        let steps = &self.0;
        for (done, step) in steps.iter().enumerate() {
            // Of those that enter, the one that failed may be there.
            step.run().map_err(|error| move_back(&steps[..=done], error))?;
        }
        for step in steps {
            let failed = match step.is_there() {
                Ok(true) => continue,
                Ok(false) => step.raced(),
                Err(errno) => Error::kernel(format_args!("look where {} is", step.what), errno),
            };
            return Err(move_back(steps, failed));
        }
        Ok(())
    }
}

impl Step<'_> {
    fn run(&self) -> Result<()> {
        match self.enters {
            true => self.enter(),
            false => self.write(&self.cgroup.dir, &self.actor),
        }?;
        self.has_moved.set(true);
        Ok(())
    }

    /// One decimal number, one write, and nobody else gets the number meanwhile.
    fn write(&self, dir: &Dir, actor: &Actor) -> Result<()> {
        let _held = self.hold()?;
        self.put(dir, actor)
    }

    /// Whether it is where it came from again.
    fn is_put_back(&self) -> bool {
        let Some(source) = &self.source else { return false };
        // Whoever has moved it on while that was waited for has the last word.
        let held = self.hold();
        held.is_ok_and(|_held| self.is_there() == Ok(false) || self.put(source, &self.back).is_ok())
    }

    pub(super) fn put(&self, dir: &Dir, actor: &Actor) -> Result<()> {
        self.process.check_alive().map_err(|_| no_process(self.what))?;
        let number = self.process.pid.to_string();
        actor.run(|| dir.write("cgroup.procs", &number)).map_err(|errno| self.refused(errno))
    }

    pub(super) fn hold(&self) -> Result<Option<Hold>> {
        let held = self.request.hold(self.process);
        held.map_err(|errno| match self.process.is_alive() {
            true => self.not_held(errno),
            false => no_process(self.what),
        })
    }

    fn not_held(&self, errno: Errno) -> Error {
        if is_out_of_resources(errno) {
            return Error::kernel(format_args!("keep the number of {}", self.what), errno);
        }
        let why = match errno {
            Errno::ETIMEDOUT => {
                "it is stopped in a frozen cgroup, or executes a program".to_owned()
            }
            Errno::EPERM => {
                "it is being traced or about to end, or kernel.yama.ptrace_scope is 3, \
                             which forbids it"
                    .to_owned()
            }
            errno => crate::words(errno),
        };
        let text = format!("move {}: its number cannot be kept for it: {why}", self.what);
        Error::new(ErrorName::Busy, text).hint("repeat it, without a debugger on the process")
    }

    pub(super) fn raced(&self) -> Error {
        let text = format!("{} ended or moved on meanwhile", self.what);
        Error::new(ErrorName::Raced, text)
    }

    /// Whether the process is in the destination. One that has ended, and a cgroup that was
    /// removed, are not.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM: it cannot be told.
    pub(super) fn is_there(&self) -> nix::Result<bool> {
        let wanted = self.hierarchy.names_of(&self.cgroup.dir);
        let there = wanted
            .and_then(|wanted| Ok(self.process.place(self.hierarchy)? == Place::Inside(wanted)));
        match there {
            Err(Errno::ESRCH | Errno::ENOENT) => Ok(false),
            there => there,
        }
    }

    fn refused(&self, errno: Errno) -> Error {
        // Whatever the kernel found under the number then, it was not this process.
        if !self.process.is_alive() {
            return no_process(self.what);
        }
        let label = &self.hierarchy.label;
        let what = format!("move {} in {label}", self.what);
        if self.hierarchy.version == Version::V2
            && let Some(error) = not_entered(&what, self.cgroup, errno)
        {
            return error;
        }
        match errno {
            Errno::ESRCH => no_process(self.what),
            Errno::ENOSPC => Error::new(ErrorName::Busy, format!("{what}: its cpuset is empty"))
                .hint("set cpuset.cpus and cpuset.mems first"),
            Errno::EACCES | Errno::EPERM => Error::kernel(what, errno).hint(
                "the caller needs write permission on cgroup.procs there, on cgroup v1 the \
                 process, and on v2 cgroup.procs of the common ancestor",
            ),
            errno => Error::kernel(what, errno),
        }
    }
}

/// The handle of a source; `None` for a cgroup that was removed meanwhile.
pub(super) fn opened(source: nix::Result<Dir>) -> Result<Option<Arc<Dir>>> {
    match source {
        Ok(dir) => Ok(Some(Arc::new(dir))),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(Error::kernel("open where it comes from", errno)),
    }
}

/// Puts processes back where they came from, the last one first.
fn move_back(steps: &[Step<'_>], error: Error) -> Error {
    let mut stuck = Vec::new();
    // Where it cannot be told that a process has moved on, putting it back is tried.
    let may_be_there = |step: &&Step<'_>| step.has_moved.get() && step.is_there() != Ok(false);
    for step in steps.iter().rev().filter(may_be_there) {
        if !step.is_put_back() {
            stuck.push(format!("{} in {}", step.what, step.hierarchy.label));
        }
    }
    let rest = match stuck.is_empty() {
        true => "nothing was changed".to_owned(),
        false => format!("moved and not moved back: {}", stuck.join(", ")),
    };
    Error { text: format!("{}; {rest}", error.text), ..error }
}
