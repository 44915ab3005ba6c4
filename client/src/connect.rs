//! The connection: one exchange of messages at a time, under one deadline. Only events, which may
//! never come, are waited for without one.
//!
//! A process that makes one call and ends needs no event loop. zbus encodes and decodes the
//! messages; the socket is read and written here, blocking. What the client says in the D-Bus
//! handshake does not depend on the answers, so it goes out in the same write as the first
//! calls, and all of it costs one round trip. A call that passes descriptors waits for the
//! handshake: before it they would be refused.

use std::{
    io::{self, BufRead, BufReader, IoSlice, Read, Write},
    marker::PhantomData,
    mem,
    num::NonZeroU32,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use cgroupd_proto::{EVENT, INTERFACE};
use nix::sys::socket::{self, AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType};
use serde::de::DeserializeOwned;
use zbus::{
    Message, Type, connection::socket::ReadHalf, export::async_trait::async_trait, message,
};

use crate::{
    address::Address,
    exit::words,
    request::{Event, Request},
};

/// Without a uid in it: what the kernel says of the caller counts, and in another user namespace
/// the number would not even be the daemon's.
const GREETING: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";
/// The same for whoever passes descriptors.
const GREETING_WITH_DESCRIPTORS: &[u8] =
    b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";
/// More than a D-Bus server says before its first message.
const MAX_ANSWER: u64 = 4096;

/// Why a call brought no answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// Nothing to connect to.
    Unreachable(io::Error),
    /// The daemon's answer is an error.
    Refused {
        /// Its D-Bus name.
        name: String,
        /// Its text, which may be empty.
        text: String,
    },
    /// The connection ended before the answer.
    Closed(String),
    /// The deadline passed.
    TimedOut,
    /// What came is not what was asked for.
    Garbled(String),
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::UnexpectedEof => Self::Closed("the daemon closed it".to_owned()),
            _ => Self::Closed(words(&error)),
        }
    }
}

impl From<zbus::Error> for CallError {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::InputOutput(error) => match error.raw_os_error() {
                Some(number) => io::Error::from_raw_os_error(number).into(),
                None => io::Error::from(error.kind()).into(),
            },
            error => Self::Garbled(error.to_string()),
        }
    }
}

/// The promise of an answer of type `R`.
#[must_use]
pub(crate) struct Ticket<R> {
    serial: NonZeroU32,
    reply: PhantomData<fn() -> R>,
}

/// A connection to the daemon.
#[derive(Debug)]
pub(crate) struct Link {
    socket: Socket,
    outbox: Vec<u8>,
    /// They leave with the first byte of the outbox.
    descriptors: Vec<OwnedFd>,
    greeted: bool,
}

impl Link {
    /// Connects; nothing is sent yet.
    pub(crate) fn open(address: &Address, deadline: Instant) -> Result<Self, CallError> {
        let stream = connect(address, remaining(deadline)?)?;
        let socket = Socket(BufReader::new(Timed { stream, deadline: Some(deadline) }));
        Ok(Self { socket, outbox: Vec::new(), descriptors: Vec::new(), greeted: false })
    }

    /// Queues a call. It leaves with the next [`Self::receive`].
    pub(crate) fn send<R>(&mut self, request: Request<R>) -> Result<Ticket<R>, CallError> {
        let message = request.message?;
        for descriptor in message.data().fds() {
            self.descriptors.push(descriptor.as_fd().try_clone_to_owned()?);
        }
        self.outbox.extend_from_slice(message.data());
        Ok(Ticket { serial: message.primary_header().serial_num(), reply: PhantomData })
    }

    /// Waits for the answer to a call. Answers that nobody waited for are passed over.
    pub(crate) fn receive<R>(&mut self, ticket: &Ticket<R>) -> Result<R, CallError>
    where
        R: DeserializeOwned + Type,
    {
        self.flush()?;
        loop {
            let message = self.socket.next_message()?;
            if message.header().reply_serial() != Some(ticket.serial) {
                continue;
            }
            return match message.message_type() {
                message::Type::Error => Err(refusal(&message)),
                _ => Ok(message.body().deserialize()?),
            };
        }
    }

    /// Waits for the next event of a watch, for as long as it takes: the deadline is for calls,
    /// and there is none any more.
    pub(crate) fn next_event(&mut self) -> Result<Event, CallError> {
        self.socket.0.get_mut().deadline = None;
        loop {
            let message = self.socket.next_message()?;
            let header = message.header();
            let is_ours = header.interface().is_some_and(|interface| interface == INTERFACE);
            if is_ours && header.member().is_some_and(|member| member == EVENT.member) {
                return Ok(message.body().deserialize()?);
            }
        }
    }

