//! Who is told of what.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use super::{Seen, Source, counters, waiter};
use crate::cgroup::handle::errno_of;
use crate::cgroup::{Dir, Version};

/// Called from the hub's thread; it must not wait for anything.
pub type Notify = Arc<dyn Fn(&Seen) + Send + Sync>;

/// The daemon's subscriptions.
#[derive(Debug, Default)]
pub struct Hub {
    running: Mutex<Option<Running>>,
}

/// Begun with the first subscription. Dropping it closes `alarm`, which ends the thread.
#[derive(Debug)]
struct Running {
    table: Arc<Table>,
    alarm: UnixStream,
}

/// What the thread looks at.
#[derive(Debug)]
pub(super) struct Table {
    inotify: Arc<Inotify>,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    last: u64,
    by_number: BTreeMap<u64, Entry>,
    by_watch: HashMap<WatchDescriptor, Vec<u64>>,
}

struct Entry {
    dir: Dir,
    version: Version,
    source: Source,
    notify: Notify,
    known: BTreeMap<String, u64>,
    watches: Vec<WatchDescriptor>,
    gone: bool,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("dir", &self.dir).field("source", &self.source).finish()
    }
}

/// Lasts until it is dropped. A call that is under way then may still end after that.
#[derive(Debug)]
pub struct Subscription {
    table: Arc<Table>,
    number: u64,
}

impl Hub {
    /// A hub that waits for nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has `notify` told of what changes from now on. What was so before is not told: whoever
    /// needs it looks after this call.
    ///
    /// # Errors
    /// ENOENT where there is no such file, ENODEV when the cgroup is gone, EMFILE, ENOSPC when
    /// the kernel has no watch left.
    pub fn subscribe(
        &self,
        dir: &Dir,
        version: Version,
        source: Source,
        notify: Notify,
    ) -> nix::Result<Subscription> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let running = match &mut *running {
            Some(running) => running,
            none => none.insert(Running::begin()?),
        };
        let number = running.table.add(dir.try_clone()?, version, source, notify)?;
        if version == Version::V1 {
            running.alarm.write_all(&[0]).map_err(errno_of)?;
        }
        Ok(Subscription { table: Arc::clone(&running.table), number })
    }
}

impl Running {
    fn begin() -> nix::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let inotify = Arc::new(inotify);
        let table = Arc::new(Table { inotify: Arc::clone(&inotify), entries: Mutex::default() });
        let (alarm, other) = UnixStream::pair().map_err(errno_of)?;
        let seen_by_thread = Arc::clone(&table);
        std::thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || waiter::run(&seen_by_thread, &inotify, other))
            .map_err(errno_of)?;
        Ok(Self { table, alarm })
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, dir: Dir, version: Version, source: Source, notify: Notify) -> nix::Result<u64> {
        // Under the lock: what inotify tells meanwhile waits until the entry is there.
        let mut entries = self.lock();
        entries.last += 1;
        let number = entries.last;
        let mut watches = Vec::new();
        let added = self.watch(&dir, version, source, &mut watches);
        let known = added.and_then(|()| counters(&dir, version, source));
        for watch in &watches {
            entries.by_watch.entry(*watch).or_default().push(number);
        }
        let known = known.inspect_err(|_| self.unwatch(&mut entries, number, &watches))?;
        let entry = Entry { dir, version, source, notify, known, watches, gone: false };
        entries.by_number.insert(number, entry);
        Ok(number)
    }

    /// The file, and the parent, which loses an entry when the cgroup is removed.
    fn watch(
        &self,
        dir: &Dir,
        version: Version,
        source: Source,
        watches: &mut Vec<WatchDescriptor>,
    ) -> nix::Result<()> {
        if version == Version::V1 {
            return Ok(());
        }
        let own = format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
        let file = format!("{own}/{}", source.file(version));
        watches.push(self.inotify.add_watch(file.as_str(), AddWatchFlags::IN_MODIFY)?);
        let parent = format!("{own}/..");
        let flags = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_ONLYDIR;
        watches.push(self.inotify.add_watch(parent.as_str(), flags)?);
        Ok(())
    }

    fn unwatch(&self, entries: &mut Entries, number: u64, watches: &[WatchDescriptor]) {
        for watch in watches {
            let Some(numbers) = entries.by_watch.get_mut(watch) else { continue };
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                entries.by_watch.remove(watch);
                // The kernel has dropped it already when the file is gone.
                let _ = self.inotify.rm_watch(*watch);
            }
        }
    }

    pub(super) fn has_v1(&self) -> bool {
        self.lock().by_number.values().any(|entry| entry.version == Version::V1)
    }

    pub(super) fn look_at_v1(&self) {
        self.look(|entry| entry.version == Version::V1);
    }

    pub(super) fn look_at_all(&self) {
        self.look(|_| true);
    }

    pub(super) fn look_at(&self, watch: WatchDescriptor) {
        self.look(|entry| entry.watches.contains(&watch));
    }

    /// Tells outside the lock, so that whoever is told may subscribe or end a subscription.
    fn look(&self, meant: impl Fn(&Entry) -> bool) {
        let mut told = Vec::new();
        for entry in self.lock().by_number.values_mut().filter(|entry| meant(entry)) {
            told.extend(entry.look().into_iter().map(|seen| (Arc::clone(&entry.notify), seen)));
        }
        for (notify, seen) in told {
            notify(&seen);
        }
    }
}

impl Entry {
    fn look(&mut self) -> Vec<Seen> {
        if self.gone {
            return Vec::new();
        }
        match counters(&self.dir, self.version, self.source) {
            Ok(now) => {
                let before = std::mem::replace(&mut self.known, now);
                let changed = self.known.iter().filter(|(key, now)| before.get(*key) != Some(*now));
                changed.map(|(key, now)| Seen::Changed { key: key.clone(), now: *now }).collect()
            }
            Err(Errno::ENOENT | Errno::ENODEV) if self.dir.place().is_err() => {
                self.gone = true;
                vec![Seen::Removed]
            }
            // A controller was turned off, or the kernel is short of something: the next look
            // may tell more.
            Err(_) => Vec::new(),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut entries = self.table.lock();
        if let Some(entry) = entries.by_number.remove(&self.number) {
            self.table.unwatch(&mut entries, self.number, &entry.watches);
        }
    }
}
