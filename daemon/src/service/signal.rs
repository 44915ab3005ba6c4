//! Signalling the processes of a cgroup one by one: pinned, still members, and the caller's to
//! signal.

use std::collections::BTreeSet;

use cgroupd_proto::ErrorName;
use nix::errno::Errno;

use super::Request;
use super::victim::{is_kernel, uids};
use crate::caller::Process;
use crate::cgroup::Dir;
use crate::policy::{Class, Victim, may_signal};
use crate::sys::creds::CapSet;
use crate::sys::pidfd;
use crate::{Error, Result};

/// How many processes are pinned at a time, each with two descriptors.
const PINNED: usize = 128;

/// A signal that can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signal(i32);

impl Signal {
    pub(crate) const KILL: Self = Self(9);
    /// SIGRTMAX of the architectures that this runs on.
    const LAST: u32 = 64;

    /// The signal of a number, as `signal(7)` lists them.
    ///
    /// # Errors
    /// InvalidArgument for 0, which signals nobody, and for what is no signal.
    pub(crate) fn new(number: u32) -> Result<Self> {
        match i32::try_from(number) {
            Ok(signal) if (1..=Self::LAST).contains(&number) => Ok(Self(signal)),
            _ => {
                let text = format!("{number} is not a signal");
                Err(Error::new(ErrorName::InvalidArgument, text).hint("they go from 1 to 64"))
            }
        }
    }

    /// Whether nobody survives it.
    pub(super) fn kills(self) -> bool {
        self == Self::KILL
    }
}

impl Request<'_> {
    /// Refuses when the caller may not signal one of those who are there. For host root nothing is
    /// checked here: `check_stoppable` has refused cgroups with the daemon, pid 1 or the bus.
    pub(super) fn check_signals(&self, dir: &Dir) -> Result<()> {
        match self.subject().class {
            Class::HostRoot => Ok(()),
            _ => self.each_member(dir, |process| self.check_signal(process).map(drop)),
        }
    }

    /// Signals those who are there and have not been, and remembers them.
    pub(super) fn strike(
        &self,
        dir: &Dir,
        signal: Signal,
        struck: &mut BTreeSet<i32>,
    ) -> Result<()> {
        self.send(dir, signal, struck, |process| self.check_signal(process))
    }

    /// Kills those whom `cgroup.kill` has left alive: it passes over processes whose first thread
    /// is dead. Whoever may write it may kill all that is there.
    pub(super) fn strike_left(&self, dir: &Dir, struck: &mut BTreeSet<i32>) -> Result<()> {
        self.send(dir, Signal::KILL, struck, |process| {
            let is_kernel = is_kernel(process.pid).map_err(unseen)?;
            Ok(!is_kernel && self.service.guarded.what(process.pid).is_none())
        })
    }

    /// Judges one member; `false`: there is nobody to signal.
    fn check_signal(&self, process: &Process) -> Result<bool> {
        let victim = match self.signalled(process) {
            Ok(Some(victim)) => victim,
            Ok(None) | Err(Errno::ESRCH | Errno::ENOENT) => return Ok(false),
            Err(errno) => return Err(unseen(errno)),
        };
        let number = self.caller.number_of(process).map_err(unseen)?;
        let Some(number) = number else {
            return Err(Error::new(
                ErrorName::Denied,
                "it holds a process that the caller's pid namespace does not show",
            )
            .rule("signal"));
        };
        match may_signal(self.subject(), &victim) {
            Ok(_) => Ok(true),
            Err(refusal) => {
                let error = Error::from(refusal);
                Err(Error { text: format!("process {number} in it: {}", error.text), ..error })
            }
        }
    }

    /// What policy has to know of a member; `None` for a kernel thread, which no signal ends.
    fn signalled(&self, process: &Process) -> nix::Result<Option<Victim>> {
        if is_kernel(process.pid)? {
            return Ok(None);
        }
        let host_root = self.subject().class == Class::HostRoot;
        let victim = Victim {
            uids: if host_root { [0; 4] } else { uids(process)? },
            permitted: CapSet::EMPTY,
            untouchable: self.service.guarded.what(process.pid),
            in_scope: true,
            under_callers_user_ns: host_root || self.is_above(process)?,
        };
        process.check_alive().map(|()| Some(victim))
    }

    /// Signals the members that `wanted` allows and remembers them. SIGKILL is sent again: a number
    /// may have passed to another process.
    fn send(
        &self,
        dir: &Dir,
        signal: Signal,
        struck: &mut BTreeSet<i32>,
        wanted: impl Fn(&Process) -> Result<bool>,
    ) -> Result<()> {
        self.each_member(dir, |process| {
            let again = struck.contains(&process.pid) && !signal.kills();
            if again || !wanted(process)? {
                return Ok(());
            }
            match pidfd::send_signal(process.pidfd(), signal.0) {
                Ok(()) => drop(struck.insert(process.pid)),
                Err(Errno::ESRCH) => {}
                Err(errno) => {
                    return Err(Error::kernel(format_args!("send signal {}", signal.0), errno));
                }
            }
            Ok(())
        })
    }

    /// Calls `visit` with each process in `top` and below. It is pinned before the second of two
    /// looks that find its number, and lives after it: so it is that process which is a member.
    fn each_member(&self, top: &Dir, mut visit: impl FnMut(&Process) -> Result<()>) -> Result<()> {
        let found: Vec<i32> = self.listed(top)?.into_iter().collect();
        for some in found.chunks(PINNED) {
            let pinned = some.iter().filter_map(|pid| pinned(*pid).transpose());
            let pinned = pinned.collect::<Result<Vec<Process>>>()?;
            let still = self.listed(top)?;
            let there = |process: &&Process| still.contains(&process.pid) && process.is_alive();
            pinned.iter().filter(there).try_for_each(&mut visit)?;
        }
        Ok(())
    }

    /// The members that the caller may see. Where some are closed to it nothing is said of any: a
    /// number, or a refusal that depends on them, would tell what is there.
    fn listed(&self, top: &Dir) -> Result<BTreeSet<i32>> {
        match self.visible_members(top) {
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(BTreeSet::new()),
            Err(Errno::EACCES) => Err(Error::new(
                ErrorName::Denied,
                "a cgroup in it is closed to the caller, which must see each process it signals",
            )
            .hint("its owner, or root, ends what is in it")
            .rule("signal")),
            found => found.map_err(|errno| Error::kernel("list the processes in it", errno)),
        }
    }
}

/// `None` for one that has ended since it was listed.
fn pinned(pid: i32) -> Result<Option<Process>> {
    match Process::pin(pid) {
        Ok(process) => Ok(Some(process)),
        Err(Errno::ESRCH | Errno::EINVAL | Errno::ENOENT) => Ok(None),
        Err(errno) => Err(unseen(errno)),
    }
}

fn unseen(errno: Errno) -> Error {
    Error::kernel("look at a process in it", errno)
}

#[cfg(test)]
mod tests {
    use super::Signal;

    #[test]
    fn numbers_of_signals() {
        for number in [1, 9, 15, 64] {
            assert!(Signal::new(number).is_ok(), "{number}");
        }
        for number in [0, 65, u32::MAX, 1 << 31] {
            assert!(Signal::new(number).is_err(), "{number}");
        }
        assert_eq!(Signal::new(9).unwrap(), Signal::KILL);
    }
}
