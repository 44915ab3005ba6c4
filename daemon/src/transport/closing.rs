//! Closing connections. What a peer has sent and nobody has received is closed with its connection,
//! and may make that last for as long as the peer likes. So a connection in which something was left
//! is closed by a helper process that is killed at once: an exiting process waits for no other end.
//!
//! Where cgmanager's `…Scm` forms are served, peers' UNIX sockets come into the daemon. These are
//! closed on a thread of their account's, and an account whose thread does not get on is not served
//! until it does.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::ioctl_fionread;
use rustix::net::sockopt::set_socket_oobinline;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, Shutdown, recv, recvmsg, shutdown};
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::helpers::{Came, Helper};
use super::taking::Takers;
use crate::accounting::{Account, Accounts, Charge, Resource};
use crate::helper::{MOST_DESCRIPTORS, Request};

/// How long connections are gathered until a process is started for them.
const GATHER: Duration = Duration::from_millis(20);
/// How long until a process is tried again for an account that may have no more.
const RETRY: Duration = Duration::from_secs(1);

/// What waits to be closed, of all accounts.
#[derive(Debug)]
pub(crate) struct Closers {
    accounts: Arc<Accounts>,
    takers: Arc<Takers>,
    /// Connections, by account; an account is here while a task closes some of its own.
    connections: Waiting,
    /// Sockets, by account; an account is here while a thread closes some of its own.
    sockets: Waiting,
}

/// One account's share of it.
#[derive(Clone, Debug)]
pub(crate) struct Closer {
    all: Arc<Closers>,
    account: Account,
}

/// Descriptors in the order in which they came.
#[derive(Debug, Default)]
struct Waiting(Mutex<HashMap<Account, VecDeque<Held>>>);

/// A descriptor, and what is charged for it.
type Held = (OwnedFd, Charge);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, HashMap<Account, VecDeque<Held>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one. True if nobody closes those of the account yet: then the caller has to start that.
    fn push(&self, account: Account, held: Held) -> bool {
        let mut accounts = self.lock();
        let is_first = !accounts.contains_key(&account);
        accounts.entry(account).or_default().push_back(held);
        is_first
    }

    /// Takes the first `most`; none when there are no more, and then whoever asks closes no more.
    fn pop(&self, account: Account, most: usize) -> Vec<Held> {
        let mut accounts = self.lock();
        let waiting = accounts.get_mut(&account);
        let first: Vec<Held> = waiting
            .map(|waiting| waiting.drain(..waiting.len().min(most)).collect())
            .unwrap_or_default();
        if first.is_empty() {
            accounts.remove(&account);
        }
        first
    }

    /// Puts some back to the front.
    fn push_front(&self, account: Account, back: Vec<Held>) {
        let mut accounts = self.lock();
        let waiting = accounts.entry(account).or_default();
        back.into_iter().rev().for_each(|held| waiting.push_front(held));
    }
}

impl Closers {
    pub(crate) fn new(accounts: &Arc<Accounts>) -> Self {
        let takers = Arc::new(Takers::new(accounts));
        let (connections, sockets) = (Waiting::default(), Waiting::default());
        Self { accounts: Arc::clone(accounts), takers, connections, sockets }
    }

    pub(crate) fn of(self: &Arc<Self>, account: Account) -> Closer {
        Closer { all: Arc::clone(self), account }
    }

    /// Closes an account's sockets until none waits.
    fn drain_sockets(&self, account: Account) {
        while let Some(held) = self.sockets.pop(account, 1).pop() {
            drop(held);
        }
    }

    /// Closes an account's connections until none waits.
    async fn drain_connections(self: Arc<Self>, account: Account) {
        loop {
            sleep(GATHER).await;
            let waiting = self.connections.pop(account, usize::MAX);
            if waiting.is_empty() {
                return;
            }
            let left = self.close_connections(account, waiting);
            if !left.is_empty() {
                self.connections.push_front(account, left);
                sleep(RETRY).await;
            }
        }
    }

