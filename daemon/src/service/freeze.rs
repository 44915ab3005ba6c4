//! Freeze and Thaw: in every hierarchy with a freezer where the cgroup exists, and the answer
//! comes when the kernel says that it is done. What a freeze began is undone when it fails.

use std::time::Instant;

use cgroupd_proto::{CgroupPath, ErrorName};
use nix::errno::Errno;

use super::Request;
use super::request::node_at;
use super::target::{Cgroup, Wanted};
use crate::cgroup::freezer::is_set_above;
use crate::cgroup::{Freezer, Hierarchy, Reached, Version};
use crate::policy::may_control;
use crate::{Error, Result};

/// A freezer that the caller may set.
pub(super) struct Brake<'a> {
    pub(super) hierarchy: &'a Hierarchy,
    pub(super) cgroup: Cgroup,
    pub(super) freezer: Freezer,
}

impl<'a> Request<'a> {
    pub(crate) fn freeze(&self, path: &CgroupPath) -> Result<()> {
        let brakes = self.brakes(path)?;
        let deadline = Instant::now() + self.service.deadline;
        let mut begun = Vec::new();
        for brake in &brakes {
            let frozen = brake.freeze(&mut begun, deadline);
            // Who was moved in since the first look came by root's hand.
            let frozen = frozen.and_then(|()| self.check_unguarded(&brake.cgroup));
            frozen.map_err(|error| take_back(&begun, error))?;
        }
        for brake in &begun {
            // With its mark it would be thawed by the next daemon.
            brake.freezer.keep().or_else(gone).map_err(|errno| brake.refused("unmark", errno))?;
        }
        Ok(())
    }

    pub(crate) fn thaw(&self, path: &CgroupPath) -> Result<()> {
        let brakes = self.brakes(path)?;
        brakes.iter().try_for_each(Brake::check_above)?;
        let deadline = Instant::now() + self.service.deadline;
        // v1's freezer holds processes where v2's cannot let them go: it is opened first.
        for brake in brakes.iter().rev() {
            brake.freezer.thaw().map_err(|errno| brake.refused("thaw", errno))?;
            brake.wait(false, deadline)?;
        }
        Ok(())
    }

    /// The freezers at `path`, v2's first: processes that it holds can be held by v1's as well,
    /// but not the other way round.
    fn brakes(&self, path: &CgroupPath) -> Result<Vec<Brake<'a>>> {
        let mut brakes = Vec::new();
        for cgroup in self.existing(path, &Wanted::Implied)? {
            self.check_stoppable(&cgroup)?;
            brakes.extend(self.brake(cgroup)?);
        }
        if brakes.is_empty() {
            return Err(Error::new(ErrorName::NotSupported, "it has no freezer")
                .hint("it must exist in the hierarchy of the freezer controller, or in cgroup2"));
        }
        brakes.sort_by_key(|brake| brake.hierarchy.version == Version::V1);
        Ok(brakes)
    }

    /// Whether a cgroup may be stopped or ended at all, whoever asks.
    pub(super) fn check_stoppable(&self, cgroup: &Cgroup) -> Result<()> {
        self.check_free(&cgroup.target)?;
        let _ = may_control(self.subject(), cgroup.target.position(), None)?;
        self.check_unguarded(cgroup)
    }

    /// The freezer of a cgroup, opened with the caller's rights; `None` when its hierarchy has
    /// none.
    pub(super) fn brake(&self, cgroup: Cgroup) -> Result<Option<Brake<'a>>> {
        let hierarchy = self.hierarchy(cgroup.target.hierarchy);
        let Some(file) = Freezer::file(hierarchy) else { return Ok(None) };
        let node = node_at(&cgroup.dir, file)?;
        let terms = may_control(self.subject(), cgroup.target.position(), Some(node))
            .map_err(|refusal| not_ones_own(refusal.into(), file))?;
        let freezer =
            terms.actor.run(|| Freezer::open(&cgroup.dir, hierarchy.version)).map_err(|errno| {
                let what = format!("open {file} in {}", hierarchy.label);
                not_ones_own(Error::kernel(what, errno), file)
            })?;
        Ok(Some(Brake { hierarchy, cgroup, freezer }))
    }
}

/// The top of a delegated tree is its owner's, but for the files that act on all of it.
pub(super) fn not_ones_own(error: Error, file: &str) -> Error {
    match error.name {
        ErrorName::Denied => error.hint(format!(
            "{file} of a cgroup that was handed over stays with whoever set it up: name a cgroup \
             below it"
        )),
        _ => error,
    }
}

impl<'a> Brake<'a> {
    /// Freezes it; what it began is in `begun`, whether it succeeds or not.
    pub(super) fn freeze<'b>(&'b self, begun: &mut Vec<&'b Self>, deadline: Instant) -> Result<()> {
        if self.freezer.begin().map_err(|errno| self.refused("freeze", errno))? {
            begun.push(self);
        }
        self.wait(true, deadline)
    }

    fn wait(&self, frozen: bool, deadline: Instant) -> Result<()> {
        let (verb, opposite) = if frozen { ("frozen", "thawed") } else { ("thawed", "frozen") };
        let label = &self.hierarchy.label;
        let reached = self.freezer.wait(frozen, deadline);
        match reached.map_err(|errno| self.refused("look at it", errno))? {
            Reached::Done => Ok(()),
            Reached::Countermanded => {
                let text = format!("somebody else had it {opposite} meanwhile, in {label}");
                Err(Error::new(ErrorName::Raced, text))
            }
            Reached::TimedOut => {
                let text = format!("the kernel has not {verb} all of it in time, in {label}");
                Err(Error::new(ErrorName::TimedOut, text)
                    .hint("a process that waits for a device or a file system cannot be stopped"))
            }
        }
    }

    fn check_above(&self) -> Result<()> {
        match is_set_above(self.hierarchy, &self.cgroup.dir) {
            Ok(false) => Ok(()),
            Ok(true) => {
                let text = format!("a cgroup above it is frozen, in {}", self.hierarchy.label);
                Err(Error::new(ErrorName::Busy, text).hint("thaw that one first"))
            }
            Err(errno) => Err(self.refused("look above it", errno)),
        }
    }

    fn refused(&self, what: &str, errno: Errno) -> Error {
        Error::kernel(format_args!("{what} in {}", self.hierarchy.label), errno)
    }
}

/// Thaws what was begun, the last one first. Whatever is frozen by now was not before.
pub(super) fn take_back(begun: &[&Brake<'_>], error: Error) -> Error {
    let mut stuck = Vec::new();
    for brake in begun.iter().rev() {
        if let Err(errno) = brake.freezer.thaw().or_else(gone) {
            stuck.push(format!("{} ({errno})", brake.hierarchy.label));
        }
    }
    let rest = match stuck.is_empty() {
        true => "nothing is left frozen that was not before".to_owned(),
        false => format!("still told to freeze: {}", stuck.join(", ")),
    };
    Error { text: format!("{}; {rest}", error.text), ..error }
}

/// Nothing is frozen in a cgroup that is gone.
fn gone(errno: Errno) -> nix::Result<()> {
    match errno {
        Errno::ENOENT | Errno::ENODEV => Ok(()),
        errno => Err(errno),
    }
}
