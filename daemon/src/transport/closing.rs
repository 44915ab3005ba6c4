//! Closing what peers sent. The API takes pidfds only; any other descriptor may be of a file
//! system that its sender runs, and closing it waits for that file system's answer, which may
//! never come. So those are closed on a thread of their own, one per customer, and one
//! whose thread does not get on is not served until it does.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::ioctl_fionread;
use rustix::net::{Shutdown, shutdown};

use crate::caller::Customer;
use crate::sys::pidfd;

/// Descriptors of one key that may wait to be closed: more than one message brings, so that nobody
/// is refused for another's that was too long, and few enough for many keys.
const MOST_WAITING: usize = 320;

/// The descriptors of all keys that wait to be closed. A key is here while its thread runs.
#[derive(Debug, Default)]
pub(crate) struct Closers(Mutex<HashMap<Customer, VecDeque<OwnedFd>>>);

/// One key's share of it.
#[derive(Clone, Debug)]
pub(crate) struct Closer {
    all: Arc<Closers>,
    key: Customer,
}

impl Closers {
    pub(crate) fn of(self: &Arc<Self>, key: Customer) -> Closer {
        Closer { all: Arc::clone(self), key }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Customer, VecDeque<OwnedFd>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes what waits until nothing does.
    fn drain(&self, key: Customer) {
        loop {
            let mut keys = self.lock();
            match keys.get_mut(&key).and_then(VecDeque::pop_front) {
                Some(descriptor) => {
                    drop(keys);
                    drop(descriptor);
                }
                None => {
                    keys.remove(&key);
                    return;
                }
            }
        }
    }
}

impl Closer {
    /// A pidfd as it is; for anything else a stand-in, which is no pidfd either.
    pub(crate) fn keep_pidfd(&self, descriptor: OwnedFd) -> io::Result<OwnedFd> {
        if pidfd::is_pidfd(&descriptor) {
            return Ok(descriptor);
        }
        self.close(descriptor);
        File::open("/dev/null").map(OwnedFd::from)
    }

    /// Whether closing does not get on.
    pub(crate) fn is_stuck(&self) -> bool {
        self.all.lock().get(&self.key).is_some_and(|waiting| waiting.len() > MOST_WAITING)
    }

    /// Closes a peer's connection: here when nothing is left in it, else on the key's thread.
    pub(crate) fn hang_up(&self, stream: OwnedFd) {
        shut_down(&stream);
        if has_leftovers(&stream) {
            self.close(stream);
        }
    }

    /// Closes it on the key's thread.
    pub(crate) fn close(&self, descriptor: OwnedFd) {
        let mut keys = self.all.lock();
        if let Some(waiting) = keys.get_mut(&self.key) {
            waiting.push_back(descriptor);
            return;
        }
        keys.insert(self.key, VecDeque::from([descriptor]));
        drop(keys);
        let (all, key) = (Arc::clone(&self.all), self.key);
        let thread = std::thread::Builder::new().name("closing".to_owned());
        if let Err(error) = thread.spawn(move || all.drain(key)) {
            tracing::error!(%error, "no thread to close a peer's descriptors");
            self.all.drain(self.key);
        }
    }
}

/// Ends both directions: whoever waits on this socket is told, and nothing more comes.
pub(super) fn shut_down(stream: impl AsFd) {
    // It fails only when the peer was first.
    let _ = shutdown(stream, Shutdown::Both);
}

/// Whether something is left that nobody has received, once it is shut down: the descriptors in it
/// are closed with the socket.
pub(super) fn has_leftovers(stream: impl AsFd) -> bool {
    ioctl_fionread(stream) != Ok(0)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn pidfds_stay_and_others_are_closed_elsewhere() {
        let closers = Arc::new(Closers::default());
        let closer = closers.of((1, None));
        let own = pidfd::open(nix::unistd::getpid().as_raw()).unwrap();
        let number = own.as_raw_fd();
        assert_eq!(closer.keep_pidfd(own).unwrap().as_raw_fd(), number);
        let (end, other) = nix::unistd::pipe().unwrap();
        let stand_in = closer.keep_pidfd(other).unwrap();
        assert!(!pidfd::is_pidfd(&stand_in));
        let read = nix::unistd::read(&end, &mut [0]);
        assert_eq!(read, Ok(0), "the writing end was closed");
        while closers.lock().contains_key(&(1, None)) {
            std::thread::yield_now();
        }
        assert!(!closer.is_stuck());
    }

    #[test]
    fn a_key_that_does_not_get_on_is_stuck_and_others_are_not() {
        let closers = Arc::new(Closers::default());
        let waiting = (0..=MOST_WAITING).map(|_| File::open("/dev/null").unwrap().into());
        closers.lock().insert((7, None), waiting.collect());
        assert!(closers.of((7, None)).is_stuck());
        assert!(!closers.of((8, None)).is_stuck());
    }
}
