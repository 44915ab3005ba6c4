//! The socket that zbus reads the bus through. zbus would allocate whatever length a header
//! claims and give up the connection over a header field it does not know; everybody's calls
//! come through this one connection, so neither may be a stranger's to cause.
//!
//! What is too long arrives as its header alone, marked; what zbus would not understand does
//! not arrive at all.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use zbus::Message;
use zbus::connection::socket::{ReadHalf, Split, WriteHalf};
use zbus::export::async_trait::async_trait;

use crate::accounting::Account;
use crate::transport::closing::Closers;
use crate::transport::header::{self, FIXED};
use crate::transport::socket::Socket;

/// A header flag that D-Bus does not use, and that no message brings in here from outside: the
/// message was too long, and its body is not there.
const CUT: u8 = 0x80;
/// Where the flags are in a header, and where the length of the body.
const FLAGS: usize = 2;
const BODY_LENGTH: std::ops::Range<usize> = 4..8;

/// To whom the descriptors that come through the bus are charged: whose they are is not known when
/// they come.
const STRANGERS: Account = Account::Unidentified;
/// The account of a connection that asks for no descriptors: it has none to close.
const UNUSED: Account = Account::HostRoot;
/// What one read takes when nothing longer is expected.
const READ_AHEAD: usize = 16 << 10;
/// The most bytes of a message that is copied to go out with others.
const SHORT: usize = 4 << 10;
/// The most descriptors the kernel passes at once; how many a call may have is judged later,
/// when it is known whose call it is.
const MOST_DESCRIPTORS: usize = 253;

/// Whether the message came without its body, because it was longer than allowed.
pub(super) fn is_cut(message: &Message) -> bool {
    message.primary_header().flags().bits() & CUT != 0
}

/// Both halves of a connection on which nothing has been said yet.
///
/// When too many helper processes hang because of what came through the bus the connection ends, and
/// the next one asks for no descriptors: callers then have the private socket for those.
pub(super) fn sieve(
    stream: UnixStream,
    closers: &Arc<Closers>,
    longest: usize,
) -> io::Result<Split<Box<dyn ReadHalf>, Box<dyn WriteHalf>>> {
    let descriptors_pass = !closers.of(STRANGERS).takes_none();
    let account = if descriptors_pass { STRANGERS } else { UNUSED };
    let socket = Arc::new(Socket::new(stream, closers.of(account))?);
    let reader = Reader {
        socket: Arc::clone(&socket),
        descriptors_pass,
        longest,
        // A bus answers AUTH and NEGOTIATE_UNIX_FD with a line each; messages follow.
        lines: 1 + usize::from(descriptors_pass),
        buffer: vec![0; READ_AHEAD],
        start: 0,
        end: 0,
        received: 0,
        descriptors: VecDeque::new(),
        ready: 0,
        skip: 0,
    };
    Ok(Split::new(Box::new(reader), Box::new(Writer { socket, descriptors_pass })))
}

#[derive(Debug)]
struct Reader {
    socket: Arc<Socket>,
    descriptors_pass: bool,
    longest: usize,
    /// Lines of the handshake still to come.
    lines: usize,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes received in all.
    received: u64,
    /// Descriptors, with how many bytes had been received when they came. The kernel ends a read
    /// behind them, so they belong to the message that holds the last of these bytes.
    descriptors: VecDeque<(u64, OwnedFd)>,
    /// How much of the message at the front zbus may still take.
    ready: usize,
    /// How much to drop before the next message begins.
    skip: usize,
}

/// What the message at the front calls for.
enum Front {
    /// More of it, up to this length.
    Incomplete(usize),
    /// Handing over so much, and dropping so much after it.
    Whole(usize, usize),
    /// Dropping it: so much.
    Unfit(usize),
}

impl Reader {
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Brings the next message to the front; `None` at the end of the stream.
    async fn next_message(&mut self) -> io::Result<Option<Vec<OwnedFd>>> {
        loop {
            self.drop_skipped();
            let wanted = match self.front()? {
                Front::Whole(length, rest) => {
                    (self.ready, self.skip) = (length, rest);
                    let descriptors = self.take_descriptors(length + rest);
                    return Ok(Some(descriptors));
                }
                Front::Unfit(length) => {
                    self.take_descriptors(length);
                    self.skip = length;
                    continue;
                }
                Front::Incomplete(wanted) => wanted,
            };
            if !self.fill(wanted).await? {
                return Ok(None);
            }
        }
    }

