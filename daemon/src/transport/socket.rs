//! One connected socket: bytes and descriptors, without blocking. Nothing here knows D-Bus.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::cmsg_space;
use rustix::net::sockopt::set_socket_oobinline;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, send, sendmsg,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Violation;
use super::closing::{Closer, has_leftovers, shut_down};
use super::parked::Parked;
use crate::sys::watched::watched;

/// The most descriptors the kernel passes at once, `SCM_MAX_FD`.
const MOST_DESCRIPTORS: usize = 253;

/// A connected stream socket.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Watched for reading only. Watched for writing too, each reply that the peer takes would
    /// wake the runtime once more, to learn that there is room for the next.
    stream: AsyncFd<OwnedFd>,
    /// Where a peer's UNIX sockets are kept; nowhere, where nobody wants any.
    parked: Option<Arc<Parked>>,
    /// Dropped after the stream.
    last: Last,
}

/// The last descriptor of a socket in which something was left.
#[derive(Debug)]
struct Last {
    descriptor: Option<OwnedFd>,
    closer: Closer,
}

impl Drop for Last {
    fn drop(&mut self) {
        self.descriptor.take().into_iter().for_each(|descriptor| self.closer.close(descriptor));
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.shut_down();
        let stream = self.stream.get_ref();
        if has_leftovers(stream) {
            self.last.descriptor = stream.try_clone().ok();
        }
    }
}

impl Socket {
    /// `stream` must not block.
    pub(crate) fn new(stream: impl Into<OwnedFd>, closer: Closer) -> io::Result<Self> {
        let stream = stream.into();
        // An urgent byte that is passed over takes its descriptors with it, in the middle of a read.
        set_socket_oobinline(&stream, true)?;
        let stream = watched(stream, Interest::READABLE)?;
        Ok(Self { stream, parked: None, last: Last { descriptor: None, closer } })
    }

    /// The same, of a peer that may send sockets.
    pub(crate) fn parking(stream: impl Into<OwnedFd>, parked: Arc<Parked>) -> io::Result<Self> {
        let mut socket = Self::new(stream, parked.closer().clone())?;
        socket.parked = Some(parked);
        Ok(socket)
    }

    fn keep(&self, descriptor: OwnedFd) -> io::Result<OwnedFd> {
        match &self.parked {
            Some(parked) => parked.keep(descriptor),
            None => self.last.closer.keep_pidfd(descriptor),
        }
    }

    /// Waits until there is something to receive.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await.map(drop)
    }

    /// Receives bytes, and at most `most` descriptors, into `descriptors`; 0 bytes is the end,
    /// `None` that nothing has come. The kernel ends a read after bytes that were sent together
    /// with descriptors.
    pub(crate) fn receive(
        &self,
        buffer: &mut [u8],
        most: usize,
        descriptors: &mut Vec<OwnedFd>,
    ) -> io::Result<Option<usize>> {
        let mut received = None;
        let tried = self.stream.try_io(Interest::READABLE, |_| {
            let before = descriptors.len();
            let bytes = receive(self, buffer, most, descriptors)?;
            received = Some(bytes);
            // A short read without descriptors has emptied the socket. Saying so makes the next
            // read wait for news, instead of asking the kernel in vain.
            let emptied = bytes < buffer.len() && descriptors.len() == before;
            if emptied { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match tried {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(received),
        }
    }

    /// Sends all of `bytes`, and `descriptors` with the first of them.
    pub(crate) async fn send(
        &self,
        mut bytes: &[u8],
        mut descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            match send_some(self.stream.get_ref(), bytes, descriptors) {
                Ok(sent) => {
                    bytes = &bytes[sent..];
                    descriptors = &[];
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for room. That is rare, so the socket is watched for it only meanwhile, under
    /// another descriptor.
    async fn writable(&self) -> io::Result<()> {
        let again = self.stream.get_ref().try_clone()?;
        watched(again, Interest::WRITABLE)?.writable().await.map(drop)
    }

    /// Ends both directions: whoever waits on this socket is told.
    pub(crate) fn shut_down(&self) {
        shut_down(self.stream.get_ref());
    }
}

fn receive(
    socket: &Socket,
    buffer: &mut [u8],
    most: usize,
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    if socket.last.closer.is_stuck() {
        return Err(Violation::StuckDescriptors.into());
    }
    // Room for all there can be: what does not fit, the kernel closes here and now, and some
    // sockets make that last as long as their sender likes.
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [IoSliceMut::new(buffer)];
    let received =
        recvmsg(socket.stream.get_ref(), &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    let excess = take(socket, rights.flatten(), most, descriptors)?;
    if socket.last.closer.is_stuck() {
        return Err(Violation::StuckDescriptors.into());
    }
    if excess || received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Violation::ManyDescriptors.into());
    }
    Ok(received.bytes)
}

/// Takes over all that came, so that none is closed here: `most` to be used, the excess, and what
/// comes after a failure, to be closed. Whether there was an excess.
fn take(
    socket: &Socket,
    came: impl Iterator<Item = OwnedFd>,
    most: usize,
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<bool> {
    let (mut taken, mut excess, mut failed) = (0, false, None);
    for descriptor in came {
        if taken == most || failed.is_some() {
            excess = true;
            socket.last.closer.close(descriptor);
            continue;
        }
        match socket.keep(descriptor) {
            Ok(kept) => {
                descriptors.push(kept);
                taken += 1;
            }
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(excess), Err)
}

fn send_some(socket: &OwnedFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if descriptors.is_empty() {
        return Ok(send(socket, bytes, SendFlags::NOSIGNAL)?);
    }
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "too many descriptors to send"));
    }
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}
