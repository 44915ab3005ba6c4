//! The conversation of an Scm call, on a socket that its maker has handed over and still shares: it
//! asks for credentials with a byte, and tells the result. It runs on a thread of its own, for
//! receiving takes locks that the other end can hold; whoever is silent is not waited for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::sockopt::socket_acceptconn;

use crate::caller::{Caller, Moment, Passed};
use crate::policy::OVERFLOW_ID;
use crate::sys::scm::{self, Credentials, Received};

/// How long the other end may be silent.
const SILENCE: Duration = Duration::from_secs(2);
/// How long all of it may take, but for the work.
const WHOLE: Duration = Duration::from_secs(10);
/// Between looks at a socket that says it is ready, and is not.
const PAUSE: Duration = Duration::from_millis(2);
/// Messages that nobody asked for, at most, before each question.
const UNASKED: usize = 64;
/// What it is asked with.
const ASK: u8 = b'1';

/// One end of a connected UNIX socket of any type. What is left in it, and what comes over it, is
/// closed on the thread of the conversation.
#[derive(Debug)]
pub(super) struct Talk<'a> {
    socket: OwnedFd,
    /// Whose messages all are that are sent: it may lead them to somebody who believes in
    /// credentials, and the daemon's own would be root's.
    proxy: &'a Caller,
    has_pidfds: bool,
    end: Instant,
}

/// Whether a socket of its own is fit for it. Its options are not touched here: what sets them waits
/// for a lock that its maker can hold.
pub(super) fn is_fit(socket: impl AsFd) -> bool {
    socket_acceptconn(socket) == Ok(false)
}

impl<'a> Talk<'a> {
    /// Begins, in the name of `proxy`.
    ///
    /// # Errors
    /// What setting the socket's options answers.
    pub(super) fn over(socket: OwnedFd, proxy: &'a Caller) -> io::Result<Self> {
        let has_pidfds = scm::pass_credentials(&socket)?;
        Ok(Self { socket, proxy, has_pidfds, end: Instant::now() + WHOLE })
    }

    /// How long it may go on.
    pub(super) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Asks for credentials: those the other end sends, or its own, which the kernel fills in.
    ///
    /// # Errors
    /// When it is silent, has gone, or sends none.
    pub(super) fn ask(&self) -> io::Result<Passed> {
        let after = match self.has_pidfds {
            true => Moment::now()?,
            false => Moment::after_all_before()?,
        };
        self.drop_what_nobody_asked_for()?;
        self.send(&[ASK])?;
        let received = self.receive()?;
        match received.bytes {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(Passed::new(received, after, self.has_pidfds)?),
        }
    }

    /// What is received was sent after the moment of asking.
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
        let silent = Instant::now() + SILENCE;
        while Instant::now() < silent {
            self.wait_for(PollFlags::POLLIN)?;
            match self.take() {
                // One that is shut down for receiving is ready for ever, and has nothing.
                Err(Errno::EAGAIN | Errno::EINTR) => std::thread::sleep(PAUSE),
                received => return Ok(received?),
            }
        }
        Err(io::ErrorKind::TimedOut.into())
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
    /// When the other end has gone, or does not take them, or the proxy has gone.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let Caller { uid, gid, ref process, .. } = *self.proxy;
        self.send_as(bytes, Credentials { pid: process.pid, uid, gid })
    }

    /// Sends a process, as a number that the kernel translates for whoever receives it. The ids are
    /// nobody's: with its own, they would say that it asks.
    ///
    /// # Errors
    /// As [`Self::send`], and ESRCH when there is no such process any more.
    pub(super) fn send_process(&self, byte: u8, pid: i32) -> io::Result<()> {
        self.send_as(&[byte], Credentials { pid, uid: OVERFLOW_ID, gid: OVERFLOW_ID })
    }

    fn send_as(&self, mut bytes: &[u8], sender: Credentials) -> io::Result<()> {
        loop {
            // Its number is nobody else's yet.
            self.proxy.process.check_alive()?;
            match scm::send(&self.socket, bytes, sender) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(Errno::EAGAIN) => {
                    self.wait_for(PollFlags::POLLOUT)?;
                    std::thread::sleep(PAUSE);
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Waits for the other end.
    fn wait_for(&self, event: PollFlags) -> io::Result<()> {
        let left = self.left().min(SILENCE);
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
