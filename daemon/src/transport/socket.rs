//! One connected socket: bytes and descriptors, without blocking. Nothing here knows D-Bus.

use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::cmsg_space;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, send, sendmsg};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Violation;
use super::closing::{Closer, has_leftovers, look, prepare, shut_down};
use super::parked::{Parked, stand_in};
use crate::helper::{Kind, MOST_BYTES, MOST_DESCRIPTORS, Request};
use crate::sys::watched::watched;

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

/// The last descriptor of a connection in which something was left.
#[derive(Debug)]
struct Last {
    descriptor: Option<OwnedFd>,
    closer: Closer,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.get_ref().as_fd()
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        let last = self.descriptor.take();
        last.into_iter().for_each(|descriptor| self.closer.close_connection(descriptor));
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
        prepare(&stream)?;
        let stream = watched(stream, Interest::READABLE)?;
        Ok(Self { stream, parked: None, last: Last { descriptor: None, closer } })
    }

    /// The same, of a peer that may send sockets.
    pub(crate) fn parking(stream: impl Into<OwnedFd>, parked: Arc<Parked>) -> io::Result<Self> {
        let mut socket = Self::new(stream, parked.closer().clone())?;
        socket.parked = Some(parked);
        Ok(socket)
    }

    /// Waits until there is something to receive.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await.map(drop)
    }

    /// Receives bytes, and at most `most` descriptors, into `descriptors`; 0 bytes is the end,
    /// `None` that nothing has come. A receive ends after bytes that were sent together with
    /// descriptors. Of these only pidfds are there, and where sockets are parked stand-ins for those;
    /// for all others there are stand-ins, too.
    pub(crate) async fn receive(
        self: &Arc<Self>,
        buffer: &mut [u8],
        most: usize,
        descriptors: &mut Vec<OwnedFd>,
    ) -> io::Result<Option<usize>> {
        let room = buffer.len().min(MOST_BYTES);
        match self.look(&mut buffer[..room])? {
            Some((count, true)) => {
                self.take(count, most, descriptors).await?;
                Ok(Some(count))
            }
            looked => Ok(looked.map(|(count, _)| count)),
        }
    }

    /// As [`look`], when there is something.
    fn look(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, bool)>> {
        let mut looked = None;
        let tried = self.stream.try_io(Interest::READABLE, |stream| {
            let (count, with_descriptors) = look(stream, buffer)?;
            looked = Some((count, with_descriptors));
            // A short read without descriptors has emptied the socket. Saying so makes the next
            // read wait for news, instead of asking the kernel in vain.
            let emptied = count < buffer.len() && !with_descriptors;
            if emptied { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match tried {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(looked),
        }
    }

    /// Has bytes that were looked at taken off, with the descriptors that came along.
    async fn take(
        self: &Arc<Self>,
        bytes: usize,
        most: usize,
        descriptors: &mut Vec<OwnedFd>,
    ) -> io::Result<()> {
        let request = Request { bytes, most, sockets: self.parked.is_some() };
        // In a task of its own: what is begun is carried on, also when the connection ends.
        let taking = self.last.closer.clone().take(Arc::clone(self), request);
        let came = tokio::spawn(taking).await.map_err(io::Error::other)??;
        let is_excess = came.count > came.first.len();
        for one in came.first {
            descriptors.push(self.keep(one)?);
        }
        if is_excess { Err(Violation::ManyDescriptors.into()) } else { Ok(()) }
    }

    /// A pidfd as it is; for anything else a stand-in, which is no pidfd either.
    fn keep(&self, came: (Kind, Option<OwnedFd>)) -> io::Result<OwnedFd> {
        match (came, &self.parked) {
            ((Kind::Pidfd, Some(pidfd)), _) => Ok(pidfd),
            ((Kind::Socket, Some(socket)), Some(parked)) => parked.keep(socket),
            _ => stand_in(),
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
