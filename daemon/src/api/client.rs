//! One client of a transport: who it is, what it watches, and what waits to be told to it. What
//! waits is bounded; a client that does not take it loses its connection, or on a bus its watches.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cgroupd_proto::{ErrorName, INTERFACE, OBJECT_PATH};
use tokio::sync::mpsc;
use zbus::Message;

use super::Cgmanager;
use crate::caller::Caller;
use crate::cgroup::watch::Event;
use crate::service::{Tell, Watch};
use crate::transport::{Parked, PeerSocket};
use crate::{Error, Result};

/// The most events that wait for one client: more than one change makes, when all the watches that
/// one may have tell of it at once.
const WAITING: usize = 4096;

/// A client, while it is connected.
#[derive(Debug)]
pub struct Client {
    /// Who it is.
    pub caller: Arc<Caller>,
    watches: Mutex<Watches>,
    outbox: Outbox,
    sockets: Option<Arc<Parked>>,
    /// What of cgmanager's interface it may call.
    pub(super) cgmanager: Cgmanager,
}

#[derive(Debug, Default)]
struct Watches {
    last: u32,
    by_id: HashMap<u32, Watch>,
}

/// Takes events for a client, from any thread.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    told: mpsc::Sender<Told>,
    overflowed: Arc<AtomicBool>,
}

/// What is told.
#[derive(Debug)]
struct Told {
    id: u32,
    path: Arc<str>,
    event: Event,
    count: u64,
}

/// The events that wait for a client, for the transport to send.
#[derive(Debug)]
pub struct Events {
    told: mpsc::Receiver<Told>,
    overflowed: Arc<AtomicBool>,
    destination: Option<String>,
}

/// The client did not take its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("events were not taken in time")]
pub struct TooSlow;

impl Client {
    /// A client, and what it is to be told. On a bus `destination` is its unique name.
    pub fn new(caller: Arc<Caller>, destination: Option<String>) -> (Self, Events) {
        let (outbox, events) = outbox(destination);
        let cgmanager = Cgmanager::Absent;
        (Self { caller, watches: Mutex::default(), outbox, sockets: None, cgmanager }, events)
    }

    /// The same client, on a socket with this much of cgmanager's interface; it may send sockets.
    pub(crate) fn with_cgmanager(self, cgmanager: Cgmanager, sockets: Arc<Parked>) -> Self {
        Self { sockets: Some(sockets), cgmanager, ..self }
    }

    /// The UNIX socket that came with the call under way, where the call has this descriptor.
    pub(super) fn take_socket(&self, descriptor: impl AsFd) -> Option<PeerSocket> {
        self.sockets.as_ref()?.take(descriptor.as_fd())
    }

    /// Whether it may be told something although it asks nothing.
    pub fn is_watching(&self) -> bool {
        self.watches().by_id.values().any(Watch::goes_on)
    }

    /// Ends all its watches.
    pub fn end_watches(&self) {
        let ended = std::mem::take(&mut self.watches().by_id);
        drop(ended);
    }

    /// Begins a watch under a number of its own.
    pub(super) fn watch(&self, begin: impl FnOnce(Tell) -> Result<Watch>) -> Result<u32> {
        let id = self.watches().number();
        let outbox = self.outbox.clone();
        let watch = begin(Box::new(move |path, event, count| outbox.tell(id, path, event, count)))?;
        self.watches().by_id.insert(id, watch);
        Ok(id)
    }

    /// Ends the watch with this number.
    ///
    /// # Errors
    /// NotFound when it has none of that number.
    pub(super) fn unwatch(&self, id: u32) -> Result<()> {
        let ended = self.watches().by_id.remove(&id);
        match ended {
            Some(watch) if watch.goes_on() => Ok(()),
            _ => Err(Error::new(ErrorName::NotFound, format!("there is no watch {id}"))
                .hint("watches are a connection's own: Watch answers their numbers")),
        }
    }

    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watches {
    /// A new number; those of watches that have ended by themselves are forgotten meanwhile.
    fn number(&mut self) -> u32 {
        self.by_id.retain(|_, watch| watch.goes_on());
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !self.by_id.contains_key(&self.last) {
                return self.last;
            }
        }
    }
}

fn outbox(destination: Option<String>) -> (Outbox, Events) {
    let (sender, told) = mpsc::channel(WAITING);
    let overflowed = Arc::new(AtomicBool::new(false));
    let outbox = Outbox { told: sender, overflowed: Arc::clone(&overflowed) };
    (outbox, Events { told, overflowed, destination })
}

impl Outbox {
    fn tell(&self, id: u32, path: &Arc<str>, event: Event, count: u64) {
        let told = Told { id, path: Arc::clone(path), event, count };
        if let Err(mpsc::error::TrySendError::Full(_)) = self.told.try_send(told) {
            self.overflowed.store(true, Ordering::SeqCst);
        }
    }
}

impl Events {
    /// The next event, as a signal. Waits for ever where nothing is watched; dropping the future
    /// loses nothing.
    ///
    /// # Errors
    /// Events were lost.
    pub async fn next(&mut self) -> std::result::Result<Message, TooSlow> {
        let told = self.told.recv().await;
        if self.overflowed.swap(false, Ordering::SeqCst) {
            return Err(TooSlow);
        }
        match told.map(|told| self.signal(&told)) {
            Some(Ok(message)) => Ok(message),
            // The client outlives its events, and every event has a signal.
            None | Some(Err(_)) => Err(TooSlow),
        }
    }

    /// Forgets those that wait.
    pub fn clear(&mut self) {
        while self.told.try_recv().is_ok() {}
        self.overflowed.store(false, Ordering::SeqCst);
    }

    fn signal(&self, told: &Told) -> zbus::Result<Message> {
        let signal = Message::signal(OBJECT_PATH, INTERFACE, cgroupd_proto::EVENT.member);
        let signal = match &self.destination {
            Some(name) => signal.destination(name.as_str()),
            None => signal,
        };
        signal.build(&(told.id, &*told.path, told.event.name(), told.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(outbox: &Outbox, times: usize) {
        (0..times).for_each(|count| outbox.tell(1, &"/a".into(), Event::Populated, count as u64));
    }

    #[tokio::test]
    async fn as_many_as_fit_arrive_in_order() {
        let (outbox, mut events) = outbox(None);
        tell(&outbox, WAITING);
        for expected in 0..WAITING as u64 {
            let message = events.next().await.unwrap();
            let (.., count): (u32, String, String, u64) = message.body().deserialize().unwrap();
            assert_eq!(count, expected);
        }
    }

    #[tokio::test]
    async fn one_that_is_lost_is_not_passed_over() {
        let (outbox, mut events) = outbox(None);
        tell(&outbox, WAITING + 1);
        assert_eq!(events.next().await.unwrap_err(), TooSlow);
        events.clear();
        tell(&outbox, 1);
        assert!(events.next().await.is_ok());
    }
}
