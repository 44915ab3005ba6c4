//! One cgroup that is removed when it is empty: whether it is time, and the removal. It is
//! remembered by inode and looked up by its path, so that it costs no descriptor while it waits;
//! one that is renamed is found again by the next daemon.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;

use super::promise::{MARK, Promise};
use crate::accounting::{Account, Charge};
use crate::cgroup::watch::{Look, Sight, reading};
use crate::cgroup::{Dir, DirId, Version, is_populated};
use crate::log::{Audit, start_of};
use crate::{is_transient, known};

/// The cgroup in one hierarchy.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) root: Arc<Dir>,
    pub(super) label: String,
    pub(super) version: Version,
    /// The way from the managed root to its parent.
    pub(super) above: OsString,
    pub(super) name: OsString,
    pub(super) id: DirId,
    /// As whom it is removed there: its parents may differ.
    pub(super) promise: Promise,
}

#[derive(Debug)]
pub(super) struct Vow {
    pub(super) cgroups: Vec<Kept>,
    audit: Arc<Audit>,
    state: Mutex<State>,
    /// Its v2 events have changed.
    pub(super) touched: AtomicBool,
    /// It waits for a look already.
    pub(super) queued: AtomicBool,
    _charge: Charge,
    /// Open eyes, closed with it.
    pub(super) sights: Mutex<Vec<Sight>>,
}

#[derive(Debug)]
struct State {
    populated: bool,
    /// What v2's events said last.
    events: String,
}

/// A cgroup that is still the one that was meant.
struct Here<'a> {
    kept: &'a Kept,
    parent: Dir,
    dir: Dir,
}

impl Kept {
    /// The directory, when it is still there.
    ///
    /// # Errors
    /// For want of means it cannot be told.
    pub(super) fn open(&self) -> nix::Result<Option<Dir>> {
        Ok(self.here()?.map(|here| here.dir))
    }

    fn here(&self) -> nix::Result<Option<Here<'_>>> {
        let opened = self.root.open(&self.above).and_then(|parent| {
            let dir = parent.open(&self.name)?;
            Ok((parent, dir))
        });
        let Some((parent, dir)) = known(opened)? else { return Ok(None) };
        Ok((dir.id() == Ok(self.id)).then_some(Here { kept: self, parent, dir }))
    }
}

impl Here<'_> {
    /// The remove rule as it is now: the way to the parent, write and search permission on it, which
    /// still belongs to those for whom a capability was lent.
    fn check(&self) -> nix::Result<()> {
        let Kept { root, above, promise, .. } = self.kept;
        if promise.walked {
            Promise::walk(&promise.actor, root, above)?;
        }
        if let Some(owner) = promise.lent_for {
            let parent = self.parent.stat()?;
            if (parent.st_uid, parent.st_gid) != owner {
                return Err(Errno::EACCES);
            }
        }
        promise.actor.run(|| self.parent.check_change())
    }
}

impl Vow {
    pub(super) fn new(cgroups: Vec<Kept>, audit: &Arc<Audit>, charge: Charge) -> Self {
        let populated = cgroups.iter().any(|kept| kept.promise.populated);
        let state = State { populated, events: String::new() };
        Self {
            cgroups,
            audit: Arc::clone(audit),
            state: Mutex::new(state),
            touched: AtomicBool::new(false),
            queued: AtomicBool::new(false),
            _charge: charge,
            sights: Mutex::default(),
        }
    }

    /// The account of whom it was promised to.
    pub(super) fn account(&self) -> Account {
        self.cgroups.first().map_or(Account::HostRoot, |kept| kept.promise.account)
    }

    /// Looks whether it is time, and removes the cgroup then.
    pub(super) fn settle(&self) -> Look {
        self.try_to_settle().unwrap_or(Look::Again)
    }

    /// # Errors
    /// For want of means nothing can be told: the promise stands.
    fn try_to_settle(&self) -> nix::Result<Look> {
        let here = self.here()?;
        if here.is_empty() {
            return Ok(Look::Over);
        }
        let (mut state, mut is_busy) = (self.state(), false);
        for here in &here {
            is_busy = is_busy || self.is_inhabited(here, &mut state)?;
        }
        if is_busy {
            self.note_use(&mut state, &here);
        }
        for Here { dir, .. } in &here {
            is_busy = is_busy || known(dir.has_children())? != Some(false);
        }
        if is_busy || !state.populated { Ok(Look::Awake) } else { self.fire(&here) }
    }

