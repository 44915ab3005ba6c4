//! A caller that somebody passed on over a socket: a process that was named there, with ids of its
//! own. Whether the one who passed it on may is not asked here.

use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

use super::credentials::{Ids, Refused};
use super::process::ticks_per_second;
use super::{Caller, Host, Process};
use crate::sys::scm::{Credentials, Received};

/// What was passed on, and since when it can have been.
#[derive(Debug)]
pub struct Passed {
    /// As the kernel translated them.
    pub credentials: Credentials,
    pidfd: Option<OwnedFd>,
    has_pidfds: bool,
    after: Moment,
}

/// A time in clock ticks since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(i64);

impl Moment {
    /// Now; everything that happened before has happened in an earlier tick, which is waited for.
    ///
    /// # Errors
    /// When there is no such clock.
    pub fn after_all_before() -> nix::Result<Self> {
        let before = Self::now()?;
        loop {
            std::thread::sleep(Duration::from_millis(1));
            let now = Self::now()?;
            if now > before {
                return Ok(now);
            }
        }
    }

    /// Now.
    ///
    /// # Errors
    /// When there is no such clock.
    pub fn now() -> nix::Result<Self> {
        let time = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
        let ticks = ticks_per_second();
        Ok(Self(time.tv_sec() * ticks + time.tv_nsec() * ticks / 1_000_000_000))
    }
}

impl Passed {
    /// What a message brought that was sent after a moment; with the process itself, where the kernel
    /// passes these on.
    ///
    /// # Errors
    /// EINVAL when it has no credentials of anybody who can be seen here.
    pub fn new(received: Received, after: Moment, has_pidfds: bool) -> nix::Result<Self> {
        let credentials = received.credentials.ok_or(Errno::EINVAL)?;
        let Credentials { pid, uid, gid } = credentials;
        match pid > 0 && uid != u32::MAX && gid != u32::MAX {
            true => Ok(Self { credentials, pidfd: received.pidfd, has_pidfds, after }),
            false => Err(Errno::EINVAL),
        }
    }

    /// The process. By its number it is found only if it has lived since before the message: one
    /// that was given the number of another since is younger.
    ///
    /// # Errors
    /// ESRCH when it is gone.
    pub fn process(self) -> nix::Result<Process> {
        let Credentials { pid, .. } = self.credentials;
        match self.pidfd {
            None if self.has_pidfds => Err(Errno::ESRCH),
            Some(pidfd) => {
                Process::from_pidfd(pidfd).and_then(|process| match process.pid == pid {
                    true => Ok(process),
                    false => Err(Errno::ESRCH),
                })
            }
            None => {
                let process = Process::pin(pid)?;
                let is_older = Moment(process.start_ticks()?) < self.after;
                process.check_alive()?;
                is_older.then_some(process).ok_or(Errno::ESRCH)
            }
        }
    }
}

impl Caller {
    /// The process that this one has passed on, with the ids that it was passed on with, if they are
    /// its own, and of its groups those that `may_have` says. This one itself is who it was when it
    /// connected.
    ///
    /// # Errors
    /// When it is gone or has other ids.
    pub fn passed_on(
        &self,
        passed: Passed,
        may_have: impl Fn(u32) -> bool,
        host: &Host,
    ) -> Result<Self, Refused> {
        let Credentials { uid, gid, .. } = passed.credentials;
        let process = passed.process()?;
        let is_own = process.pid == self.process.pid && (uid, gid) == (self.uid, self.gid);
        if is_own {
            self.process.check_alive()?;
            let groups = self.groups.to_vec();
            return Self::new(Ids { uid, gid, groups }, process, None, host);
        }
        let [uids, gids, mut groups] = process.ids(["Uid", "Gid", "Groups"])?;
        let has = |ids: &[u32], id| ids.iter().take(3).any(|own| *own == id);
        if !has(&uids, uid) || !has(&gids, gid) {
            return Err(Refused::OtherIds(uid, gid));
        }
        groups.retain(|group| may_have(*group));
        Self::new(Ids { uid, gid, groups }, process, None, host)
    }

    /// Whether both are the same process with the same ids, while both live.
    pub fn is(&self, other: &Self) -> bool {
        let who = |caller: &Self| (caller.process.pid, caller.uid, caller.gid);
        who(self) == who(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Credentials {
        let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        Credentials { pid: nix::unistd::getpid().as_raw(), uid, gid }
    }

    fn received(credentials: Credentials) -> Received {
        Received { credentials: Some(credentials), ..Received::default() }
    }

    #[test]
    fn case_04_a_number_that_is_younger_than_the_message() {
        let before = Moment::after_all_before().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id().cast_signed();
        let later = Moment::after_all_before().unwrap();
        let process = |after| {
            Passed::new(received(Credentials { pid, ..own() }), after, false).unwrap().process()
        };
        assert_eq!(process(before).map(drop), Err(Errno::ESRCH));
        assert_eq!(process(later).map(|process| process.pid), Ok(pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(process(later).map(drop), Err(Errno::ESRCH));
    }

    #[test]
    fn nobody_who_cannot_be_seen() {
        let now = Moment::now().unwrap();
        for credentials in [
            Credentials { pid: 0, ..own() },
            Credentials { uid: u32::MAX, ..own() },
            Credentials { gid: u32::MAX, ..own() },
        ] {
            assert_eq!(
                Passed::new(received(credentials), now, false).map(drop),
                Err(Errno::EINVAL)
            );
        }
        assert_eq!(Passed::new(Received::default(), now, true).map(drop), Err(Errno::EINVAL));
        let without = Passed::new(received(own()), now, true).unwrap();
        assert_eq!(without.process().map(drop), Err(Errno::ESRCH));
    }
}
