//! A client that sends raw bytes and descriptors.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::message::{self, Draft, Reply, ping};

/// With this in its environment, this program is a peer that connects to the path in it.
pub(crate) const AS_PEER: &str = "CGROUPD_TEST_PEER";

/// Longer than any deadline of the servers here.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Peer {
    pub(crate) stream: UnixStream,
    serial: u32,
}

impl From<UnixStream> for Peer {
    fn from(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        stream.set_write_timeout(Some(PATIENCE)).expect("a deadline");
        Self { stream, serial: 0 }
    }
}

impl Peer {
    pub(crate) fn connect(path: &Path) -> io::Result<Self> {
        UnixStream::connect(path).map(Self::from)
    }

    /// The whole handshake, a line at a time.
    pub(crate) fn authenticate(&mut self) -> io::Result<()> {
        self.send(b"\0AUTH EXTERNAL 30\r\n");
        self.line()?;
        self.send(b"NEGOTIATE_UNIX_FD\r\n");
        self.line()?;
        self.send(b"BEGIN\r\n");
        Ok(())
    }

    /// Sends as much as the server takes: it may close the connection meanwhile.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends bytes together with `count` descriptors, unless the server was faster to close.
    pub(crate) fn send_with(&mut self, bytes: &[u8], count: usize) {
        self.send_copies(bytes, &File::open("/dev/null").expect("/dev/null"), count);
    }

    /// As above, with a file that is open already.
    pub(crate) fn send_copies(&mut self, bytes: &[u8], file: &File, count: usize) {
        self.send_all(bytes, &vec![file.as_raw_fd(); count]);
    }

    /// As above, with these descriptors.
    pub(crate) fn send_all(&mut self, bytes: &[u8], descriptors: &[RawFd]) {
        let rights = [ControlMessage::ScmRights(descriptors)];
        let bytes = [IoSlice::new(bytes)];
        let sent = sendmsg::<()>(self.stream.as_raw_fd(), &bytes, &rights, MsgFlags::empty(), None);
        assert!(matches!(sent, Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET)), "{sent:?}");
    }

    pub(crate) fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        Ok(String::from_utf8(line).expect("an ASCII line"))
    }

    pub(crate) fn reply(&mut self) -> io::Result<Reply> {
        self.reply_with_body().map(|(reply, _)| reply)
    }

    pub(crate) fn reply_with_body(&mut self) -> io::Result<(Reply, Vec<u8>)> {
        let mut bytes = vec![0; 16];
        self.stream.read_exact(&mut bytes)?;
        bytes.resize(message::length(&bytes), 0);
        self.stream.read_exact(&mut bytes[16..])?;
        let body = bytes.split_off(message::body(&bytes));
        Ok((message::read(&bytes), body))
    }

    pub(crate) fn call(&mut self, draft: &Draft) -> io::Result<Reply> {
        self.stream.write_all(&draft.bytes())?;
        self.reply()
    }

    pub(crate) fn ping(&mut self) -> io::Result<()> {
        self.serial += 1;
        let reply = self.call(&ping(self.serial))?;
        assert_eq!(reply, Reply { kind: message::RETURN, to: self.serial });
        Ok(())
    }

    /// What the server still says before it closes the connection. Panics when it does not.
    pub(crate) fn last_words(&mut self) -> Vec<u8> {
        let mut words = Vec::new();
        match self.stream.read_to_end(&mut words) {
            Ok(_) => words,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => words,
            Err(error) => panic!("the connection was not closed: {error}"),
        }
    }

    /// The server closes the connection without a word.
    pub(crate) fn is_closed(&mut self) {
        assert_eq!(String::from_utf8_lossy(&self.last_words()), "");
    }
}

/// Connects, calls once, and prints how many microseconds that took.
pub(crate) fn be_a_peer(path: &Path) {
    let start = Instant::now();
    let served = Peer::connect(path).and_then(|mut peer| {
        peer.authenticate()?;
        peer.ping()
    });
    match served {
        Ok(()) => println!("{}", start.elapsed().as_micros()),
        Err(error) => println!("refused: {error}"),
    }
}

/// How long a peer with another uid waits for its first answer.
pub(crate) fn first_answer_as(uid: u32, path: &Path) -> Duration {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .env_clear()
        .env(AS_PEER, path)
        .uid(uid)
        .gid(uid)
        .output()
        .expect("start a peer");
    let text = String::from_utf8_lossy(&output.stdout);
    let micros = text.trim().parse().unwrap_or_else(|_| panic!("uid {uid}: {text}"));
    Duration::from_micros(micros)
}
