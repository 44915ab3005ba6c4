//! One watch at work: what it saw last, and what it tells when that has changed.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cgroupd_proto::{CgroupPath, ErrorName};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};

use super::{Plan, Tell};
use crate::accounting::Charge;
use crate::caller::Caller;
use crate::cgroup::watch::{Event, Eye, Look, Source, happened, reading};
use crate::cgroup::{Dir, DirId};
use crate::policy::{Want, access};
use crate::service::request::{node, node_at};
use crate::service::target::{Cgroup, Target, Wanted, not_found};
use crate::service::{Request, Service};
use crate::{Error, Result};

/// A cgroup of the watch in one hierarchy, by its identity: one that is made anew at the same
/// path is another.
#[derive(Debug)]
pub(super) struct Watched {
    target: Target,
    dir: Dir,
    id: DirId,
    /// The file that says whether the cgroup is populated. When the cgroup is gone it still has its
    /// owner and mode, which say who may know of that.
    file: OwnedFd,
}

/// A file, in which of the cgroups it lies, and the events it tells.
#[derive(Debug)]
pub(super) struct File {
    pub(super) cgroup: usize,
    pub(super) name: &'static str,
    pub(super) events: Vec<(Event, Source)>,
}

pub(super) struct Gaze {
    service: Arc<Service>,
    caller: Arc<Caller>,
    /// From the top of the scope: where the caller is at home may change.
    path: CgroupPath,
    shown: Arc<str>,
    watched: Vec<Watched>,
    plan: Plan,
    tell: Tell,
    /// What each file of the plan said last; nothing before the watch has begun.
    last: Mutex<Vec<Option<String>>>,
    ended: Arc<AtomicBool>,
    _charges: [Charge; 2],
}

impl Watched {
    /// How many each holds.
    pub(super) const DESCRIPTORS: usize = 2;

    pub(super) fn of(cgroup: Cgroup) -> Result<Self> {
        let Cgroup { target, dir } = cgroup;
        let is_v2 = dir.has_file("cgroup.events");
        let is_v2 = is_v2.map_err(|errno| Error::kernel("look for cgroup.events", errno))?;
        let name = if is_v2 { "cgroup.events" } else { "cgroup.procs" };
        let file = dir.open_file(name, OFlag::O_PATH);
        let file = file.map_err(|errno| Error::kernel(format_args!("open {name}"), errno))?;
        let id = dir.id().map_err(|errno| Error::kernel("stat", errno))?;
        Ok(Self { target, dir, id, file })
    }

    fn is_gone(&self) -> bool {
        let stat = self.dir.stat_at("cgroup.procs");
        matches!(stat, Err(Errno::ENOENT | Errno::ENODEV | Errno::ESTALE))
    }

    /// Whether the caller could read the file of the cgroup that is gone.
    fn check_could_be_read(&self, request: &Request<'_>) -> Result<()> {
        let stat = fstat(&self.file).map_err(|errno| Error::kernel("stat", errno))?;
        let terms = access(request.subject(), node(stat), Want::READ)?;
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        match terms.actor.run(|| open(path.as_str(), flags, Mode::empty())) {
            // Permission is checked before that.
            Ok(_) | Err(Errno::ENODEV | Errno::ENOENT) => Ok(()),
            Err(errno) => Err(Error::kernel("open", errno)),
        }
    }
}

impl Eye for Gaze {
    fn look(&self) -> Look {
        let look = self.look_as_the_caller().unwrap_or_else(|error| match error.name {
            // No word on the caller's rights, but on the daemon's means.
            ErrorName::Failed | ErrorName::OutOfResources => Look::Again,
            _ => Look::Over,
        });
        if look == Look::Over {
            self.ended.store(true, Ordering::SeqCst);
        }
        look
    }