    /// Somebody was put into it.
    pub(super) fn populate(&self) {
        let mut state = self.state();
        if !state.populated {
            match self.here() {
                Ok(here) => self.note_use(&mut state, &here),
                Err(errno) => {
                    state.populated = true;
                    tracing::warn!(path = ?start_of(&self.path()), %errno, "cannot remember that it was used");
                }
            }
        }
    }

    /// Takes the marks away.
    pub(super) fn take_back(&self) {
        match self.here() {
            Ok(here) => self.unmark(&here),
            Err(errno) => {
                tracing::warn!(path = ?start_of(&self.path()), %errno, "cannot take a mark away");
            }
        }
    }

    /// The cgroups that are still there.
    fn here(&self) -> nix::Result<Vec<Here<'_>>> {
        self.cgroups.iter().filter_map(|kept| kept.here().transpose()).collect()
    }

    /// Whether processes are in it or below. Where v2 tells that something has changed, and it
    /// looks as before, somebody came and went.
    fn is_inhabited(&self, here: &Here<'_>, state: &mut State) -> nix::Result<bool> {
        let is_v1 = here.kept.version == Version::V1;
        let touched = !is_v1 && self.touched.swap(false, Ordering::SeqCst);
        let file = if is_v1 { "cgroup.procs" } else { "cgroup.events" };
        let read = known(reading(&here.dir, file)).inspect_err(|_| {
            self.touched.fetch_or(touched, Ordering::SeqCst);
        });
        let events = read?.unwrap_or_default();
        if is_v1 {
            return Ok(events == "1");
        }
        if touched && events == state.events {
            self.note_use(state, std::slice::from_ref(here));
        }
        let inhabited = is_populated(&events);
        state.events = events;
        Ok(inhabited)
    }

    /// Removes it with the rights that were promised; all of it is checked before the first rmdir.
    fn fire(&self, here: &[Here<'_>]) -> nix::Result<Look> {
        if let Err(errno) = here.iter().try_for_each(Here::check) {
            return self.refused(here, errno);
        }
        for Here { kept, parent, dir } in here {
            match kept.promise.actor.run(|| parent.remove(&kept.name)) {
                // A mark that had to be kept in memory did not go with the cgroup.
                Ok(()) => drop(dir.unmark(MARK)),
                Err(Errno::ENOENT) => {}
                // Somebody entered it meanwhile.
                Err(Errno::EBUSY) => return Ok(Look::Awake),
                Err(errno) => return self.refused(here, errno),
            }
        }
        let account = self.account();
        if self.audit.admits(account) {
            tracing::info!(%account, path = ?start_of(&self.path()), "removed: it is empty");
        }
        Ok(Look::Over)
    }

    /// A right that is given back later does not revive an old promise.
    fn refused(&self, here: &[Here<'_>], errno: Errno) -> nix::Result<Look> {
        if is_transient(errno) {
            return Err(errno);
        }
        let account = self.account();
        if self.audit.admits(account) {
            let (path, why) = (self.path(), crate::words(errno));
            tracing::warn!(%account, path = ?start_of(&path), "not removed when empty: {why}");
        }
        self.unmark(here);
        Ok(Look::Over)
    }

    /// From now on it is removed when it is empty, by the next daemon as well.
    fn note_use(&self, state: &mut State, here: &[Here<'_>]) {
        if std::mem::replace(&mut state.populated, true) {
            return;
        }
        for Here { kept, dir, .. } in here {
            let promise = Promise { populated: true, ..kept.promise.clone() };
            let Ok(text) = promise.encode() else { continue };
            if let Err(errno) = dir.mark(MARK, &text) {
                tracing::warn!(hierarchy = kept.label, %errno, "cannot remember that it was used");
            }
        }
    }

    fn unmark(&self, here: &[Here<'_>]) {
        for Here { kept, dir, .. } in here {
            if let Err(errno) = dir.unmark(MARK) {
                tracing::warn!(hierarchy = kept.label, %errno, "cannot take a mark away");
            }
        }
    }

    fn path(&self) -> String {
        let first = self.cgroups.first();
        first.map_or_else(String::new, |kept| {
            std::path::Path::new(&kept.above).join(&kept.name).display().to_string()
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
