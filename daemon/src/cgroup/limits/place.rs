//! A cgroup in the hierarchy that one limit belongs to: its files, read as the caller.

use std::sync::Arc;

use cgroupd_proto::ErrorName;
use cgroupd_proto::limit::LimitName;
use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::step::{Rank, Step, Undo};
use super::table::{self, File};
use super::{Ground, hierarchy_for};
use crate::cgroup::{Actor, Dir, Hierarchy, Layout, Version};
use crate::{Error, Result};

/// Where a limit is read and written.
pub(super) struct Place<'a> {
    ground: &'a dyn Ground,
    hierarchy: &'a Hierarchy,
    index: usize,
    dir: Arc<Dir>,
    /// The limit.
    pub(super) name: LimitName,
}

impl<'a> Place<'a> {
    /// The place of a limit.
    ///
    /// # Errors
    /// NotSupported when no hierarchy has it; NotFound when the cgroup does not exist there.
    pub(super) fn of(name: LimitName, layout: &'a Layout, ground: &'a dyn Ground) -> Result<Self> {
        let index = hierarchy_for(name, layout)?;
        let hierarchy = &layout.hierarchies[index];
        let dir = ground.dir(index)?.ok_or_else(|| elsewhere(name, hierarchy))?;
        Ok(Self { ground, hierarchy, index, dir, name })
    }

    /// The same place for another limit of the same controller.
    pub(super) fn renamed(&self, name: LimitName) -> Self {
        let Self { ground, hierarchy, index, .. } = *self;
        Self { ground, hierarchy, index, dir: Arc::clone(&self.dir), name }
    }

    pub(super) fn version(&self) -> Version {
        self.hierarchy.version
    }

    /// Whether the cgroup has this interface file. A child cgroup that took the file's name does not
    /// count: it keeps the kernel from making the file.
    pub(super) fn has(&self, file: &str) -> Result<bool> {
        self.dir.has_file(file).map_err(|errno| self.kernel("look for", file, errno))
    }

    /// Reads a file that must be there.
    pub(super) fn read(&self, file: &str) -> Result<String> {
        match self.read_if_there(file)? {
            Some(text) => Ok(text),
            None => Err(self.missing(file)?),
        }
    }

    pub(super) fn read_if_there(&self, file: &str) -> Result<Option<String>> {
        if !self.has(file)? {
            return Ok(self.unset(file)?.map(str::to_owned));
        }
        let actor = self.reader(file)?;
        match actor.run(|| self.dir.read(file)) {
            Ok(text) => Ok(Some(text)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.kernel("read", file, errno)),
        }
    }

    pub(super) fn reader(&self, file: &str) -> Result<Actor> {
        self.ground.reader(self.index, file)
    }

    pub(super) fn above(&self) -> Result<Vec<Dir>> {
        self.ground.above(self.index)
    }

    /// A write of `text` to `file`, which must be there and open for writing.
    pub(super) fn step(
        &self,
        file: impl Into<File>,
        text: impl Into<String>,
        rank: Rank,
    ) -> Result<Step> {
        let file = file.into();
        let actor = match self.has(&file)? {
            true => self.writer(&file)?,
            // Nothing is there to be asked, and nothing will be written.
            false if self.unset(&file)?.is_some() => self.reader("cgroup.controllers")?,
            false => return Err(self.missing(&file)?),
        };
        Ok(Step {
            name: self.name,
            dir: Arc::clone(&self.dir),
            version: self.version(),
            actor,
            file,
            text: text.into(),
            undo: Undo::Whole,
            rank,
            or_after_next: false,
        })
    }

    fn writer(&self, file: &str) -> Result<Actor> {
        let actor = self.ground.writer(self.index, file)?;
        actor
            .run(|| self.dir.open_file(file, OFlag::O_WRONLY))
            .map_err(|errno| self.kernel("open for writing", file, errno))?;
        Ok(actor)
    }

