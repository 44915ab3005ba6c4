//! UNIX sockets that came with a message, kept aside of zbus: what is under way in one may make its
//! closing last for ever, so each is closed where that may take its time. zbus sees a stand-in, and
//! under its number the socket is found, for as long as the message is looked at.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::closing::Closer;

/// The sockets of one connection, each under the number of its stand-in.
#[derive(Debug)]
pub(crate) struct Parked {
    closer: Closer,
    sockets: Mutex<Vec<(RawFd, OwnedFd)>>,
}

/// A peer's UNIX socket.
#[derive(Debug)]
pub(crate) struct PeerSocket {
    /// There until it is dropped.
    socket: Option<OwnedFd>,
    closer: Closer,
}

impl Parked {
    pub(crate) fn new(closer: Closer) -> Self {
        Self { closer, sockets: Mutex::default() }
    }

    /// Keeps a socket, and answers its stand-in, which is neither a pidfd nor a socket.
    pub(super) fn keep(&self, socket: OwnedFd) -> io::Result<OwnedFd> {
        match stand_in() {
            Ok(stand_in) => {
                self.lock().push((stand_in.as_raw_fd(), socket));
                Ok(stand_in)
            }
            Err(error) => {
                self.closer.close_socket(socket);
                Err(error)
            }
        }
    }

    /// The socket behind a stand-in that is still open.
    pub(crate) fn take(&self, stand_in: BorrowedFd<'_>) -> Option<PeerSocket> {
        let mut sockets = self.lock();
        let at = sockets.iter().position(|(number, _)| *number == stand_in.as_raw_fd())?;
        let (_, socket) = sockets.swap_remove(at);
        Some(PeerSocket { socket: Some(socket), closer: self.closer.clone() })
    }

    /// Closes those of a message that was answered, before its stand-ins are closed.
    pub(crate) fn clear(&self, stand_ins: impl IntoIterator<Item: AsFd>) {
        stand_ins.into_iter().for_each(|stand_in| drop(self.take(stand_in.as_fd())));
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
        let sockets = std::mem::take(&mut *self.lock());
        sockets.into_iter().for_each(|(_, socket)| self.closer.close_socket(socket));
    }
}

/// A descriptor in the place of one that the daemon does not have.
pub(super) fn stand_in() -> io::Result<OwnedFd> {
    File::open("/dev/null").map(OwnedFd::from)
}

impl AsFd for PeerSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_ref().expect("it is taken only when this is dropped").as_fd()
    }
}

impl PeerSocket {
    /// Whether closing what its peer sends does not get on.
    pub(crate) fn is_stuck(&self) -> bool {
        self.closer.is_stuck()
    }

    /// Closes what came over it, as it is closed itself.
    pub(crate) fn close(&self, received: OwnedFd) {
        self.closer.close_socket(received);
    }
}

impl Drop for PeerSocket {
    fn drop(&mut self) {
        self.socket.take().into_iter().for_each(|socket| self.closer.close_socket(socket));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::super::closing::Closers;
    use super::*;
    use crate::accounting::Account;

    #[test]
    fn a_socket_is_found_once_by_its_stand_in() {
        let parked = Parked::new(Arc::new(Closers::default()).of(Account::User(1)));
        let (one, other) = UnixStream::pair().unwrap();
        let number = one.as_raw_fd();
        let stand_in = parked.keep(one.into()).unwrap();
        assert_ne!(stand_in.as_raw_fd(), number);
        assert!(parked.take(other.as_fd()).is_none());
        assert_eq!(parked.take(stand_in.as_fd()).unwrap().as_fd().as_raw_fd(), number);
        assert!(parked.take(stand_in.as_fd()).is_none());
    }

    #[test]
    fn what_is_not_taken_is_closed_with_its_message() {
        use std::io::Read;
        let parked = Parked::new(Arc::new(Closers::default()).of(Account::User(1)));
        let (one, mut other) = UnixStream::pair().unwrap();
        let stand_in = parked.keep(one.into()).unwrap();
        parked.clear([&stand_in]);
        assert_eq!(other.read(&mut [0]).unwrap(), 0);
    }
}
