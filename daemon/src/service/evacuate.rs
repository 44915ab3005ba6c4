//! Grant G9: the processes of a container stay in the root of its cgroup namespace, where they
//! keep controllers from all its cgroups. They are moved to a leaf, as the caller.

use std::time::{Duration, Instant};

use cgroupd_proto::ErrorName;

use super::Request;
use super::enable::{ENABLED, Enabling, crowded, has_left};
use super::explain::unreadable;
use super::request::{node_at, node_of};
use super::target::Cgroup;
use crate::caller::{Place, Process};
use crate::cgroup::{Actor, Dir, Pauses};
use crate::policy::{Crowded, may_evacuate};
use crate::{Error, Result, is_out_of_resources, known};
use nix::errno::Errno;
use nix::fcntl::OFlag;

/// The leaf, as runtimes and init scripts that do the same by themselves call it.
const LEAF: &str = "init";
/// The same in the caller's view: its parent is the top of the caller's scope.
const LEAF_SHOWN: &str = "/init";
/// How long the cgroup is looked at again after the first round. Then only children are left
/// whose parents had not been moved yet, and those that are about to end, which the kernel lists
/// until they do, and does not move.
const PATIENCE: Duration = Duration::from_secs(2);

impl Request<'_> {
    fn log_evacuation(&self) {
        if self.service.audit.admits(self.caller.account) {
            tracing::info!(
                uid = self.caller.uid,
                pid = self.caller.process.pid,
                grant = "G9",
                "what was in the caller's root is in its leaf {LEAF_SHOWN}"
            );
        }
    }

    /// Moves every process directly in `cgroup` to its leaf `init`.
    ///
    /// # Errors
    /// Busy when that is not allowed, or when more and more come.
    pub(super) fn evacuate(&self, cgroup: &Cgroup, how: &Enabling) -> Result<()> {
        let actor = self.may_evacuate(cgroup, how)?;
        let leaf = Leaf::of(cgroup, &actor)?;
        let mut pauses = None;
        loop {
            let inside = processes(&cgroup.dir)?;
            if inside.is_empty() {
                self.log_evacuation();
                return Ok(());
            }
            for pid in inside {
                let moved = self.give_way(cgroup, &leaf, pid, &actor);
                if moved.map_err(|error| leaf.give_up(cgroup, how, error))? {
                    how.evacuated.set(Some(LEAF_SHOWN));
                }
            }
            // The first round takes as long as there are many.
            let begun = || Pauses::until(Instant::now() + PATIENCE);
            if !pauses.get_or_insert_with(begun).sleep() {
                return Err(crowded(&cgroup.target.shown(), "more and more of them come"));
            }
        }
    }

    /// Whom to be while a cgroup is evacuated.
    ///
    /// # Errors
    /// Busy, with the reason why nothing there is moved.
    pub(super) fn may_evacuate(&self, cgroup: &Cgroup, how: &Enabling) -> Result<Actor> {
        let path = cgroup.target.shown();
        let own_root = cgroup.target.scope.own_root && cgroup.target.names.is_empty();
        if !own_root {
            return Err(crowded(&path, "").rule("G9-root"));
        }
        let dir = &cgroup.dir;
        let site = Crowded {
            own_root,
            left_alone: how.no_evacuate,
            systemd: self.init_is_systemd()?,
            nodes: [node_of(dir)?, node_at(dir, "cgroup.procs")?, node_at(dir, ENABLED)?],
        };
        let terms = may_evacuate(self.subject(), &site)
            .map_err(|refusal| crowded(&path, &refusal.text).rule(refusal.rule))?;
        terms
            .actor
            .run(|| dir.open_file("cgroup.procs", OFlag::O_WRONLY))
            .map_err(|errno| they_stay(&path, "open cgroup.procs", errno).rule("G9-access"))?;
        Ok(terms.actor)
    }

    /// Whether pid 1 of the caller's pid namespace is systemd. Who hides its init gets nothing.
    fn init_is_systemd(&self) -> Result<bool> {
        let unseen = |errno| Error::kernel("look at pid 1 of the caller", errno);
        let init = known(self.caller.pin(&self.now, 1)).map_err(unseen)?;
        let Some(init) = init else { return Ok(true) };
        let name = known(init.read("comm")).map_err(unseen)?.unwrap_or_default();
        let program = known(init.readlink("exe")).map_err(unseen)?.unwrap_or_default();
        Ok(name == b"systemd\n" || program.as_encoded_bytes().ends_with(b"/systemd"))
    }

    /// Moves one process, unless it left by itself; says whether it was moved.
    fn give_way(&self, cgroup: &Cgroup, leaf: &Leaf, pid: i32, actor: &Actor) -> Result<bool> {
        let path = cgroup.target.shown();
        let hierarchy = self.hierarchy(cgroup.target.hierarchy);
        let Some(process) = self.pin_movable(&path, pid)? else { return Ok(false) };
        let _held = match self.hold(&process) {
            Ok(held) => held,
            Err(_) if !process.is_alive() => return Ok(false),
            Err(errno) => return Err(they_stay(&path, "keep the number of one of them", errno)),
        };
        // The number is looked at again as late as can be: it must still be one of that cgroup.
        let here = hierarchy.names_of(&cgroup.dir).map(Place::Inside);
        match (process.place(hierarchy), here) {
            (Ok(place), Ok(here)) if place == here => {}
            (Err(errno), _) | (_, Err(errno)) if !has_left(errno) => {
                return Err(Error::kernel(format_args!("look at a process of {path}"), errno));
            }
            _ => return Ok(false),
        }
        match actor.run(|| leaf.dir.write("cgroup.procs", &pid.to_string())) {
            Ok(()) => Ok(true),
            Err(errno) if has_left(errno) => Ok(false),
            Err(errno) => Err(they_stay(&path, &format!("move to {LEAF_SHOWN}"), errno)),
        }
    }

    /// A process in the cgroup at `path`, unless it has ended.
    ///
    /// # Errors
    /// Busy for one that is never moved, or cannot be seen.
    fn pin_movable(&self, path: &str, pid: i32) -> Result<Option<Process>> {
        let gone = |errno| match has_left(errno) {
            true => Ok(None),
            false => Err(Error::kernel(format_args!("look at a process of {path}"), errno)),
        };
        // Seen from the daemon's pid namespace it has no number; and 0 would be the daemon.
        if pid == 0 {
            return Err(crowded(path, "one of them cannot be seen from here"));
        }
        let process = match Process::pin(pid) {
            Ok(process) => process,
            Err(errno) => return gone(errno),
        };
        match self.untouchable(&process) {
            Ok(None) => Ok(Some(process)),
            Ok(Some(what)) => Err(crowded(path, &format!("{what} is never moved"))),
            Err(errno) => gone(errno),
        }
    }
}