    /// What the file will say once its controller is enabled, where that is taken for granted.
    fn unset(&self, file: &str) -> Result<Option<&'static str>> {
        let controller = self.name.controller().filter(|_| self.version() == Version::V2);
        let Some(controller) = controller else { return Ok(None) };
        let is_new = self.has("cgroup.procs")?
            && !self.is_child(file)?
            && !self.is_enabled(controller)?
            && self.ground.stands_for_enabled(self.index, controller)?;
        Ok(is_new.then(|| table::unset(self.name, file)).flatten())
    }

    /// The one file of a limit that has one.
    pub(super) fn file(&self) -> Result<File> {
        table::files(self.name, self.version()).pop().ok_or_else(|| v2_only(self.name))
    }

    pub(super) fn error(&self, name: ErrorName, why: impl std::fmt::Display) -> Error {
        Error::new(name, format!("{}: {why}", self.name))
    }

    fn kernel(&self, what: &str, file: &str, errno: Errno) -> Error {
        Error::kernel(format_args!("{}: {what} {file}", self.name), errno)
    }

    /// Why the cgroup has no such file.
    ///
    /// # Errors
    /// When that cannot be told.
    pub(super) fn missing(&self, file: &str) -> Result<Error> {
        if !self.has("cgroup.procs")? {
            return Ok(self.error(ErrorName::NotFound, "the cgroup was removed"));
        }
        let unsupported = |why: String| self.error(ErrorName::NotSupported, why);
        if self.is_root()? {
            return Ok(unsupported("the root of a hierarchy has no limits".to_owned()));
        }
        if self.is_child(file)? {
            return Ok(unsupported(format!("a cgroup of the name {file} is in the file's place"))
                .hint("remove or rename that child, then enable the controller anew"));
        }
        Ok(match table::controller(self.name, self.version()) {
            Some(controller)
                if self.version() == Version::V2 && !self.is_enabled(controller)? =>
            {
                unsupported(format!("the {controller} controller is not enabled for this cgroup"))
                    .hint(format!("its parent's cgroup.subtree_control must have {controller}"))
            }
            _ if file.contains("sw") => {
                unsupported(format!("this kernel has no {file}: it does not account swap"))
            }
            _ => unsupported(format!("this kernel has no {file}")),
        })
    }

    /// Whether a child cgroup has the name of the file.
    fn is_child(&self, file: &str) -> Result<bool> {
        match self.dir.stat_at(file) {
            Ok(_) => Ok(!self.has(file)?),
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(false),
            Err(errno) => Err(self.kernel("look for", file, errno)),
        }
    }

    /// Whether the v2 controller's files are there.
    pub(super) fn is_enabled(&self, controller: &str) -> Result<bool> {
        const FILE: &str = "cgroup.controllers";
        let enabled = match self.dir.read(FILE) {
            Err(Errno::ENOENT | Errno::ENODEV) => return Ok(false),
            enabled => enabled.map_err(|errno| self.kernel("read", FILE, errno))?,
        };
        Ok(enabled.split_ascii_whitespace().any(|word| word == controller))
    }

    /// Whether this is a hierarchy's own root. Only there v1 names a release agent, and only
    /// there v2 has no events.
    pub(super) fn is_root(&self) -> Result<bool> {
        match self.version() {
            Version::V1 => self.has("release_agent"),
            Version::V2 => Ok(!self.has("cgroup.events")?),
        }
    }
}

fn elsewhere(name: LimitName, hierarchy: &Hierarchy) -> Error {
    let text = format!("{name}: the cgroup does not exist in the {} hierarchy", hierarchy.label);
    Error::new(ErrorName::NotFound, text).hint("create it there: Create makes what is missing")
}

/// The limit is not one of v1's.
pub(super) fn v2_only(name: LimitName) -> Error {
    match name.controller() {
        Some(controller) => {
            let why = format!("the {controller} controller is held by cgroup v1");
            let text = format!("{name}: {why}, which has no such limit");
            Error::new(ErrorName::NotSupported, text).hint(format!(
                "with cgroup_no_v1={controller} on the kernel's command line v2 has it"
            ))
        }
        None => Error::new(ErrorName::NotSupported, format!("{name}: cgroup v1 has no such limit")),
    }
}