    fn failed(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

impl Gaze {
    pub(super) fn new(
        (service, caller): (&Arc<Service>, &Arc<Caller>),
        path: &CgroupPath,
        watched: Vec<Watched>,
        plan: Plan,
        (tell, charges): (Tell, [Charge; 2]),
    ) -> Self {
        let shown = watched.first().map(|watched| watched.target.shown()).unwrap_or_default();
        Self {
            service: Arc::clone(service),
            caller: Arc::clone(caller),
            path: CgroupPath::parse(&shown).unwrap_or_else(|_| path.clone()),
            shown: shown.into(),
            last: Mutex::new(plan.files.iter().map(|_| None).collect()),
            ended: Arc::default(),
            watched,
            plan,
            tell,
            _charges: charges,
        }
    }

    /// Turns true when nothing will be told any more.
    pub(super) fn ended(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.ended)
    }

    fn look_as_the_caller(&self) -> Result<Look> {
        let request = Request::new(&self.service, &self.caller)?;
        loop {
            let here = self.here();
            if !here.contains(&true) {
                return self.end(&request).map(|()| Look::Over);
            }
            match self.look_at_files(&request, &here) {
                Ok(()) => return Ok(Look::Awake),
                // It is being removed, from one hierarchy after the other.
                Err(_) if self.here() != here => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// In which of its hierarchies the cgroup still is.
    pub(super) fn here(&self) -> Vec<bool> {
        self.watched.iter().map(|watched| !watched.is_gone()).collect()
    }

    /// Tells what has changed where the cgroup still is; the first time nothing has.
    ///
    /// # Errors
    /// Whatever the caller is refused now: then it is told nothing.
    pub(super) fn look_at_files(&self, request: &Request<'_>, here: &[bool]) -> Result<()> {
        let found = self.find_again(request, here)?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        for (file, last) in self.plan.files.iter().zip(last.iter_mut()) {
            let Some(cgroup) = &found[file.cgroup] else { continue };
            let terms = access(request.subject(), node_at(&cgroup.dir, file.name)?, Want::READ)?;
            let text = terms.actor.run(|| reading(&cgroup.dir, file.name));
            let text = text.map_err(|errno| Error::kernel(file.name, errno))?;
            let Some(before) = last.replace(text.clone()) else { continue };
            for (event, source) in &file.events {
                if let Some(count) = happened(*source, &before, &text) {
                    (self.tell)(&self.shown, *event, count);
                }
            }
        }
        Ok(())
    }

    /// The cgroups that are still there, reached again as the caller.
    fn find_again(&self, request: &Request<'_>, here: &[bool]) -> Result<Vec<Option<Cgroup>>> {
        let there = self.watched.iter().zip(here).filter(|(_, here)| **here);
        let hierarchies = there.map(|(watched, _)| watched.target.hierarchy).collect();
        let mut cgroups = request.existing(&self.path, &Wanted::Exactly(hierarchies))?;
        let mut found = Vec::new();
        for (watched, here) in self.watched.iter().zip(here) {
            let index = cgroups.iter().position(|cgroup| {
                *here
                    && cgroup.target.hierarchy == watched.target.hierarchy
                    && cgroup.dir.id() == Ok(watched.id)
            });
            match index {
                Some(index) => found.push(Some(cgroups.swap_remove(index))),
                None if *here => return Err(not_found()),
                None => found.push(None),
            }
        }
        Ok(found)
    }

    /// The cgroup is gone. Who may still look at its place, and could read its file, is told.
    fn end(&self, request: &Request<'_>) -> Result<()> {
        if let Err(error) = request.existing(&self.path, &Wanted::Implied)
            && error.name != ErrorName::NotFound
        {
            return Err(error);
        }
        for gone in &self.watched {
            // The same path in another scope is another place.
            let scope = request.scope(gone.target.hierarchy)?.ok_or_else(not_found)?;
            if scope.dir.id() != gone.target.scope.dir.id() {
                return Err(not_found());
            }
            gone.check_could_be_read(request)?;
        }
        if self.plan.removed {
            self.ended.store(true, Ordering::SeqCst);
            (self.tell)(&self.shown, Event::Removed, 0);
        }
        Ok(())
    }
}
