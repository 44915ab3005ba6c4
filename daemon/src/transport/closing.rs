//! Closing what peers sent. The API takes pidfds; any other descriptor may be of a file system
//! that its sender runs, or be a socket with other descriptors under way in it, and closing it may
//! take for ever. So those are closed on a thread of their own, one per accounting key, and a key
//! whose thread does not get on is not served until it does.
//!
//! UNIX sockets, which cgmanager's clients send, are kept aside for as long as their message is
//! looked at. What zbus sees of anything but a pidfd is a stand-in.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;

use crate::sys::pidfd;

/// Descriptors of one key that may wait to be closed.
const MOST_WAITING: usize = 64;

/// The descriptors of all keys that wait to be closed. A key is here while its thread runs.
#[derive(Debug, Default)]
pub(crate) struct Closers(Mutex<HashMap<u32, VecDeque<OwnedFd>>>);

/// One key's share of it.
#[derive(Clone, Debug)]
pub(crate) struct Closer {
    all: Arc<Closers>,
    key: u32,
}

/// UNIX sockets that came with messages, each under the number of its stand-in.
#[derive(Debug)]
pub(crate) struct Parked {
    closer: Closer,
    sockets: Mutex<Vec<(RawFd, OwnedFd)>>,
}

/// A peer's UNIX socket. It is closed where that may take its time.
#[derive(Debug)]
pub(crate) struct PeerSocket {
    socket: Option<OwnedFd>,
    closer: Closer,
}

impl PeerSocket {
    /// Another descriptor of it, to be closed before this one.
    pub(crate) fn try_clone(&self) -> io::Result<OwnedFd> {
        self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?.try_clone()
    }
}

impl Drop for PeerSocket {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            self.closer.close(socket);
        }
    }
}

impl Parked {
    pub(crate) fn new(closer: Closer) -> Self {
        Self { closer, sockets: Mutex::default() }
    }

    /// A pidfd as it is; for anything else a stand-in.
    pub(crate) fn keep(&self, descriptor: OwnedFd) -> io::Result<OwnedFd> {
        match socket_domain(&descriptor) {
            Ok(AddressFamily::UNIX) => match stand_in() {
                Ok(stand_in) => {
                    self.lock().push((stand_in.as_raw_fd(), descriptor));
                    Ok(stand_in)
                }
                Err(error) => {
                    self.closer.close(descriptor);
                    Err(error)
                }
            },
            _ => self.closer.keep_pidfd(descriptor),
        }
    }

    /// The socket behind a stand-in.
    pub(crate) fn take(&self, stand_in: BorrowedFd<'_>) -> Option<PeerSocket> {
        let mut sockets = self.lock();
        let at = sockets.iter().position(|(number, _)| *number == stand_in.as_raw_fd())?;
        let (_, socket) = sockets.swap_remove(at);
        Some(PeerSocket { socket: Some(socket), closer: self.closer.clone() })
    }

    /// Closes those whose stand-ins are none of these.
    pub(crate) fn keep_those_of(&self, stand_ins: &[OwnedFd]) {
        let mut sockets = self.lock();
        if sockets.is_empty() {
            return;
        }
        let is_kept = |number: RawFd| stand_ins.iter().any(|fd| fd.as_raw_fd() == number);
        let (kept, done): (Vec<_>, Vec<_>) =
            sockets.drain(..).partition(|(number, _)| is_kept(*number));
        *sockets = kept;
        drop(sockets);
        done.into_iter().for_each(|(_, socket)| self.closer.close(socket));
    }

    pub(crate) fn closer(&self) -> &Closer {
        &self.closer
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(RawFd, OwnedFd)>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.keep_those_of(&[]);
    }
}

/// What nobody takes for a pidfd or a socket.
fn stand_in() -> io::Result<OwnedFd> {
    File::open("/dev/null").map(OwnedFd::from)
}

impl Closers {
    pub(crate) fn of(self: &Arc<Self>, key: u32) -> Closer {
        Closer { all: Arc::clone(self), key }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, VecDeque<OwnedFd>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes what waits until nothing does.
    fn drain(&self, key: u32) {
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
        stand_in()
    }

    /// Whether closing does not get on.
    pub(crate) fn is_stuck(&self) -> bool {
        self.all.lock().get(&self.key).is_some_and(|waiting| waiting.len() > MOST_WAITING)
    }

    fn close(&self, descriptor: OwnedFd) {
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

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn pidfds_stay_and_others_are_closed_elsewhere() {
        let closers = Arc::new(Closers::default());
        let closer = closers.of(1);
        let own = pidfd::open(nix::unistd::getpid().as_raw()).unwrap();
        let number = own.as_raw_fd();
        assert_eq!(closer.keep_pidfd(own).unwrap().as_raw_fd(), number);
        let (end, other) = nix::unistd::pipe().unwrap();
        let stand_in = closer.keep_pidfd(other).unwrap();
        assert!(!pidfd::is_pidfd(&stand_in));
        let read = nix::unistd::read(&end, &mut [0]);
        assert_eq!(read, Ok(0), "the writing end was closed");
        while closers.lock().contains_key(&1) {
            std::thread::yield_now();
        }
        assert!(!closer.is_stuck());
    }

    #[test]
    fn a_key_that_does_not_get_on_is_stuck_and_others_are_not() {
        let closers = Arc::new(Closers::default());
        let waiting = (0..=MOST_WAITING).map(|_| File::open("/dev/null").unwrap().into());
        closers.lock().insert(7, waiting.collect());
        assert!(closers.of(7).is_stuck());
        assert!(!closers.of(8).is_stuck());
    }
}
