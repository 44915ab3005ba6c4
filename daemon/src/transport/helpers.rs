//! The daemon's side of its helper processes ([`crate::helper`]): starting one, asking it, ending
//! it. One that cannot be ended, because it waits for somebody's file system, stays charged to the
//! account that it was started for until it is gone.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use rustix::cmsg_space;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::block_in_place;
use tokio::time::timeout;

use super::Violation;
use crate::accounting::{Account, Accounts, Charge, Resource};
use crate::helper::{ARGUMENT, CLOSE_ARGUMENT, CLOSED, Kind, MOST_DESCRIPTORS, Request};
use crate::sys::pidfd;
use crate::sys::watched::watched;

/// How long an answer may take: receiving and classifying never wait for the peer.
const ANSWER: Duration = Duration::from_secs(10);

/// A helper process. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Helper {
    channel: AsyncFd<OwnedFd>,
    pidfd: OwnedFd,
}

/// What came along with some bytes.
#[derive(Debug)]
pub(super) struct Came {
    /// How many descriptors.
    pub(super) count: usize,
    /// The first of them: what the daemon gets, or nothing for what it does not get.
    pub(super) first: Vec<(Kind, Option<OwnedFd>)>,
}

impl Came {
    /// Whether the daemon has got all of them.
    pub(super) fn is_all(&self) -> bool {
        let got = self.first.iter().filter(|(_, descriptor)| descriptor.is_some()).count();
        got == self.count
    }
}

impl Helper {
    /// Starts one for `account`, which is charged until the process is gone.
    ///
    /// # Errors
    /// [`Violation::StuckDescriptors`] when the account has too many, which others of it have made
    /// hang; or what the kernel answers.
    pub(super) fn start(accounts: &Arc<Accounts>, account: Account) -> io::Result<Self> {
        let charge = accounts.charge(account, Resource::Helpers, 1);
        let charge = charge.map_err(|_| Violation::StuckDescriptors)?;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let channel = watched(ours, Interest::READABLE | Interest::WRITABLE)?;
        let child = block_in_place(|| spawn(ARGUMENT, theirs))?;
        Ok(Self { channel, pidfd: supervise(child, charge)? })
    }

    /// Has it receive so many bytes from a connection, and what came along.
    pub(super) async fn take(
        &self,
        connection: BorrowedFd<'_>,
        request: Request,
    ) -> io::Result<Came> {
        self.ask(connection, request).await?;
        let silent = |_| Err(io::Error::other("a helper process does not answer"));
        let answered = timeout(ANSWER, self.answer()).await;
        let (answer, passed) = answered.unwrap_or_else(silent)?;
        let (count, kinds) = answer.split_first().ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut passed = passed.into_iter();
        let first = kinds.iter().map(|byte| Kind::of_byte(*byte)).map(|kind| {
            let descriptor = (kind != Kind::Other).then(|| passed.next()).flatten();
            (kind, descriptor)
        });
        Ok(Came { count: usize::from(*count), first: first.collect() })
    }

    /// Sends a request, with a connection.
    async fn ask(&self, socket: BorrowedFd<'_>, request: Request) -> io::Result<()> {
        let bytes = request.to_bytes();
        let send = |channel: &OwnedFd| send_with(channel, &bytes, &[socket]);
        self.channel.async_io(Interest::WRITABLE, send).await
    }

    /// Leaves connections to it, without waiting for room: they are closed when it is killed.
    pub(super) fn give(&self, connections: &[BorrowedFd<'_>]) -> io::Result<()> {
        send_with(self.channel.get_ref(), &[0], connections)
    }

    /// Starts a process that inherits a connection as its standard input and exits, which closes it:
    /// for one that cannot be passed.
    ///
    /// # Errors
    /// The connection, where no process could be started.
    pub(super) fn inherit(
        accounts: &Arc<Accounts>,
        account: Account,
        connection: OwnedFd,
    ) -> Result<(), OwnedFd> {
        let started = || {
            let charge =
                accounts.charge(account, Resource::Helpers, 1).map_err(io::Error::other)?;
            let copy = connection.try_clone()?;
            let child = block_in_place(|| spawn(CLOSE_ARGUMENT, copy))?;
            supervise(child, charge)
        };
        match started() {
            Ok(_) => Ok(()),
            Err(_) => Err(connection),
        }
    }

    /// Waits until all of a request is closed.
    ///
    /// # Errors
    /// When the process has ended.
    pub(super) async fn closed(&self) -> io::Result<()> {
        let (answer, _) = self.answer().await?;
        if answer == CLOSED { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// One message; an empty one is the end.
    async fn answer(&self) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        self.channel.async_io(Interest::READABLE, receive).await
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It fails only when the process is gone.
        let _ = pidfd::send_signal(&self.pidfd, Signal::SIGKILL as i32);
    }
}

fn spawn(argument: &str, stdin: OwnedFd) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .arg(argument)
        .env_clear()
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Reaps the child in a task of its own, and returns its pidfd.
fn supervise(mut child: Child, charge: Charge) -> io::Result<OwnedFd> {
    let pinned = pidfd::open(child.id().cast_signed()).map_err(io::Error::from);
    let pinned = pinned
        .and_then(|pidfd| Ok((watched(pidfd.try_clone()?, Interest::READABLE)?, pidfd)))
        .inspect_err(|_| end_at_once(&mut child));
    let (end, pidfd) = pinned?;
    tokio::spawn(reap(end, child, charge));
    Ok(pidfd)
}

/// Ends a child that nothing has been sent to: it cannot hang.
fn end_at_once(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Waits until a process has ended, and gives back what it was charged.
async fn reap(end: AsyncFd<OwnedFd>, mut child: Child, charge: Charge) {
    // It fails only when the runtime is being shut down, and then the process may be there still.
    if end.readable().await.is_ok() {
        let _ = child.wait();
    }
    drop(charge);
}

fn send_with(channel: &OwnedFd, bytes: &[u8], sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(channel, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(channel: &OwnedFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; 1 + MOST_DESCRIPTORS];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        channel,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    bytes.truncate(received.bytes);
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    Ok((bytes, rights.flatten().collect()))
}
