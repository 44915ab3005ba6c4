//! Controllers on cgroup v2: a cgroup has a controller's files only when its parent enables it
//! for its children. They are enabled on the way down, with the caller's identity, so that the
//! files that appear belong to it; never above its scope, and not undone (cgroup-v2.rst,
//! "Enabling and Disabling").

use std::cell::Cell;

use cgroupd_proto::ErrorName;
use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::Request;
use super::explain::{no_control, not_available, unreadable};
use super::target::{Cgroup, Target, shown};
use crate::cgroup::{Actor, Dir, Version};
use crate::{Error, Result};

pub(super) const ENABLED: &str = "cgroup.subtree_control";
pub(super) const AVAILABLE: &str = "cgroup.controllers";

/// Whether processes may be made to give way to controllers (grant G9), and whether they were.
#[derive(Debug, Default)]
pub(crate) struct Enabling {
    /// The caller's flag `no-evacuate`.
    pub(super) no_evacuate: bool,
    /// The leaf they were moved to, in the caller's view.
    pub(super) evacuated: Cell<Option<&'static str>>,
}

impl Enabling {
    /// With the caller's flag `no-evacuate`.
    pub(crate) fn new(no_evacuate: bool) -> Self {
        Self { no_evacuate, ..Self::default() }
    }

    /// Adds to an error what happened before it.
    pub(super) fn tell(&self, error: Error) -> Error {
        match self.evacuated.get() {
            None => error,
            Some(leaf) => {
                let text = format!("{}; what was in / itself is in {leaf} now", error.text);
                Error { text, ..error }
            }
        }
    }
}

/// A cgroup on the way down that lacks some controllers for its children.
struct Level {
    cgroup: Cgroup,
    /// What is to be written, `+memory +pids`.
    line: String,
}

impl Request<'_> {
    /// Checks, as far as it can be known, that the controllers can be enabled for `target`, the
    /// first `present` names of which exist. Nothing is written. Says whether there is any
    /// to enable.
    ///
    /// # Errors
    /// NotSupported, with the controller that is missing; and as [`Self::enable`].
    pub(super) fn check_enable(
        &self,
        target: &Target,
        present: usize,
        controllers: &[String],
        how: &Enabling,
    ) -> Result<bool> {
        if !self.can_enable(target, controllers) {
            return Ok(false);
        }
        let mut any = false;
        let available = words_of(&target.scope.dir, AVAILABLE)?;
        if let Some(missing) = controllers.iter().find(|name| !available.contains(name)) {
            return Err(not_available(missing));
        }
        for depth in 0..target.names.len().min(present + 1) {
            let Some(level) = self.level(target, depth, controllers)? else { continue };
            any = true;
            let actor = self.may_set(&level.cgroup, ENABLED)?;
            actor
                .run(|| level.cgroup.dir.open_file(ENABLED, OFlag::O_WRONLY))
                .map_err(|errno| no_control(&level.cgroup, &level.line, errno))?;
            if is_crowded(&level.cgroup.dir)? {
                let _: Actor = self.may_evacuate(&level.cgroup, how)?;
            }
        }
        Ok(any)
    }

    /// Enables the controllers in every cgroup from the scope's top to the target's parent.
    ///
    /// # Errors
    /// Busy while one of them has processes that may not be moved; Denied where the caller may
    /// not; NotSupported for what is not there, or not in threaded cgroups.
    pub(super) fn enable(
        &self,
        target: &Target,
        controllers: &[String],
        how: &Enabling,
    ) -> Result<()> {
        if !self.can_enable(target, controllers) {
            return Ok(());
        }
        for depth in 0..target.names.len() {
            if let Some(level) = self.level(target, depth, controllers)? {
                self.enable_in(&level, how)?;
            }
        }
        Ok(())
    }

    fn can_enable(&self, target: &Target, controllers: &[String]) -> bool {
        self.hierarchy(target.hierarchy).version == Version::V2 && !controllers.is_empty()
    }

    /// The cgroup after `depth` names, when it lacks any of the controllers for its children.
    fn level(
        &self,
        target: &Target,
        depth: usize,
        controllers: &[String],
    ) -> Result<Option<Level>> {
        let names = &target.names[..depth];
        let dir = self
            .open(&target.scope.dir, names)
            .map_err(|errno| Error::kernel(format_args!("open {}", shown(names)), errno))?;
        let enabled = words_of(&dir, ENABLED)?;
        let missing = controllers.iter().filter(|controller| !enabled.contains(controller));
        let line = missing.map(|controller| format!("+{controller}")).collect::<Vec<_>>().join(" ");
        let target = Target { names: names.to_vec(), ..target.clone() };
        Ok((!line.is_empty()).then(|| Level { cgroup: Cgroup { target, dir }, line }))
    }

    fn enable_in(&self, level: &Level, how: &Enabling) -> Result<()> {
        let Level { cgroup, line } = level;
        let actor = self.may_set(cgroup, ENABLED)?;
        if is_crowded(&cgroup.dir)? {
            self.evacuate(cgroup, how)?;
        }
        actor
            .run(|| cgroup.dir.write(ENABLED, line))
            .map_err(|errno| no_control(cgroup, line, errno))
    }
}

/// Whether processes directly in a cgroup keep controllers from its children. The kernel takes
/// cpu, cpuset, perf_event and pids nevertheless, and makes of the cgroup the root of a threaded
/// subtree, whose children no process can enter any more: so it is not asked. A hierarchy's root
/// is exempt, and in a threaded subtree other rules apply, which it tells itself.
fn is_crowded(dir: &Dir) -> Result<bool> {
    match dir.read("cgroup.type") {
        Ok(kind) if kind.trim() == "domain" => {}
        Ok(_) | Err(Errno::ENOENT) => return Ok(false),
        Err(errno) => return Err(unreadable("cgroup.type")(errno)),
    }
    dir.read("cgroup.procs").map(|text| !text.trim().is_empty()).map_err(unreadable("cgroup.procs"))
}

pub(super) fn words_of(dir: &Dir, file: &str) -> Result<Vec<String>> {
    let text = dir.read(file).map_err(unreadable(file))?;
    Ok(text.split_ascii_whitespace().map(str::to_owned).collect())
}

/// Nothing was moved: a cgroup with processes keeps its controllers to itself.
pub(super) fn crowded(path: &str, why: &str) -> Error {
    let text = format!(
        "{path} has processes of its own, and on cgroup v2 no controller can be enabled below a \
         cgroup with processes"
    );
    let text = if why.is_empty() { text } else { format!("{text}; they stay: {why}") };
    Error::new(ErrorName::Busy, text)
        .hint(format!("move the processes of {path} to a cgroup below it first"))
}

/// Which of a caller's processes moved on or ended meanwhile is no error.
pub(super) fn has_left(errno: Errno) -> bool {
    matches!(errno, Errno::ESRCH | Errno::ENOENT)
}
