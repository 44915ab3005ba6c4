//! A client that costs next to nothing: messages are made in advance, one write, one read, no
//! event loop. What is left is what the kernel and the daemon take.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use cgroupd_proto::{INTERFACE, OBJECT_PATH, cgmanager};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use zbus::Message;
use zbus::export::serde::Serialize;
use zbus::zvariant::DynamicType;

/// Everything a client has to say before its first call; no answer is waited for.
const GREETING: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";
/// How many lines the daemon answers to [`GREETING`].
const ANSWERS: usize = 3;

/// A list of nothing, as most calls have one.
pub(crate) const NONE: &[&str] = &[];

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: UnixStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Client {
    /// Connects and makes the first call, all in one write.
    pub(crate) fn connect(socket: &Path, first: &[u8]) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        let mut client = Self { stream, buffer: vec![0; 64 << 10], filled: 0 };
        client.stream.write_all(&[GREETING, first].concat())?;
        client.skip_lines(ANSWERS)?;
        client.reply()?;
        Ok(client)
    }

    /// Connects to a server that sends back what it gets.
    pub(crate) fn connect_plain(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        Ok(Self { stream, buffer: vec![0; 64 << 10], filled: 0 })
    }

    /// One call; the answer must be a method return.
    pub(crate) fn call(&mut self, message: &[u8]) -> io::Result<()> {
        self.stream.write_all(message)?;
        self.reply()
    }

    /// One call with a descriptor.
    pub(crate) fn call_with(&mut self, message: &[u8], descriptor: impl AsFd) -> io::Result<()> {
        let descriptors = [descriptor.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(&self.stream, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)?;
        self.reply()
    }

    /// Sends bytes and waits for as many.
    pub(crate) fn echo(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.read_exact(&mut self.buffer[..bytes.len()])
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.filled * 2, 0);
        }
        match self.stream.read(&mut self.buffer[self.filled..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.filled += count;
                Ok(())
            }
        }
    }

    fn skip_lines(&mut self, lines: usize) -> io::Result<()> {
        loop {
            let bytes = &self.buffer[..self.filled];
            let ends = bytes.windows(2).enumerate().filter(|(_, pair)| *pair == b"\r\n");
            if let Some((at, _)) = ends.take(lines).nth(lines - 1) {
                self.buffer.copy_within(at + 2..self.filled, 0);
                self.filled -= at + 2;
                return Ok(());
            }
            self.fill()?;
        }
    }

    /// Waits for one whole reply at the front of the buffer.
    fn wait(&mut self) -> io::Result<usize> {
        loop {
            if let Some(length) = message_length(&self.buffer[..self.filled])
                && self.filled >= length
            {
                return Ok(length);
            }
            self.fill()?;
        }
    }

    fn reply(&mut self) -> io::Result<()> {
        const METHOD_RETURN: u8 = 2;
        let length = self.wait()?;
        let bytes = &self.buffer[..length];
        if bytes[1] != METHOD_RETURN {
            return Err(io::Error::other(error_text(bytes)));
        }
        self.take(length);
        Ok(())
    }

    fn take(&mut self, length: usize) {
        self.buffer.copy_within(length..self.filled, 0);
        self.filled -= length;
    }
}

/// The text of an error: a body of one string.
fn error_text(message: &[u8]) -> String {
    let head = message.get(4..8).and_then(|bytes| bytes.try_into().ok());
    let body = head.map_or(0, u32::from_le_bytes) as usize;
    let text = message.len().checked_sub(body).and_then(|start| message.get(start + 4..));
    String::from_utf8_lossy(text.unwrap_or_default()).trim_end_matches('\0').to_owned()
}

/// The length of the little-endian message at the front, as soon as it can be told.
fn message_length(bytes: &[u8]) -> Option<usize> {
    let number = |at: usize| -> Option<usize> {
        let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    Some(16 + number(12)?.next_multiple_of(8) + number(4)?)
}

/// A call of the native API, ready to be sent.
pub(crate) fn call<B: Serialize + DynamicType>(member: &str, body: &B) -> Vec<u8> {
    build(OBJECT_PATH, INTERFACE, member, body)
}

/// A call of cgmanager's interface, ready to be sent.
pub(crate) fn old_call<B: Serialize + DynamicType>(member: &str, body: &B) -> Vec<u8> {
    build(cgmanager::OBJECT_PATH, cgmanager::INTERFACE, member, body)
}

/// `org.freedesktop.DBus.Peer.Ping`, ready to be sent.
pub(crate) fn ping() -> Vec<u8> {
    build("/", "org.freedesktop.DBus.Peer", "Ping", &())
}

fn build<B: Serialize + DynamicType>(
    path: &str,
    interface: &str,
    member: &str,
    body: &B,
) -> Vec<u8> {
    let message = Message::method_call(path, member).interface(interface).build(body);
    message.expect("names and bodies are constants of this program").data().to_vec()
}
