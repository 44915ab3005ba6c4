//! All cgroups that are removed when they are empty. Notices come from the hub's thread; a thread
//! of its own looks and removes, because an rmdir may take long.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::lanes::Lanes;
use super::vow::{Kept, Vow};
use crate::accounting::{Account, Accounts, Charge, Full, Group, Resource};
use crate::cgroup::handle::errno_of;
use crate::cgroup::watch::{Eye, Hub, Look, look_safely};
use crate::cgroup::{Dir, DirId, Version};
use crate::{Error, Result};

/// How long what was found to be there is believed.
const RECOUNT: Duration = Duration::from_secs(1);
/// How long nothing is done when the daemon has no descriptors left.
const WANT: Duration = Duration::from_millis(100);
/// Looking at v1 from time to time may take one part in so many of the time.
const SHARE: u32 = 5;

/// What is kept in mind.
#[derive(Debug)]
pub struct Keeper(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    accounts: Arc<Accounts>,
    vows: Mutex<HashMap<DirId, Arc<Vow>>>,
    /// Those to be looked at; there is none before the thread was started.
    queue: Mutex<Option<Queue>>,
    /// When those of an account, or of several, that are gone were looked for.
    looked: Mutex<HashMap<Group, Instant>>,
}

type Queue = Arc<Lanes<Arc<Vow>>>;

/// Puts a vow into the queue when something happens.
struct Notice {
    vow: Weak<Vow>,
    queue: Queue,
    /// Whether it is v2's events that changed.
    events: bool,
}

impl Eye for Notice {
    fn look(&self) -> Look {
        let Some(vow) = self.vow.upgrade() else { return Look::Over };
        if self.events {
            vow.touched.store(true, Ordering::SeqCst);
        }
        enqueue(&self.queue, &vow);
        Look::Awake
    }
}

impl Keeper {
    /// Nothing is promised yet.
    pub(in crate::service) fn new(accounts: &Arc<Accounts>) -> Self {
        Self(Arc::new(Shared {
            accounts: Arc::clone(accounts),
            vows: Mutex::default(),
            queue: Mutex::default(),
            looked: Mutex::default(),
        }))
    }

    /// Charges one more to this account.
    ///
    /// # Errors
    /// QuotaExceeded.
    pub(super) fn charge(&self, account: Account) -> Result<Charge> {
        let charge = || self.0.accounts.charge(account, Resource::Promises, 1);
        let charged = charge().or_else(|full| {
            self.0.forget_removed(&full);
            charge()
        });
        charged.map_err(|full| {
            Error::from(full).hint("remove some of them, or do without the flag when-empty")
        })
    }

    /// Keeps a vow until its cgroup is gone.
    ///
    /// # Errors
    /// EMFILE and ENOSPC at the kernel's limits of inotify; EAGAIN without a thread.
    pub(super) fn keep(&self, hub: &Hub, vow: &Arc<Vow>) -> nix::Result<()> {
        let queue = self.queue()?;
        let notice = |events| -> Arc<dyn Eye> {
            Arc::new(Notice { vow: Arc::downgrade(vow), queue: queue.clone(), events })
        };
        let (mut sights, account) = (Vec::new(), vow.account());
        for kept in vow.cgroups.iter().filter(|kept| kept.version == Version::V2) {
            let Some((dir, events)) = kept.events()? else { continue };
            sights.push(hub.open(notice(true), &[events.as_fd()], &[], (account, false))?);
            sights.push(hub.open(notice(false), &[], &[dir.as_fd()], (account, false))?);
        }
        if vow.cgroups.iter().any(|kept| kept.version == Version::V1) {
            sights.push(hub.open(notice(false), &[], &[], (account, true))?);
        }
        *vow.sights.lock().unwrap_or_else(PoisonError::into_inner) = sights;
        let mut vows = self.0.vows();
        for kept in &vow.cgroups {
            vows.insert(kept.id, Arc::clone(vow));
        }
        Ok(())
    }

    /// Looks at it soon.
    pub(super) fn look_at(&self, vow: &Arc<Vow>) {
        if let Ok(queue) = self.queue() {
            enqueue(&queue, vow);
        }
    }

