//! Watch and Unwatch: what happens in a cgroup, told to the client that asked for as long as it
//! may read the file that says so.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cgroupd_proto::{CgroupPath, ErrorName};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};
use tokio::sync::mpsc;

use super::request::{node, node_at};
use super::target::{Cgroup, Wanted};
use super::{Request, Service};
use crate::caller::Caller;
use crate::cgroup::{DirId, Version};
use crate::events::{Seen, Source, Subscription};
use crate::policy::{Want, access};
use crate::{Error, Result};

/// Events of one client that wait to be sent; a client that lets more pile up is cut off.
const WAITING: usize = 256;
/// Watches of one accounting key.
const PER_KEY: usize = 128;
/// Watches in all.
const TOTAL: usize = 4096;

/// An event: its name, where it comes from, the value there, and what that has to be. A counter
/// may have any.
struct Kind {
    name: &'static str,
    source: Source,
    key: &'static str,
    state: Option<u64>,
}

const fn kind(name: &'static str, source: Source, key: &'static str, state: Option<u64>) -> Kind {
    Kind { name, source, key, state }
}

const REMOVED: &str = "removed";
const KINDS: &[Kind] = &[
    kind("populated", Source::Cgroup, "populated", Some(1)),
    kind("empty", Source::Cgroup, "populated", Some(0)),
    kind("frozen", Source::Cgroup, "frozen", Some(1)),
    kind("thawed", Source::Cgroup, "frozen", Some(0)),
    kind("oom", Source::Memory, "oom", None),
    kind("oom_kill", Source::Memory, "oom_kill", None),
    kind("max", Source::Memory, "max", None),
    kind("high", Source::Memory, "high", None),
    kind("pids_max", Source::Pids, "max", None),
    kind(REMOVED, Source::Cgroup, "", None),
];

impl Kind {
    /// The file that says so, which the watcher must be allowed to read; `None` where this
    /// version's files do not tell.
    fn file(&self, version: Version) -> Option<&'static str> {
        match (version, self.name) {
            (Version::V1, "oom" | "max" | "high") => None,
            (Version::V1, "frozen" | "thawed") => Some("freezer.state"),
            _ => Some(self.source.file(version)),
        }
    }
}

