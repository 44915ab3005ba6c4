//! Closing what peers sent. The API takes pidfds only; any other descriptor may be of a file
//! system that its sender runs, and closing it waits for that file system's answer, which may
//! never come. So those are closed on a thread of their own, one per account, and an account
//! whose thread does not get on is not served until it does.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::ioctl_fionread;
use rustix::net::{Shutdown, shutdown};

use crate::accounting::{Account, Accounts, Charge, Resource};
use crate::sys::pidfd;

/// The descriptors of all accounts that wait to be closed. An account is here while its thread runs.
#[derive(Debug)]
pub(crate) struct Closers {
    accounts: Arc<Accounts>,
    waiting: Mutex<Waiting>,
}

type Waiting = HashMap<Account, VecDeque<(OwnedFd, Charge)>>;

/// One account's share of it.
#[derive(Clone, Debug)]
pub(crate) struct Closer {
    all: Arc<Closers>,
    account: Account,
}

impl Closers {
    pub(crate) fn new(accounts: &Arc<Accounts>) -> Self {
        Self { accounts: Arc::clone(accounts), waiting: Mutex::default() }
    }

    pub(crate) fn of(self: &Arc<Self>, account: Account) -> Closer {
        Closer { all: Arc::clone(self), account }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes what waits until nothing does.
    fn drain(&self, account: Account) {
        loop {
            let mut accounts = self.lock();
            match accounts.get_mut(&account).and_then(VecDeque::pop_front) {
                Some((descriptor, charge)) => {
                    drop(accounts);
                    drop(descriptor);
                    drop(charge);
                }
                None => {
                    accounts.remove(&account);
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
        self.all.accounts.check(self.account, Resource::Closing, 1).is_err()
    }

    /// Closes a peer's connection: here when nothing is left in it, else on the account's thread.
    pub(crate) fn hang_up(&self, stream: OwnedFd) {
        shut_down(&stream);
        if has_leftovers(&stream) {
            self.close(stream);
        }
    }

    /// Closes it on the account's thread.
    pub(crate) fn close(&self, descriptor: OwnedFd) {
        let charge = self.all.accounts.charge_unchecked(self.account, Resource::Closing, 1);
        let mut accounts = self.all.lock();
        if let Some(waiting) = accounts.get_mut(&self.account) {
            waiting.push_back((descriptor, charge));
            return;
        }
        accounts.insert(self.account, VecDeque::from([(descriptor, charge)]));
        drop(accounts);
        let (all, account) = (Arc::clone(&self.all), self.account);
        let thread = std::thread::Builder::new().name("closing".to_owned());
        if let Err(error) = thread.spawn(move || all.drain(account)) {
            tracing::error!(%error, "no thread to close a peer's descriptors");
            self.all.drain(self.account);
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
    use crate::accounting::Bounds;
    use crate::transport::Limits;

    impl Default for Closers {
        fn default() -> Self {
            Self::new(&Accounts::new(Bounds::new(&Limits::default(), 100)))
        }
    }

    #[test]
    fn pidfds_stay_and_others_are_closed_elsewhere() {
        let closers = Arc::new(Closers::default());
        let closer = closers.of(Account::User(1));
        let own = pidfd::open(nix::unistd::getpid().as_raw()).unwrap();
        let number = own.as_raw_fd();
        assert_eq!(closer.keep_pidfd(own).unwrap().as_raw_fd(), number);
        let (end, other) = nix::unistd::pipe().unwrap();
        let stand_in = closer.keep_pidfd(other).unwrap();
        assert!(!pidfd::is_pidfd(&stand_in));
        let read = nix::unistd::read(&end, &mut [0]);
        assert_eq!(read, Ok(0), "the writing end was closed");
        while closers.lock().contains_key(&Account::User(1)) {
            std::thread::yield_now();
        }
        assert!(!closer.is_stuck());
    }

    #[test]
    fn an_account_that_does_not_get_on_is_stuck_and_others_are_not() {
        let closers = Arc::new(Closers::default());
        let account = Account::User(7);
        // As if its thread hung.
        closers.lock().insert(account, VecDeque::new());
        let closer = closers.of(account);
        let end = (0..1000).take_while(|_| !closer.is_stuck());
        let waiting = end.map(|_| closer.close(File::open("/dev/null").unwrap().into())).count();
        assert_eq!(waiting, 320);
        assert!(closers.of(Account::User(7)).is_stuck());
        assert!(!closers.of(Account::User(8)).is_stuck());
    }
}