    fn flush(&mut self) -> Result<(), CallError> {
        let descriptors = mem::take(&mut self.descriptors);
        let outbox = mem::take(&mut self.outbox);
        if descriptors.is_empty() {
            let greeting = if self.greeted { &[] } else { GREETING };
            self.stream().write_all(&[greeting, &outbox].concat())?;
            return self.await_greeting(false);
        }
        if !self.greeted {
            self.stream().write_all(GREETING_WITH_DESCRIPTORS)?;
            self.await_greeting(true)?;
        }
        let sent = send_with(self.stream(), &outbox, &descriptors)?;
        Ok(self.stream().write_all(&outbox[sent..])?)
    }

    fn await_greeting(&mut self, descriptors: bool) -> Result<(), CallError> {
        if !self.greeted {
            self.socket.read_greeting(descriptors)?;
            self.greeted = true;
        }
        Ok(())
    }

    fn stream(&mut self) -> &mut UnixStream {
        &mut self.socket.0.get_mut().stream
    }
}

/// Sends at least one byte, and all descriptors with it.
fn send_with(stream: &UnixStream, bytes: &[u8], descriptors: &[OwnedFd]) -> io::Result<usize> {
    let numbers: Vec<i32> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let control = [ControlMessage::ScmRights(&numbers)];
    let bytes = [IoSlice::new(bytes)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    Ok(socket::sendmsg::<()>(stream.as_raw_fd(), &bytes, &control, flags, None)?)
}

fn refusal(message: &Message) -> CallError {
    let name = message.header().error_name().map(ToString::to_string).unwrap_or_default();
    let text = message.body().deserialize::<(String,)>().map(|(text,)| text).unwrap_or_default();
    CallError::Refused { name, text }
}

/// std cannot bound the time of a connect, and a stopped daemon with a full backlog would hold
/// it for ever.
fn connect(address: &Address, timeout: Duration) -> Result<UnixStream, CallError> {
    let open = || -> io::Result<UnixStream> {
        let to = address.to_socket_address()?;
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        let stream = UnixStream::from(socket);
        // The timeout of writes is that of connecting, too.
        stream.set_write_timeout(Some(timeout))?;
        socket::connect(stream.as_raw_fd(), &to)?;
        Ok(stream)
    };
    open().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => CallError::TimedOut,
        _ => CallError::Unreachable(error),
    })
}

fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    // A timeout below a microsecond would mean none to the kernel.
    if left < Duration::from_micros(1) { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// A stream that stops waiting at the deadline, if there is one.
#[derive(Debug)]
struct Timed {
    stream: UnixStream,
    deadline: Option<Instant>,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.deadline.map(remaining).transpose()?)?;
        self.stream.read(buffer)
    }
}

/// The receiving end, as zbus wants it.
#[derive(Debug)]
struct Socket(BufReader<Timed>);

#[async_trait]
impl ReadHalf for Socket {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        // No descriptor can come: none was negotiated.
        Ok((self.0.read(buffer)?, Vec::new()))
    }
}

impl Socket {
    /// Reads one message. The future never waits for anything but the blocking read within it,
    /// so one poll completes it.
    fn next_message(&mut self) -> Result<Message, CallError> {
        let (mut bytes, mut fds) = (Vec::new(), Vec::new());
        let reading = pin!(self.receive_message(0, &mut bytes, &mut fds));
        match reading.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(message) => Ok(message?),
            Poll::Pending => Err(CallError::Garbled("the message was not read".to_owned())),
        }
    }

    /// Reads the server's part of the handshake: `DATA`, an empty challenge, then `OK`, and where
    /// descriptors are passed `AGREE_UNIX_FD`.
    fn read_greeting(&mut self, descriptors: bool) -> Result<(), CallError> {
        let mut lines = (&mut self.0).take(MAX_ANSWER).split(b'\n');
        let mut answer = lines.next().transpose()?;
        if answer.as_deref().is_some_and(|line| line.trim_ascii() == b"DATA") {
            answer = lines.next().transpose()?;
        }
        let is_ok = answer.as_deref().is_some_and(|line| line.starts_with(b"OK "));
        if is_ok && descriptors {
            answer = lines.next().transpose()?;
        }
        match answer {
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Some(_) if is_ok && !descriptors => Ok(()),
            Some(line) if is_ok && line.trim_ascii() == b"AGREE_UNIX_FD" => Ok(()),
            Some(line) => {
                let line = String::from_utf8_lossy(&line);
                Err(CallError::Garbled(format!("the handshake was answered {:?}", line.trim())))
            }
        }
    }
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
