//! A D-Bus client of bare bytes: it sends what well-behaved libraries would not, and its socket
//! can be handed to another process.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use zbus::Message;

use crate::need::patience;

/// A connection to a bus.
#[derive(Debug)]
pub struct Wire(UnixStream);

/// A message as it came.
#[derive(Debug)]
pub struct Received(Vec<u8>);

impl Wire {
    /// Connects and authenticates as this process.
    ///
    /// # Errors
    /// When the bus does not take it.
    pub fn connect(path: &Path) -> io::Result<Self> {
        Self::connect_with(path, &[])
    }

    /// As [`Self::connect`], with these messages in the same write as the handshake.
    ///
    /// # Errors
    /// As there.
    pub fn connect_with(path: &Path, messages: &[u8]) -> io::Result<Self> {
        let mut wire = Self(UnixStream::connect(path)?);
        let uid = nix::unistd::geteuid().to_string();
        let hex: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
        let hello = format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n");
        wire.0.write_all(&[hello.as_bytes(), messages].concat())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n") {
            let mut byte = [0];
            wire.0.read_exact(&mut byte)?;
            answer.extend(byte);
        }
        let accepted = answer.starts_with(b"OK ");
        accepted.then_some(wire).ok_or_else(|| io::Error::other("not authenticated"))
    }

    /// Goes on with a socket that somebody else has authenticated.
    #[must_use]
    pub fn inherited(socket: OwnedFd) -> Self {
        Self(socket.into())
    }

    /// Says Hello and returns the unique name.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub fn hello(&mut self) -> io::Result<String> {
        let driver = "org.freedesktop.DBus";
        let hello = Message::method_call("/org/freedesktop/DBus", "Hello");
        let hello = hello.destination(driver).interface(driver).build(&());
        let text = self.call(&hello.map_err(io::Error::other)?)?.text();
        let name = text.rsplit_once(":1.").map(|(_, number)| number.trim_end_matches('\0'));
        name.map(|number| format!(":1.{number}")).ok_or_else(|| io::Error::other("no name"))
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the bus has hung up.
    pub fn send(&mut self, message: &Message) -> io::Result<()> {
        self.0.write_all(message.data())
    }

    /// Sends bytes, whatever they are.
    ///
    /// # Errors
    /// When the bus has hung up.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Sends a call and waits for its answer, at most ten seconds.
    ///
    /// # Errors
    /// When there is none.
    pub fn call(&mut self, call: &Message) -> io::Result<Received> {
        self.send(call)?;
        self.reply_to(call.primary_header().serial_num().get())
    }

    /// Waits for the answer to the call with this number; other messages are dropped.
    ///
    /// # Errors
    /// When there is none within ten seconds.
    pub fn reply_to(&mut self, serial: u32) -> io::Result<Received> {
        loop {
            let received = self.receive()?;
            if received.reply_serial() == Some(serial) {
                return Ok(received);
            }
        }
    }

    /// The next answer to any call.
    ///
    /// # Errors
    /// When none comes within ten seconds.
    pub fn next_reply(&mut self) -> io::Result<Received> {
        loop {
            let received = self.receive()?;
            if received.reply_serial().is_some() {
                return Ok(received);
            }
        }
    }

    /// The next message.
    ///
    /// # Errors
    /// When none comes within ten seconds.
    pub fn receive(&mut self) -> io::Result<Received> {
        self.0.set_read_timeout(Some(patience(Duration::from_secs(10))))?;
        let mut bytes = vec![0; 16];
        self.0.read_exact(&mut bytes)?;
        let fixed = Received(bytes.clone());
        let body = fixed.number(4).unwrap_or(0) as usize;
        let fields = fixed.number(12).unwrap_or(0) as usize;
        bytes.resize(16 + fields.next_multiple_of(8) + body, 0);
        self.0.read_exact(&mut bytes[16..])?;
        Ok(Received(bytes))
    }

    /// Another handle on the same connection.
    ///
    /// # Errors
    /// When no descriptors are left.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// The socket.
    #[must_use]
    pub fn into_socket(self) -> OwnedFd {
        self.0.into()
    }
}

impl Received {
    /// Whether it is an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.0[1] == 3
    }

    /// Header fields and body as they are, for a search.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// All of it, but for the sender's serial number.
    #[must_use]
    pub fn without_serial(&self) -> Vec<u8> {
        [&self.0[..8], &[0; 4], &self.0[12..]].concat()
    }

    /// The body's bytes.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        let fields = self.number(12).unwrap_or(0) as usize;
        self.0.get(16 + fields.next_multiple_of(8)..).unwrap_or_default()
    }

    /// The value that follows `key` in a dictionary of strings.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<String> {
        let size = u32::try_from(key.len()).ok()?.to_le_bytes();
        let text = [&size, key.as_bytes(), b"\0"].concat();
        let at = self.0.windows(text.len()).position(|window| window == text)? + text.len();
        let at = at.next_multiple_of(4);
        let length = self.number(at)? as usize;
        let value = self.0.get(at + 4..at + 4 + length)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// The call it answers: the field REPLY_SERIAL, code 5, type `u`.
    #[must_use]
    pub fn reply_serial(&self) -> Option<u32> {
        let mark = [5, 1, b'u', 0];
        let mut chunks = self.0.chunks_exact(8);
        let at = chunks.position(|chunk| chunk.starts_with(&mark))? * 8 + 4;
        self.number(at)
    }

    fn number(&self, at: usize) -> Option<u32> {
        let bytes = *self.0.get(at..)?.first_chunk()?;
        let is_big = self.0.first() == Some(&b'B');
        Some(if is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }
}
