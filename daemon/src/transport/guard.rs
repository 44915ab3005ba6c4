//! The socket that zbus gets: it hands over whole, checked messages and exactly their
//! descriptors, one message at a time, and gives up on a peer that does not take its replies.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use zbus::Message;
use zbus::connection::socket::{ReadHalf, Split, WriteHalf};
use zbus::export::async_trait::async_trait;

use super::header::{self, FIXED};
use super::inbox::Inbox;
use super::socket::Socket;
use super::{Limits, Violation};
use crate::accounting::{Bounds, Charge, Full};

/// Lets one call in at a time. The next waits in the kernel's buffer, which is charged to whoever
/// sent it, so what a pipelining peer can make the daemon hold is one message. A long one is charged
/// to its account until it is answered.
#[derive(Clone, Debug)]
pub(crate) struct Turn(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    free: Semaphore,
    bytes: Mutex<Charge>,
}

impl Turn {
    /// The turn of a connection; `bytes` is a charge of nothing yet.
    pub(crate) fn new(bytes: Charge) -> Self {
        Self(Arc::new(Shared { free: Semaphore::new(1), bytes: Mutex::new(bytes) }))
    }

    /// The call that was let in is answered.
    pub(crate) fn next(&self) {
        self.bytes().shrink(usize::MAX);
        self.0.free.add_permits(1);
    }

    /// Charges the message that was let in, or its reply.
    ///
    /// # Errors
    /// When the account's messages have too many bytes.
    pub(crate) fn charge(&self, bytes: usize) -> Result<(), Full> {
        self.bytes().grow(Bounds::charged_bytes(bytes), None)
    }

    fn bytes(&self) -> MutexGuard<'_, Charge> {
        self.0.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait(&self) {
        if let Ok(permit) = self.0.free.acquire().await {
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
    let deadline = Duration::from_secs(limits.write_seconds);
    let reader = Reader {
        inbox,
        message: 0,
        turn,
        admitted: false,
        longest: limits.message_in,
        negotiated,
        patience: deadline,
        begun: None,
    };
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
    /// How long the rest of a message may take, and a message that waits for bytes.
    patience: Duration,
    /// When the message at the front was seen first, if it is not complete.
    begun: Option<Instant>,
}

/// How long a message waits until bytes are asked for again.
const RETRY: Duration = Duration::from_millis(20);

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
                self.admit(length).await?;
            }
            if complete {
                self.begun = None;
                self.admitted = false;
                self.message = length;
                return Ok(Some(self.inbox.take_descriptors(length)?));
            }
            if !self.fill(length).await? {
                return Ok(None);
            }
            if self.inbox.has_descriptors() && !self.negotiated {
                return Err(Violation::EarlyDescriptors.into());
            }
        }
    }

    async fn admit(&mut self, length: usize) -> Result<(), Violation> {
        if !self.admitted {
            self.turn.wait().await;
            self.charge(length).await?;
            self.admitted = true;
        }
        Ok(())
    }

    /// Waits until the account has bytes for the message: it exists twice, where it is received and
    /// where zbus has it.
    async fn charge(&self, length: usize) -> Result<(), Violation> {
        let end = Instant::now() + self.patience;
        loop {
            match self.turn.charge(2 * length) {
                Ok(()) => return Ok(()),
                Err(full) if full.is_for_good() || Instant::now() > end => {
                    return Err(Violation::ManyBytes(full));
                }
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// Reads more of a message. Once it has begun, the rest must come in time.
    async fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        if self.inbox.bytes().is_empty() {
            self.begun = None;
            return self.inbox.fill(wanted).await;
        }
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let filled = tokio::time::timeout_at(begun + self.patience, self.inbox.fill(wanted));
        filled.await.unwrap_or_else(|_| Err(Violation::SlowMessage.into()))
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