    /// Somebody was put into this cgroup. One that nothing was promised of is no matter.
    pub(in crate::service) fn populated(&self, id: DirId) {
        let vow = self.0.vows().get(&id).map(Arc::clone);
        if let Some(vow) = vow {
            vow.populate();
            self.look_at(&vow);
        }
    }

    /// Whether nothing at all is kept in mind.
    pub(in crate::service) fn is_empty(&self) -> bool {
        self.0.vows().is_empty()
    }

    /// This cgroup is gone, or nothing is promised of it any more.
    pub(in crate::service) fn forget(&self, id: DirId) {
        let vow = self.0.vows().get(&id).map(Arc::clone);
        if let Some(vow) = vow {
            self.0.forget(&vow);
        }
    }

    /// The way to the thread, which is started with the first vow.
    fn queue(&self) -> nix::Result<Queue> {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = &*queue {
            return Ok(Arc::clone(queue));
        }
        let (lanes, shared) = (Queue::default(), Arc::downgrade(&self.0));
        let vows = Arc::clone(&lanes);
        let thread = std::thread::Builder::new().name("when-empty".into());
        thread.spawn(move || work(&shared, &vows)).map_err(errno_of)?;
        Ok(Arc::clone(queue.insert(lanes)))
    }
}

impl Shared {
    fn vows(&self) -> MutexGuard<'_, HashMap<DirId, Arc<Vow>>> {
        self.vows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what others have removed, of those of which there are too many. Looked at without the
    /// lock, which everybody's calls need, and from time to time: it takes long, and whoever is at
    /// the limit may ask often.
    fn forget_removed(&self, full: &Full) {
        if !self.may_look(full.who()) {
            return;
        }
        let counted: Vec<_> =
            self.vows().values().filter(|vow| full.counts(vow.account())).cloned().collect();
        for vow in counted.iter().filter(|vow| !vow.cgroups.iter().any(Kept::is_here)) {
            self.forget(vow);
        }
    }

    fn may_look(&self, who: Group) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        looked.retain(|_, at| at.elapsed() < RECOUNT);
        let due = !looked.contains_key(&who);
        if due {
            looked.insert(who, Instant::now());
        }
        due
    }

    /// There may be means a little later.
    fn look_again(&self, vow: &Arc<Vow>) {
        std::thread::sleep(WANT);
        if let Some(queue) = &*self.queue.lock().unwrap_or_else(PoisonError::into_inner) {
            enqueue(queue, vow);
        }
    }

    fn forget(&self, vow: &Arc<Vow>) {
        let mut vows = self.vows();
        for kept in &vow.cgroups {
            if vows.get(&kept.id).is_some_and(|known| Arc::ptr_eq(known, vow)) {
                vows.remove(&kept.id);
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(queue) = &*self.queue.lock().unwrap_or_else(PoisonError::into_inner) {
            queue.close();
        }
    }
}

impl Kept {
    fn is_here(&self) -> bool {
        // Not known is as good as here.
        self.open().map_or(true, |dir| dir.is_some())
    }

    /// The directory and its events, when it is still there.
    fn events(&self) -> nix::Result<Option<(Dir, OwnedFd)>> {
        let Some(dir) = self.open()? else { return Ok(None) };
        match dir.open_file("cgroup.events", OFlag::O_PATH) {
            Ok(events) => Ok(Some((dir, events))),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

/// Until the keeper is gone.
fn work(shared: &Weak<Shared>, vows: &Lanes<Arc<Vow>>) {
    while let Some((account, vow)) = vows.take() {
        vow.queued.store(false, Ordering::SeqCst);
        let began = Instant::now();
        // What has panicked is not tried again by this daemon; the mark is left for the next one.
        let look = look_safely(|| vow.settle()).unwrap_or(Look::Over);
        if let Some(shared) = shared.upgrade() {
            match look {
                Look::Over => shared.forget(&vow),
                Look::Again => shared.look_again(&vow),
                Look::Awake => {}
            }
        }
        let took = began.elapsed();
        vows.took(account, took);
        if vow.cgroups.iter().any(|kept| kept.version == Version::V1) {
            std::thread::sleep(took * (SHARE - 1));
        }
    }
}

fn enqueue(queue: &Lanes<Arc<Vow>>, vow: &Arc<Vow>) {
    if !vow.queued.swap(true, Ordering::SeqCst) {
        queue.put(vow.account(), Arc::clone(vow));
    }
}
