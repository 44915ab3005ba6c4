//! The conversation of an Scm call, on a socket that its maker has handed over and still shares: it
//! asks for credentials with a byte, and tells the result. It runs on a thread of its own, for
//! receiving takes locks that the other end can hold; whoever is silent is not waited for.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::sockopt::socket_acceptconn;

use crate::caller::{Moment, Passed, Process};
use crate::policy::OVERFLOW_ID;
use crate::sys::scm::{self, Credentials, Received};
use crate::transport::PeerSocket;

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

/// One end of a connected UNIX socket of any type.
#[derive(Debug)]
pub(super) struct Talk<'a> {
    socket: PeerSocket,
    /// Who has made the call: its number is in all that is sent.
    proxy: &'a Process,
    has_pidfds: bool,
    end: Instant,
}

/// Whether a socket of its own is fit for it. Its options are not touched here: what sets them waits
/// for a lock that its maker can hold.
pub(super) fn is_fit(socket: impl AsFd) -> bool {
    socket_acceptconn(socket) == Ok(false)
}

impl<'a> Talk<'a> {
    /// Begins, with the process `proxy`.
    ///
    /// # Errors
    /// What setting the socket's options answers.
    pub(super) fn over(socket: PeerSocket, proxy: &'a Process) -> io::Result<Self> {
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

    /// One message. Nobody has a reason to send descriptors: whoever does has ended it.
    fn take(&self) -> nix::Result<Received> {
        if self.socket.is_stuck() {
            return Err(Errno::EBUSY);
        }
        let mut received = scm::receive(&self.socket, &mut [0])?;
        if received.descriptors.is_empty() {
            return Ok(received);
        }
        received.descriptors.drain(..).for_each(|descriptor| self.socket.close(descriptor));
        Err(Errno::EPROTO)
    }

    /// Sends bytes; in one piece, where the socket has pieces.
    ///
    /// # Errors
    /// When the other end has gone, or does not take them, or the proxy has gone.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.send_with(bytes, self.proxy)
    }

    /// Sends bytes with a process, as a number that the kernel translates for whoever receives it.
    /// The ids are nobody's: whoever shares the socket may lead this to somebody who believes in
    /// credentials, to whom the daemon's would say that root asks, and the process's own that it does.
    ///
    /// # Errors
    /// As [`Self::send`], and ESRCH when there is no such process any more.
    pub(super) fn send_with(&self, mut bytes: &[u8], process: &Process) -> io::Result<()> {
        let sender = Credentials { pid: process.pid, uid: OVERFLOW_ID, gid: OVERFLOW_ID };
        loop {
            // Its number is nobody else's yet.
            process.check_alive()?;
            match scm::send(&self.socket, bytes, sender) {
                Ok(sent) if sent >= bytes.len() => return Ok(()),
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::EAGAIN) => {
                    self.wait_for(PollFlags::POLLOUT)?;
                    std::thread::sleep(PAUSE);
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
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