/// One client's watches. They end when this is dropped.
#[derive(Debug)]
pub struct Watches {
    list: Mutex<List>,
    waiting: mpsc::Sender<Pending>,
    overflowed: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct List {
    last: u32,
    by_id: HashMap<u32, Arc<Watch>>,
}

#[derive(Debug)]
struct Watch {
    path: String,
    places: Vec<Place>,
    wants_removed: bool,
    _seat: Seat,
    _subscriptions: Vec<Subscription>,
}

/// A file that tells of events.
#[derive(Debug)]
struct Place {
    hierarchy: usize,
    names: Vec<String>,
    id: DirId,
    file: OwnedFd,
}

/// An event that nobody has been told of yet.
#[derive(Debug)]
pub struct Pending {
    id: u32,
    place: usize,
    event: &'static str,
    count: u64,
}

/// An event as it goes over the wire: the watch, the path, the event, the kernel's count.
pub type Event = (u32, String, &'static str, u64);

/// How many watches each accounting key has.
#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<HashMap<u32, usize>>);

#[derive(Debug)]
struct Seat {
    seats: Weak<Seats>,
    key: u32,
}

impl Seats {
    fn take(self: &Arc<Self>, key: u32) -> Result<Seat> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = counts.get(&key).copied().unwrap_or_default();
        if own >= PER_KEY || counts.values().sum::<usize>() >= TOTAL {
            let text =
                format!("too many watches: one user may have {PER_KEY}, and all together {TOTAL}");
            return Err(Error::new(ErrorName::QuotaExceeded, text)
                .hint("end some with Unwatch, or close the connection that has them"));
        }
        counts.insert(key, own + 1);
        Ok(Seat { seats: Arc::downgrade(self), key })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(seats) = self.seats.upgrade() else { return };
        let mut counts = seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

impl Watches {
    /// No watches yet, and where their events wait.
    pub fn new() -> (Arc<Self>, mpsc::Receiver<Pending>) {
        let (waiting, events) = mpsc::channel(WAITING);
        let (list, overflowed) = (Mutex::default(), Arc::default());
        (Arc::new(Self { list, waiting, overflowed }), events)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lock().by_id.is_empty()
    }

    /// Whether more events piled up than may wait: some are lost.
    pub fn overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Ends them all.
    pub fn clear(&self) {
        let ended = std::mem::take(&mut self.lock().by_id);
        drop(ended);
        self.overflowed.store(false, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, id: u32) -> Option<Arc<Watch>> {
        self.lock().by_id.remove(&id)
    }
}

impl Request<'_> {
    pub(crate) fn watch(
        &self,
        watches: &Arc<Watches>,
        path: &CgroupPath,
        events: &[String],
    ) -> Result<u32> {
        let seat = self.service.watching.take(self.caller.key)?;
        let cgroups = self.existing(path, &Wanted::Implied)?;
        let wanted = self.kinds(&cgroups, events)?;
        let id = {
            let mut list = watches.lock();
            list.last = list.last.checked_add(1).ok_or_else(|| {
                Error::new(ErrorName::QuotaExceeded, "this connection has used up all numbers")
            })?;
            list.last
        };
        let (mut places, mut subscriptions) = (Vec::new(), Vec::new());
        for (kind, at) in &wanted {
            let cgroup = &cgroups[*at];
            let hierarchy = self.hierarchy(cgroup.target.hierarchy);
            let file = kind.file(hierarchy.version).unwrap_or_default();
            let failed = |errno| Error::kernel(format_args!("watch {file}"), errno);
            let place = self.place_to_watch(cgroup, file)?;
            self.may_still_read(&place).map_err(failed)?;
            places.push(place);
            let notify = teller(watches, id, places.len() - 1, kind);
            let events = &self.service.events;
            let subscribed = events.subscribe(&cgroup.dir, hierarchy.version, kind.source, notify);
            subscriptions.push(subscribed.map_err(failed)?);
        }
        let wants_removed = wanted.iter().any(|(kind, _)| kind.name == REMOVED);
        let path = cgroups[0].target.shown();
        let watch =
            Watch { path, places, wants_removed, _seat: seat, _subscriptions: subscriptions };
        watches.lock().by_id.insert(id, Arc::new(watch));
        Ok(id)
    }

    pub(crate) fn unwatch(&self, watches: &Watches, id: u32) -> Result<()> {
        watches.end(id).map(drop).ok_or_else(|| {
            Error::new(ErrorName::NotFound, format!("this connection has no watch {id}"))
        })
    }

    /// The events asked for, each with the cgroup that tells of it; none named: all there are.
    fn kinds(&self, cgroups: &[Cgroup], names: &[String]) -> Result<Vec<(&'static Kind, usize)>> {
        let place = |kind: &Kind| {
            cgroups.iter().position(|cgroup| {
                let version = self.hierarchy(cgroup.target.hierarchy).version;
                kind.file(version).is_some_and(|file| cgroup.dir.has_file(file))
            })
        };
        if names.is_empty() {
            let all = KINDS.iter();
            return Ok(all.filter_map(|kind| place(kind).map(|at| (kind, at))).collect());
        }
        let mut wanted: Vec<(&'static Kind, usize)> = Vec::new();
        for name in names {
            let kind = KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| unknown(name))?;
            let at = place(kind).ok_or_else(|| untold(kind))?;
            if !wanted.iter().any(|(known, _)| known.name == kind.name) {
                wanted.push((kind, at));
            }
        }
        Ok(wanted)
    }

    fn place_to_watch(&self, cgroup: &Cgroup, file: &str) -> Result<Place> {
        let failed = |errno| Error::kernel(format_args!("open {file}"), errno);
        let _ = access(self.subject(), node_at(&cgroup.dir, file)?, Want::READ)?;
        Ok(Place {
            hierarchy: cgroup.target.hierarchy,
            names: cgroup.target.names.clone(),
            id: cgroup.dir.id().map_err(failed)?,
            file: cgroup.dir.open_file(file, OFlag::O_PATH).map_err(failed)?,
        })
    }

    /// Asks the kernel whether the caller may read the file that was opened when the watch
    /// began; that of a removed cgroup still has its owner and mode.
    fn may_still_read(&self, place: &Place) -> nix::Result<()> {
        let terms = access(self.subject(), node(fstat(&place.file)?), Want::READ);
        let actor = terms.map_err(|_| Errno::EACCES)?.actor;
        let path = format!("/proc/self/fd/{}", place.file.as_raw_fd());
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        match actor.run(|| open(path.as_str(), flags, Mode::empty())) {
            Ok(_) | Err(Errno::ENODEV | Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Whether the cgroup is still where the caller may look, and its file one it may read.
    fn may_be_told(&self, place: &Place) -> bool {
        let Ok(Some(scope)) = self.scope(place.hierarchy) else { return false };
        let there = match self.open(&scope.dir, &place.names) {
            Ok(dir) => dir.id() == Ok(place.id),
            // Gone: its file says who might have read it.
            Err(errno) => errno == Errno::ENOENT,
        };
        there && self.may_still_read(place).is_ok()
    }
}

impl Service {
    /// What to tell the client, with its rights as they are now; without them the watch ends.
    pub fn tell(&self, caller: &Caller, watches: &Watches, pending: &Pending) -> Option<Event> {
        let watch = watches.lock().by_id.get(&pending.id).map(Arc::clone)?;
        let request = Request::new(self, caller);
        let allowed = request.is_ok_and(|request| {
            watch.places.get(pending.place).is_some_and(|place| request.may_be_told(place))
        });
        let removed = pending.event == REMOVED;
        if !allowed || removed {
            watches.end(pending.id);
        }
        let wanted = allowed && (!removed || watch.wants_removed);
        wanted.then(|| (pending.id, watch.path.clone(), pending.event, pending.count))
    }
}

/// Puts what the hub sees of one kind into the client's queue.
fn teller(
    watches: &Arc<Watches>,
    id: u32,
    place: usize,
    kind: &'static Kind,
) -> crate::events::Notify {
    let (waiting, overflowed) = (watches.waiting.clone(), Arc::clone(&watches.overflowed));
    Arc::new(move |seen| {
        let (event, count) = match seen {
            Seen::Removed => (REMOVED, 0),
            Seen::Changed { key, now } if key == kind.key => match kind.state {
                None => (kind.name, *now),
                Some(state) if state == *now => (kind.name, 0),
                Some(_) => return,
            },
            Seen::Changed { .. } => return,
        };
        let pending = Pending { id, place, event, count };
        if let Err(mpsc::error::TrySendError::Full(_)) = waiting.try_send(pending) {
            overflowed.store(true, Ordering::Relaxed);
        }
    })
}

fn unknown(name: &str) -> Error {
    let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
    Error::new(ErrorName::InvalidArgument, format!("{name:?} is not an event"))
        .hint(format!("there are {}", names.join(", ")))
}

fn untold(kind: &Kind) -> Error {
    let text = match kind.file(Version::V1) {
        None => format!("only cgroup2's {} tells of {}", kind.source.file(Version::V2), kind.name),
        Some(_) => format!("no file of it tells of {}", kind.name),
    };
    Error::new(ErrorName::NotSupported, text)
        .hint("without names, all that this cgroup can tell of are watched")
}
