//! The socket that zbus gets: it hands over whole, checked messages and exactly their
//! descriptors, one message at a time, and gives up on a peer that does not take its replies.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use zbus::Message;
use zbus::connection::socket::{ReadHalf, Split, WriteHalf};
use zbus::export::async_trait::async_trait;

use super::header::{self, FIXED};
use super::inbox::Inbox;
use super::socket::Socket;
use super::{Limits, Violation};

/// Lets one call in at a time. The next waits in the kernel's buffer, which is charged to whoever
/// sent it, so what a pipelining peer can make the daemon hold is one message.
#[derive(Clone, Debug)]
pub(crate) struct Turn(Arc<Semaphore>);

impl Turn {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// The call that was let in is answered.
    pub(crate) fn next(&self) {
        self.0.add_permits(1);
    }

    async fn wait(&self) {
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

/// The guarded halves of an authenticated connection.
pub(crate) fn guard(
    socket: Arc<Socket>,
    inbox: Inbox,
    negotiated: bool,
    turn: Turn,
    limits: &Limits,
) -> Split<Box<dyn ReadHalf>, Box<dyn WriteHalf>> {
    let reader =
        Reader { inbox, message: 0, turn, admitted: false, longest: limits.message_in, negotiated };
    let deadline = Duration::from_secs(limits.write_seconds);
    Split::new(Box::new(reader), Box::new(Writer { socket, deadline, negotiated }))
}

#[derive(Debug)]
struct Reader {
    inbox: Inbox,
    /// How much of the message at the front zbus has not taken yet.
    message: usize,
    turn: Turn,
    /// Whether the message at the front was let in already.
    admitted: bool,
    longest: usize,
    negotiated: bool,
}

impl Reader {
    /// Waits until a whole message is at the front; `None` at the end of the stream.
    async fn next_message(&mut self) -> io::Result<Option<Vec<OwnedFd>>> {
        loop {
            let length = match self.inbox.bytes().first_chunk::<FIXED>() {
                Some(first) => header::length(first, self.longest)?,
                None => 0,
            };
            let complete = length != 0 && self.inbox.bytes().len() >= length;
            if complete || self.inbox.must_grow_for(length) {
                self.admit().await;
            }
            if complete {
                self.admitted = false;
                self.message = length;
                return Ok(Some(self.inbox.take_descriptors(length)?));
            }
            if !self.inbox.fill(length).await? {
                return Ok(None);
            }
            if self.inbox.has_descriptors() && !self.negotiated {
                return Err(Violation::EarlyDescriptors.into());
            }
        }
    }

    async fn admit(&mut self) {
        if !self.admitted {
            self.turn.wait().await;
            self.admitted = true;
        }
    }
}

#[async_trait]
impl ReadHalf for Reader {
    /// zbus asks for the fixed header, then for the rest; the descriptors go with the former.
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let mut descriptors = Vec::new();
        if self.message == 0 {
            match self.next_message().await? {
                Some(taken) => descriptors = taken,
                None => return Ok((0, descriptors)),
            }
        }
        let length = buffer.len().min(self.message);
        buffer[..length].copy_from_slice(&self.inbox.bytes()[..length]);
        self.inbox.consume(length);
        self.message -= length;
        Ok((length, descriptors))
    }

    fn can_pass_unix_fd(&self) -> bool {
        self.negotiated
    }
}

#[derive(Debug)]
struct Writer {
    socket: Arc<Socket>,
    deadline: Duration,
    negotiated: bool,
}

#[async_trait]
impl WriteHalf for Writer {
    /// A message that is not taken in time leaves the stream in its middle: the connection ends.
    async fn send_message(&mut self, message: &Message) -> zbus::Result<()> {
        let data = message.data();
        let descriptors: Vec<BorrowedFd<'_>> = data.fds().iter().map(AsFd::as_fd).collect();
        let sending = self.socket.send(data, &descriptors);
        let sent = tokio::time::timeout(self.deadline, sending).await;
        let sent = sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        Ok(sent.inspect_err(|_| self.socket.shut_down())?)
    }

    async fn close(&mut self) -> io::Result<()> {
        self.socket.shut_down();
        Ok(())
    }

    fn can_pass_unix_fd(&self) -> bool {
        self.negotiated
    }
}
