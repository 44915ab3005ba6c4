//! What a peer has sent and nobody has taken yet: a small buffer, and the descriptors that came
//! with its bytes. It reads ahead as far as the buffer goes, so a call costs one system call; a
//! longer message grows it by what has really arrived, never by what a header claims. While
//! nothing is there, nothing is held.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::socket::Socket;
use super::{Violation, header};

/// How much is read at once. Calls are a few hundred bytes.
const READ_AHEAD: usize = 2048;

/// Received bytes and descriptors.
#[derive(Debug)]
pub(crate) struct Inbox {
    socket: Arc<Socket>,
    most_descriptors: usize,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    descriptors: Vec<OwnedFd>,
    /// How many of `descriptors` came with the last read.
    fresh: usize,
}

impl Inbox {
    pub(crate) fn new(socket: Arc<Socket>, most_descriptors: usize) -> Self {
        Self {
            socket,
            most_descriptors,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            descriptors: Vec::new(),
            fresh: 0,
        }
    }

    /// What has come and was not taken.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Whether descriptors are waiting for the message they belong to.
    pub(crate) fn has_descriptors(&self) -> bool {
        !self.descriptors.is_empty()
    }

    /// Whether a message of `length` bytes needs more memory than any connection may have.
    pub(crate) fn must_grow_for(&self, length: usize) -> bool {
        length > READ_AHEAD
    }

    /// Takes `length` bytes off the front.
    pub(crate) fn consume(&mut self, length: usize) {
        self.start += length;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.buffer = Vec::new();
        }
    }

    /// Reads once, when the message at the front is not complete; `wanted` is its length, as far
    /// as it is known. False at the end of the stream.
    pub(crate) async fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        if self.descriptors.len() > self.most_descriptors {
            return Err(Violation::ManyDescriptors.into());
        }
        let before = self.descriptors.len();
        loop {
            self.socket.readable().await?;
            self.make_room(wanted);
            let room = &mut self.buffer[self.end..];
            let most = self.most_descriptors;
            if let Some(received) = self.socket.receive(room, most, &mut self.descriptors).await? {
                self.end += received;
                self.fresh = self.descriptors.len() - before;
                return Ok(received > 0);
            }
        }
    }

    /// A long message gets twice what has arrived, and never more than its length: so nothing
    /// else is in a long buffer, and it goes with its message.
    fn make_room(&mut self, wanted: usize) {
        if self.buffer.is_empty() {
            self.buffer = vec![0; READ_AHEAD];
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            let length = wanted.min(2 * self.buffer.len());
            self.buffer.resize(length, 0);
        }
    }

    /// The descriptors of the message at the front, which is `length` bytes long and all here:
    /// exactly as many as its header announces.
    ///
    /// Descriptors come with some byte of their message. So those of earlier reads are this
    /// message's, and those of the last read are this one's or belong to what follows in the
    /// buffer, as when a client sends several messages at once.
    pub(crate) fn take_descriptors(&mut self, length: usize) -> Result<Vec<OwnedFd>, Violation> {
        let announced = header::announced_descriptors(&self.bytes()[..length])? as usize;
        if announced > self.most_descriptors {
            return Err(Violation::ManyDescriptors);
        }
        if announced > self.descriptors.len() {
            return Err(Violation::MissingDescriptors);
        }
        let left = self.descriptors.len() - announced;
        let nothing_follows = self.bytes().len() == length;
        if left > self.fresh || (left > 0 && nothing_follows) {
            return Err(Violation::ExcessDescriptors);
        }
        self.fresh = self.fresh.min(left);
        Ok(self.descriptors.drain(..announced).collect())
    }
}
