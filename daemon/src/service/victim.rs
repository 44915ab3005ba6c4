//! The processes of a move: pinned first, then looked at.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use cgroupd_proto::ErrorName;
use nix::errno::Errno;

use super::Request;
use crate::accounting::{Charge, Full, Resource};
use crate::caller::{NsId, Place, Process, flags};
use crate::cgroup::handle::errno_of;
use crate::cgroup::{Hierarchy, systemd};
use crate::policy::{Class, Victim};
use crate::sys::creds;
use crate::sys::{namespace, pidfd};
use crate::{Error, Result};

/// The descriptors of a pinned process: itself and its directory in `/proc`. The cgroup it comes
/// from in each hierarchy is kept open too, until the move is done.
const PINNED: usize = 2;

/// Processes to be attached, each pinned, and what the caller calls it.
#[derive(Debug, Default)]
pub(crate) struct Victims {
    pub(super) pinned: Vec<(String, Process)>,
    _charge: Option<Charge>,
}

/// What is known of a victim in all hierarchies; its place differs in each.
#[derive(Debug)]
pub(super) struct Facts {
    uids: [u32; 4],
    permitted: creds::CapSet,
    pub(super) untouchable: Option<&'static str>,
    under_callers_user_ns: bool,
}

impl Victims {
    /// Nobody.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// Pins processes the caller named by descriptor.
    pub(crate) fn from_pidfds(request: &Request<'_>, pidfds: Vec<OwnedFd>) -> Result<Self> {
        let pin = |(index, fd): (usize, OwnedFd)| {
            if !pidfd::is_pidfd(&fd) {
                let text = format!("descriptor {index} is no pidfd");
                return Err(Error::new(ErrorName::InvalidArgument, text));
            }
            let process = Process::from_pidfd(fd).map_err(|errno| {
                let what = match errno {
                    Errno::EINVAL => "refers to a thread, not to a process",
                    Errno::ESRCH | Errno::EBADF => "refers to a process that is gone",
                    errno => return Error::kernel(format_args!("open descriptor {index}"), errno),
                };
                let text = format!("descriptor {index} {what}");
                Error::new(ErrorName::InvalidArgument, text)
            })?;
            let number = request.theirs(&process);
            let of_descriptor = |_| format!("the process of descriptor {index}");
            Ok((number.map_or_else(of_descriptor, |pid| format!("process {pid}")), process))
        };
        pidfds
            .into_iter()
            .enumerate()
            .map(pin)
            .collect::<Result<_>>()
            .map(|pinned| Self { pinned, _charge: None })
    }

    /// Pins processes the caller named by numbers of its own pid namespace.
    pub(crate) fn from_pids(request: &Request<'_>, pids: &[u32]) -> Result<Self> {
        // The same number twice is one process, and one set of descriptors.
        let pids = BTreeSet::from_iter(pids);
        let service = request.service;
        let hierarchies = service.layout.hierarchies.len();
        let each = PINNED + hierarchies;
        let (account, descriptors) = (request.caller.account, pids.len() * each);
        let charge = service.accounts.charge(account, Resource::Descriptors, descriptors);
        let charge = charge.map_err(|full| too_many(pids.len(), each, &full))?;
        let pin = |pid: &u32| Ok((format!("process {pid}"), request.pin(*pid)?));
        let pinned = pids.into_iter().map(pin).collect::<Result<_>>()?;
        Ok(Self { pinned, _charge: Some(charge) })
    }

    /// One that is pinned already, by its number here.
    pub(crate) fn one(process: &Process) -> Result<Self> {
        let what = format!("process {}", process.pid);
        let again = Process::pin(process.pid).map_err(gone(&what))?;
        process.check_alive().map_err(|_| no_process(&what))?;
        Ok(Self { pinned: vec![(what, again)], _charge: None })
    }

    /// Adds the caller itself.
    pub(crate) fn with_caller(mut self, request: &Request<'_>) -> Result<Self> {
        let process = Process::pin(request.caller.process.pid).map_err(gone("the caller"))?;
        request.caller.process.check_alive().map_err(|_| no_process("the caller"))?;
        self.pinned.push(("the caller".to_owned(), process));
        Ok(self)
    }
}

