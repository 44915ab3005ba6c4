//! What an Scm call is answered at the end, as the original writes it: in the machine's byte order.

use std::io;

use nix::errno::Errno;

use super::talk::Talk;
use crate::caller::Process;
use crate::known;

/// What is told at the end.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Byte(u8),
    /// With a NUL behind it.
    Text(String),
    Empty,
    Processes(Vec<Listed>),
    /// How many there are, and all of them.
    Items(usize, String),
    /// Instead of the number of items.
    NoItems,
}

/// Done, or not.
pub(super) const DONE: Answer = Answer::Byte(b'1');
pub(super) const FAILED: Answer = Answer::Byte(b'0');

impl Answer {
    /// Tells it, message by message.
    ///
    /// # Errors
    /// When the other end has gone or does not take it, or a process has ended meanwhile.
    pub(super) fn tell(&self, talk: &Talk<'_>) -> io::Result<()> {
        match self {
            Self::Byte(byte) => talk.send(&[*byte]),
            Self::Text(text) => talk.send(&[text.as_bytes(), b"\0"].concat()),
            Self::Empty => talk.send(&[]),
            Self::NoItems => talk.send(&(-1i32).to_ne_bytes()),
            Self::Processes(pids) => {
                talk.send(&(pids.len() as i32).to_ne_bytes())?;
                tell_processes(pids, talk)
            }
            Self::Items(count, text) => {
                talk.send(&(*count as i32).to_ne_bytes())?;
                talk.send(&(text.len() as u32).to_ne_bytes())?;
                if *count > 0 { talk.send(text.as_bytes()) } else { Ok(()) }
            }
        }
    }
}

/// A process of a list. What is told may be held back for seconds, and the number be another's then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    pid: i32,
    /// When it was started.
    start: i64,
}

impl Listed {
    /// `None` for one that is gone.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM: it cannot be told.
    pub(super) fn new(pid: i32) -> nix::Result<Option<Self>> {
        let start = known(Process::pin(pid).and_then(|process| process.start_ticks()))?;
        Ok(start.map(|start| Self { pid, start }))
    }

    /// ESRCH when it is gone.
    fn pin(self) -> nix::Result<Process> {
        let process = Process::pin(self.pid)?;
        match process.start_ticks()? == self.start {
            true => Ok(process),
            false => Err(Errno::ESRCH),
        }
    }
}

/// As many as were announced: for one that has ended meanwhile, one that has not comes again.
fn tell_processes(listed: &[Listed], talk: &Talk<'_>) -> io::Result<()> {
    let mut missing = 0;
    let mut alive = None;
    let tell = |listed: Listed| talk.send_with(b"p", &listed.pin()?);
    for listed in listed {
        match tell(*listed) {
            Ok(()) => alive = Some(*listed),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => missing += 1,
            Err(error) => return Err(error),
        }
    }
    let again = |listed| (0..missing).try_for_each(|_| tell(listed));
    alive.map_or(Ok(()), again)
}
