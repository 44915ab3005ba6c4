//! What an Scm call is answered at the end, as the original writes it: in the machine's byte order.

use std::io;

use super::talk::Talk;

/// What is told at the end.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Byte(u8),
    /// With a NUL behind it.
    Text(String),
    Empty,
    Processes(Vec<i32>),
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
    pub(super) fn tell(&self, talk: &Talk) -> io::Result<()> {
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

/// As many as were announced: for one that has ended meanwhile, one that has not comes again.
fn tell_processes(pids: &[i32], talk: &Talk) -> io::Result<()> {
    let mut missing = 0;
    let mut alive = None;
    for pid in pids {
        match talk.send_process(b"p", *pid) {
            Ok(()) => alive = Some(*pid),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => missing += 1,
            Err(error) => return Err(error),
        }
    }
    let again = |pid| (0..missing).try_for_each(|_| talk.send_process(b"p", pid));
    alive.map_or(Ok(()), again)
}