impl Request<'_> {
    /// Pins the process that the caller calls `pid`.
    pub(super) fn pin(&self, pid: u32) -> Result<Process> {
        let what = format!("process {pid}");
        let number = i32::try_from(pid).ok().filter(|pid| *pid > 0).ok_or_else(|| {
            Error::new(ErrorName::InvalidArgument, format!("{pid} is not a process number"))
        })?;
        self.caller.pin(&self.now, number).map_err(|errno| match errno {
            Errno::EINVAL | Errno::ENOENT => Error::new(
                ErrorName::InvalidArgument,
                format!("{what} is a thread that leads no process"),
            ),
            Errno::E2BIG => Error::new(
                ErrorName::Failed,
                format!("{what} cannot be found: the machine has more than 65,536 processes"),
            )
            .hint(
                "before Linux 6.11 the daemon looks through all of them; Attach and Create take \
                 pidfds instead of numbers",
            ),
            errno => gone(&what)(errno),
        })
    }

    /// What the caller calls a process.
    ///
    /// # Errors
    /// NoSuchProcess when the caller cannot see it.
    pub(crate) fn theirs(&self, process: &Process) -> Result<u32> {
        let what = "the process";
        let number = self.caller.number_of(process).map_err(gone(what))?;
        number.and_then(|number| u32::try_from(number).ok()).ok_or_else(|| no_process(what))
    }

    /// Reads a victim's facts under its pidfd; one that the caller's pid namespace does not
    /// show does not exist for it.
    pub(super) fn facts(&self, process: &Process) -> nix::Result<Facts> {
        let class = self.subject().class;
        if class != Class::HostRoot && self.caller.number_of(process)?.is_none() {
            return Err(Errno::ESRCH);
        }
        let (_, permitted) = creds::capabilities(process.pid)?;
        let facts = Facts {
            uids: if class == Class::HostRoot { [0; 4] } else { uids(process)? },
            permitted,
            untouchable: self.untouchable(process)?,
            under_callers_user_ns: class == Class::HostRoot || self.is_above(process)?,
        };
        process.check_alive().map(|()| facts)
    }

    /// Which of the processes it is that nobody moves, freezes or ends, if any.
    pub(super) fn untouchable(&self, process: &Process) -> nix::Result<Option<&'static str>> {
        match special(process)? {
            None if systemd::runs() && self.service.layout.holds(&process.read("cgroup")?) => {
                Ok(Some("the holder of the managed root"))
            }
            found => Ok(found),
        }
    }

    /// Whether the caller's user namespace is the victim's or an ancestor of it.
    pub(super) fn is_above(&self, process: &Process) -> nix::Result<bool> {
        let callers: NsId = self.caller.process.stat("ns/user")?.into();
        let mut namespace = process.open("ns/user")?;
        loop {
            let id = NsId::of(&namespace)?;
            if id == callers {
                return Ok(true);
            }
            if id == self.service.host.user {
                return Ok(false);
            }
            namespace = namespace::parent(&namespace)?;
        }
    }

    /// The victim as policy sees it in one hierarchy.
    pub(super) fn victim(&self, facts: &Facts, place: &Place, scope: &[String]) -> Victim {
        let in_scope = matches!(place, Place::Inside(names) if names.starts_with(scope));
        Victim {
            uids: facts.uids,
            permitted: facts.permitted,
            untouchable: facts.untouchable,
            in_scope,
            under_callers_user_ns: facts.under_callers_user_ns,
        }
    }

    /// The way from the managed root to the caller's scope.
    pub(super) fn scope_names(
        &self,
        hierarchy: &Hierarchy,
        scope: &crate::caller::Scope,
    ) -> Result<Vec<String>> {
        if std::sync::Arc::ptr_eq(&scope.dir, &hierarchy.root) {
            return Ok(Vec::new());
        }
        hierarchy.names_of(&scope.dir).map_err(|errno| Error::kernel("find the scope", errno))
    }
}

/// Host pid 1 and the daemon have well-known numbers; kernel threads have no executable, and
/// neither has a process that is about to end: that one does not exist any more.
fn special(process: &Process) -> nix::Result<Option<&'static str>> {
    if process.pid == 1 {
        return Ok(Some("pid 1"));
    }
    if process.pid == nix::unistd::getpid().as_raw() {
        return Ok(Some("the daemon"));
    }
    match process.readlink("exe") {
        Err(Errno::ENOENT) if is_kernel_thread(&process.read("stat")?) => {
            Ok(Some("a kernel thread"))
        }
        Err(Errno::ENOENT) => Err(Errno::ESRCH),
        _ => Ok(None),
    }
}

/// Whether this is the number of a kernel thread. A process that has ended is none.
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM: it cannot be told.
pub(super) fn is_kernel(pid: i32) -> nix::Result<bool> {
    match std::fs::read(format!("/proc/{pid}/stat")).map_err(errno_of) {
        Ok(stat) => Ok(is_kernel_thread(&stat)),
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Whether a `/proc/PID/stat` is that of a kernel thread. One that cannot be parsed is taken for it.
fn is_kernel_thread(stat: &[u8]) -> bool {
    const PF_KTHREAD: u64 = 0x0020_0000;
    flags(stat).is_none_or(|flags| flags & PF_KTHREAD != 0)
}

/// Real, effective and saved uid, and that of file systems.
pub(super) fn uids(process: &Process) -> nix::Result<[u32; 4]> {
    let [uids] = process.ids(["Uid"])?;
    uids.first_chunk().copied().ok_or(Errno::ESRCH)
}

fn too_many(count: usize, each: usize, full: &Full) -> Error {
    let hint = match full.is_for_good() {
        true => format!("name at most {} in a call", full.bound() / each),
        false => "wait for the calls that are under way".to_owned(),
    };
    let text = format!("hold {count} processes, {each} descriptors for each: {full}");
    Error::new(ErrorName::QuotaExceeded, text).hint(hint)
}

/// What a failed look at a process means: that it is gone, unless the look itself failed.
pub(super) fn gone(what: &str) -> impl Fn(Errno) -> Error {
    move |errno| match errno {
        Errno::ESRCH | Errno::ENOENT => no_process(what),
        errno => Error::kernel(format_args!("look at {what}"), errno),
    }
}

pub(super) fn no_process(what: &str) -> Error {
    Error::new(ErrorName::NoSuchProcess, format!("{what} does not exist"))
        .hint("process numbers are those of the caller's own pid namespace")
}

#[cfg(test)]
mod tests {
    use super::is_kernel_thread;

    #[test]
    fn kernel_threads_by_their_flag() {
        assert!(is_kernel_thread(b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0"));
        assert!(!is_kernel_thread(b"9 (a) R 1 (b) R 1 9 9 0 -1 4194560 95 0"));
        assert!(is_kernel_thread(b"9 (cut"));
    }
}