    /// Passes connections to processes that are killed then. Returns those that could not be passed.
    fn close_connections(&self, account: Account, waiting: Vec<Held>) -> Vec<Held> {
        let mut waiting = VecDeque::from(waiting);
        while !waiting.is_empty() {
            let Ok(helper) = Helper::start(&self.accounts, account) else { break };
            let given = give(&helper, waiting.make_contiguous());
            // The process has copies. Ours are closed first, so that its exit closes the last ones.
            waiting.drain(..given);
            drop(helper);
            if given > 0 {
                continue;
            }
            // Kernels before 6.10 do not pass on a socket in which sockets are nested too deep
            // (ETOOMANYREFS); a child can inherit it.
            let Some((connection, charge)) = waiting.pop_front() else { break };
            if let Err(connection) = Helper::inherit(&self.accounts, account, connection) {
                waiting.push_front((connection, charge));
                break;
            }
        }
        waiting.into()
    }
}

/// Gives as many of these to a process as it takes, from the first on; answers how many.
fn give(helper: &Helper, waiting: &[Held]) -> usize {
    let send = |some: &[Held]| {
        let some: Vec<_> = some.iter().map(|(connection, _)| connection.as_fd()).collect();
        helper.give(&some).is_ok()
    };
    let mut given = 0;
    for many in waiting.chunks(MOST_DESCRIPTORS) {
        if !send(many) {
            // One of them cannot be sent.
            return given + many.chunks(1).take_while(|one| send(one)).count();
        }
        given += many.len();
    }
    given
}

impl Drop for Closers {
    /// What still waits is waited for by nobody.
    fn drop(&mut self) {
        let left = std::mem::take(&mut *self.connections.lock());
        if !left.is_empty() {
            // Without a thread they are closed here, when the closure is dropped.
            let _ = std::thread::Builder::new().spawn(move || drop(left));
        }
    }
}

impl Closer {
    /// Whether closing does not get on.
    pub(crate) fn is_stuck(&self) -> bool {
        self.all.accounts.check(self.account, Resource::Closing, 1).is_err()
    }

    /// Whether no more descriptors are taken from the account.
    pub(crate) fn takes_none(&self) -> bool {
        self.all.takers.is_stuck(self.account)
    }

    /// Has a process of the account take bytes, and what came along, off a connection. To be carried
    /// on to its end.
    pub(super) async fn take(self, connection: impl AsFd, request: Request) -> io::Result<Came> {
        Arc::clone(&self.all.takers).take(self.account, connection, request).await
    }

    /// Closes a peer's connection: here when nothing is left in it, else in a process.
    pub(crate) fn hang_up(&self, connection: OwnedFd) {
        shut_down(&connection);
        if prepare(&connection).is_err() || has_leftovers(&connection) {
            self.close_connection(connection);
        }
    }

    /// Closes a connection in a process.
    pub(super) fn close_connection(&self, connection: OwnedFd) {
        // As the daemon ends there is no runtime, and then nobody waits for this one.
        let Ok(runtime) = Handle::try_current() else { return self.close_socket(connection) };
        let charge = self.charge();
        if self.all.connections.push(self.account, (connection, charge)) {
            runtime.spawn(Arc::clone(&self.all).drain_connections(self.account));
        }
    }

    /// Closes a peer's socket on the account's thread.
    pub(super) fn close_socket(&self, socket: OwnedFd) {
        let charge = self.charge();
        if !self.all.sockets.push(self.account, (socket, charge)) {
            return;
        }
        let (all, account) = (Arc::clone(&self.all), self.account);
        let thread = std::thread::Builder::new().name("closing".to_owned());
        if let Err(error) = thread.spawn(move || all.drain_sockets(account)) {
            tracing::error!(%error, "no thread to close a peer's sockets");
            self.all.drain_sockets(self.account);
        }
    }

    fn charge(&self) -> Charge {
        self.all.accounts.charge_unchecked(self.account, Resource::Closing, 1)
    }
}

/// What must be done to a connection before it is looked at: an urgent byte (`MSG_OOB`) would hide
/// what came along with it from the look, and the next receive would drop that.
pub(super) fn prepare(connection: impl AsFd) -> io::Result<()> {
    Ok(set_socket_oobinline(connection, true)?)
}

/// Ends both directions: whoever waits on this socket is told, and nothing more comes.
pub(super) fn shut_down(connection: impl AsFd) {
    // It fails only when the peer was first.
    let _ = shutdown(connection, Shutdown::Both);
}

