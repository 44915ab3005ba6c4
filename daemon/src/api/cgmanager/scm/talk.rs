//! The conversation of an Scm call, on a socket that its maker has handed over and still shares: it
//! asks for credentials with a byte, and tells the result. It runs on a thread of its own, for
//! receiving takes locks that the other end can hold; whoever is silent is not waited for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::sockopt::socket_acceptconn;

use crate::caller::{Moment, Passed};
use crate::sys::scm::{self, Credentials, Received};

/// How long the other end may be silent.
const SILENCE: Duration = Duration::from_secs(2);
/// How long all of it may take, but for the work.
const WHOLE: Duration = Duration::from_secs(10);
/// Messages that nobody asked for, at most, before each question.
const UNASKED: usize = 64;
/// What it is asked with.
const ASK: u8 = b'1';

/// One end of a connected UNIX socket of any type. What is left in it, and what comes over it, is
/// closed on the thread of the conversation.
#[derive(Debug)]
pub(super) struct Talk {
    socket: OwnedFd,
    /// Whose messages all are that are sent: the caller may lead them to somebody who believes in
    /// credentials, and the daemon's own would be root's.
    sender: Credentials,
    has_pidfds: bool,
    end: Instant,
}

/// Makes a socket fit for it; whether the kernel attaches pidfds.
///
/// # Errors
/// EINVAL for one that listens; what setting its options answers.
pub(super) fn prepare(socket: impl AsFd) -> io::Result<bool> {
    if socket_acceptconn(&socket)? {
        return Err(Errno::EINVAL.into());
    }
    Ok(scm::pass_credentials(&socket)?)
}

impl Talk {
    /// Begins on a socket that was prepared, in the name of `sender`.
    pub(super) fn over(socket: OwnedFd, sender: Credentials, has_pidfds: bool) -> Self {
        Self { socket, sender, has_pidfds, end: Instant::now() + WHOLE }
    }

    /// Asks for credentials: those the other end sends, or its own, which the kernel fills in.
    ///
    /// # Errors
    /// When it is silent, has gone, or sends none.
    pub(super) fn ask(&self) -> io::Result<Passed> {
        self.drop_what_nobody_asked_for()?;
        let after = match self.has_pidfds {
            true => Moment::now()?,
            false => Moment::after_all_before()?,
        };
        self.send(&[ASK])?;
        let received = self.receive()?;
        match received.bytes {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(Passed::new(received, after)?),
        }
    }

    /// What is received was sent after it was asked for.
    fn drop_what_nobody_asked_for(&self) -> io::Result<()> {
        for _ in 0..UNASKED {
            match self.take() {
                Ok(Received { bytes: 0, .. }) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Errno::EBUSY.into())
    }

    fn receive(&self) -> io::Result<Received> {
        loop {
            self.wait_for(PollFlags::POLLIN)?;
            match self.take() {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                received => return Ok(received?),
            }
        }
    }

    /// One message; descriptors that come with it are nobody's.
    fn take(&self) -> nix::Result<Received> {
        let mut received = scm::receive(&self.socket, &mut [0])?;
        received.descriptors.clear();
        Ok(received)
    }

    /// Sends bytes; in one piece, where the socket has pieces.
    ///
    /// # Errors
    /// When the other end has gone, or does not take them.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.send_as(bytes, self.sender)
    }

    /// Sends a process, as credentials that the kernel translates for whoever receives them.
    ///
    /// # Errors
    /// As [`Self::send`], and when there is no such process any more.
    pub(super) fn send_process(&self, byte: u8, pid: i32) -> io::Result<()> {
        self.send_as(&[byte], Credentials { pid, ..self.sender })
    }

    fn send_as(&self, mut bytes: &[u8], sender: Credentials) -> io::Result<()> {
        loop {
            match scm::send(&self.socket, bytes, sender) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(Errno::EAGAIN) => self.wait_for(PollFlags::POLLOUT)?,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    fn wait_for(&self, event: PollFlags) -> io::Result<()> {
        let left = self.end.saturating_duration_since(Instant::now()).min(SILENCE);
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut polled = [PollFd::new(self.socket.as_fd(), event)];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut polled, timeout) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}