    fn front(&mut self) -> io::Result<Front> {
        let longest = self.longest;
        let bytes = &mut self.buffer[self.start..self.end];
        let Some(first) = bytes.first_chunk::<FIXED>() else {
            return Ok(Front::Incomplete(FIXED));
        };
        let length = header::length(first, usize::MAX)?;
        let head = header::length(&bodiless(*first), usize::MAX)?;
        let is_cut = length > longest;
        let wanted = if is_cut { head } else { length };
        if wanted > longest {
            return Ok(Front::Unfit(length));
        }
        if bytes.len() < wanted {
            return Ok(Front::Incomplete(wanted));
        }
        if header::announced_descriptors(&bytes[..head]).is_err() {
            return Ok(Front::Unfit(length));
        }
        bytes[FLAGS] &= !CUT;
        if is_cut {
            bytes[FLAGS] |= CUT;
            bytes[BODY_LENGTH].fill(0);
        }
        Ok(Front::Whole(wanted, length - wanted))
    }

    /// All that came with the first `length` bytes. zbus checks that there are enough.
    fn take_descriptors(&mut self, length: usize) -> Vec<OwnedFd> {
        let before = self.received - self.bytes().len() as u64 + length as u64;
        let count = self.descriptors.iter().take_while(|(came, _)| *came <= before).count();
        self.descriptors.drain(..count).map(|(_, descriptor)| descriptor).collect()
    }

    fn drop_skipped(&mut self) {
        let here = self.skip.min(self.bytes().len());
        self.start += here;
        self.skip -= here;
        // Those that came with dropped bytes must not pass for the next message's.
        self.take_descriptors(0);
    }

    /// Reads once, with room for `wanted` bytes at the front. False at the end of the stream.
    async fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let room = wanted.max(READ_AHEAD);
        if self.buffer.len() < room || self.end <= READ_AHEAD {
            self.buffer.resize(room, 0);
            self.buffer.shrink_to(room);
        }
        let mut descriptors = Vec::new();
        let count = self.receive(&mut descriptors).await?;
        self.end += count;
        self.received += count as u64;
        let came = self.received;
        self.descriptors.extend(descriptors.into_iter().map(|descriptor| (came, descriptor)));
        Ok(count > 0)
    }

    async fn receive(&mut self, descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
        loop {
            self.socket.readable().await?;
            let buffer = &mut self.buffer[self.end..];
            if let Some(count) = self.socket.receive(buffer, MOST_DESCRIPTORS, descriptors).await? {
                return Ok(count);
            }
        }
    }

    /// One line of the handshake, or a part of it.
    async fn read_line(&mut self) -> io::Result<()> {
        if self.bytes().is_empty() && !self.fill(0).await? {
            return Ok(());
        }
        let line = self.bytes().iter().position(|byte| *byte == b'\n');
        self.lines -= usize::from(line.is_some());
        self.ready = line.map_or(self.bytes().len(), |at| at + 1);
        Ok(())
    }
}

/// The same header with nothing after it.
fn bodiless(mut first: [u8; FIXED]) -> [u8; FIXED] {
    first[BODY_LENGTH].fill(0);
    first
}

#[async_trait]
impl ReadHalf for Reader {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let mut descriptors = Vec::new();
        if self.ready == 0 && self.lines > 0 {
            self.read_line().await?;
        } else if self.ready == 0 {
            descriptors = self.next_message().await?.unwrap_or_default();
        }
        let length = buffer.len().min(self.ready);
        buffer[..length].copy_from_slice(&self.bytes()[..length]);
        self.start += length;
        self.ready -= length;
        Ok((length, descriptors))
    }

    fn can_pass_unix_fd(&self) -> bool {
        self.descriptors_pass
    }
}

#[derive(Debug)]
struct Writer {
    socket: Arc<Socket>,
    descriptors_pass: bool,
}

#[async_trait]
impl WriteHalf for Writer {
    async fn sendmsg(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.socket.send(bytes, fds).await.map(|()| bytes.len())
    }

    /// Under a flood of refusals one system call takes many of them.
    async fn send_messages(&mut self, messages: &[Message]) -> zbus::Result<()> {
        for messages in messages.chunk_by(|one, next| is_plain(one) && is_plain(next)) {
            match messages {
                [single] => self.send_message(single).await?,
                _ => {
                    let bytes: Vec<&[u8]> = messages.iter().map(|one| &one.data()[..]).collect();
                    self.socket.send(&bytes.concat(), &[]).await?;
                }
            }
        }
        Ok(())
    }

    async fn close(&mut self) -> io::Result<()> {
        self.socket.shut_down();
        Ok(())
    }

    fn can_pass_unix_fd(&self) -> bool {
        self.descriptors_pass
    }
}

/// Whether a message may go out together with others: a long one is not copied for that.
fn is_plain(message: &Message) -> bool {
    message.data().fds().is_empty() && message.data().len() <= SHORT
}

#[cfg(test)]
mod tests;