/// Why the processes of `path` are not moved; a lack of descriptors or memory is none of theirs.
fn they_stay(path: &str, what: &str, errno: Errno) -> Error {
    if is_out_of_resources(errno) {
        return Error::kernel(what, errno);
    }
    crowded(path, &format!("{what}: {}", crate::words(errno)))
}

/// Where processes go.
struct Leaf {
    dir: Dir,
    made: bool,
    actor: Actor,
}

impl Leaf {
    /// Makes it, or takes one that is there.
    fn of(cgroup: &Cgroup, actor: &Actor) -> Result<Self> {
        let opened = actor.run(|| {
            let made = match cgroup.dir.make(LEAF) {
                Ok(()) => true,
                Err(Errno::EEXIST) => false,
                Err(errno) => return Err(errno),
            };
            cgroup.dir.open(LEAF).map(|dir| (dir, made))
        });
        let (dir, made) = opened.map_err(|errno| {
            let path = cgroup.target.shown();
            they_stay(&path, &format!("make {LEAF_SHOWN}"), errno).rule("G9-access")
        })?;
        Ok(Self { dir, made, actor: actor.clone() })
    }

    /// A leaf that nothing could be moved to goes again.
    fn give_up(&self, cgroup: &Cgroup, how: &Enabling, error: Error) -> Error {
        if self.made && how.evacuated.get().is_none() {
            // Whatever entered it meanwhile keeps it.
            let _ = self.actor.run(|| cgroup.dir.remove(LEAF));
        }
        error
    }
}

fn processes(dir: &Dir) -> Result<Vec<i32>> {
    let text = dir.read("cgroup.procs").map_err(unreadable("cgroup.procs"))?;
    let odd = |_| Error::new(ErrorName::Failed, "cgroup.procs has a line that is no number");
    text.split_ascii_whitespace().map(|line| line.parse().map_err(odd)).collect()
}