/// Reads of a connection that is closed, at most: more than a client leaves that has asked much and
/// gone.
const LAST_READS: usize = 16;

/// Whether something with descriptors may be left in a connection that is shut down: these are
/// closed with it. Bytes alone are read away here.
pub(super) fn has_leftovers(connection: impl AsFd) -> bool {
    let mut buffer = [0; 4096];
    for _ in 0..LAST_READS {
        if ioctl_fionread(&connection) == Ok(0) {
            return false;
        }
        match look(&connection, &mut buffer) {
            Ok((0, false)) => return false,
            Ok((_, false)) => {}
            Ok((_, true)) | Err(_) => return true,
        }
    }
    true
}

/// Receives bytes, 0 at the end, up to those that something came along with; these are only looked
/// at, and then the second answer is true.
///
/// A look never drops what came along. Bytes that nothing came along with are there again when they
/// are received, and nothing else is received with them.
pub(super) fn look(connection: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
    let mut no_room = RecvAncillaryBuffer::default();
    let mut bytes = [io::IoSliceMut::new(buffer)];
    let looked = recvmsg(&connection, &mut bytes, &mut no_room, RecvFlags::PEEK)?;
    let count = looked.bytes;
    if looked.flags.contains(ReturnFlags::CTRUNC) {
        return Ok((count, true));
    }
    if count > 0 {
        recv(&connection, &mut buffer[..count], RecvFlags::empty())?;
    }
    Ok((count, false))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

    use super::*;
    use crate::accounting::Bounds;
    use crate::transport::Limits;

    impl Default for Closers {
        fn default() -> Self {
            Self::new(&Accounts::new(Bounds::new(&Limits::default(), 100)))
        }
    }

    fn send_with(socket: &UnixStream, bytes: &[u8], descriptor: &impl AsRawFd) {
        let rights = [descriptor.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&rights)];
        let bytes = [io::IoSlice::new(bytes)];
        sendmsg::<()>(socket.as_raw_fd(), &bytes, &rights, MsgFlags::empty(), None).unwrap();
    }

    #[test]
    fn a_look_receives_what_nothing_came_along_with() {
        use std::io::Write;
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(b"before").unwrap();
        let mut buffer = [0; 4];
        assert_eq!(look(&near, &mut buffer).unwrap(), (4, false));
        send_with(&far, b"with", &File::open("/dev/null").unwrap());
        let mut buffer = [0; 100];
        assert_eq!(look(&near, &mut buffer).unwrap(), (6, true));
        assert_eq!(look(&near, &mut buffer).unwrap(), (6, true), "it is still there");
        assert_eq!(&buffer[..6], b"rewith");
    }

    #[test]
    fn bytes_alone_are_no_leftovers() {
        use std::io::Write;
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(&[7; 10_000]).unwrap();
        shut_down(&near);
        assert!(!has_leftovers(&near));
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(&[7; 10_000]).unwrap();
        send_with(&far, b"x", &File::open("/dev/null").unwrap());
        shut_down(&near);
        assert!(has_leftovers(&near));
    }

    #[test]
    fn sockets_are_closed_elsewhere() {
        let closers = Arc::new(Closers::default());
        let closer = closers.of(Account::User(1));
        let (end, other) = nix::unistd::pipe().unwrap();
        closer.close_socket(other);
        let read = nix::unistd::read(&end, &mut [0]);
        assert_eq!(read, Ok(0), "the writing end was closed");
        while closers.sockets.lock().contains_key(&Account::User(1)) {
            std::thread::yield_now();
        }
        assert!(!closer.is_stuck());
    }

    #[test]
    fn an_account_that_does_not_get_on_is_stuck_and_others_are_not() {
        let closers = Arc::new(Closers::default());
        let account = Account::User(7);
        // As if its thread hung.
        closers.sockets.lock().insert(account, VecDeque::new());
        let closer = closers.of(account);
        let end = (0..1000).take_while(|_| !closer.is_stuck());
        let waiting =
            end.map(|_| closer.close_socket(File::open("/dev/null").unwrap().into())).count();
        assert_eq!(waiting, 320);
        assert!(closers.of(Account::User(7)).is_stuck());
        assert!(!closers.of(Account::User(8)).is_stuck());
    }
}
