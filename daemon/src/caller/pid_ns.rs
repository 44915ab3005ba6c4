//! Process numbers between the caller's pid namespace and the daemon's.
//!
//! Linux 6.11 translates with an ioctl; before that `NSpid` of every process is searched.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use nix::errno::Errno;

use super::{Caller, NsId, Process};
use crate::sys::namespace;

static NO_IOCTL: AtomicBool = AtomicBool::new(false);

impl Caller {
    /// The daemon's number for what the caller calls `pid`. The caller's number may pass to
    /// another process at any time: pin, then ask again.
    ///
    /// # Errors
    /// ESRCH when the caller sees no such process.
    pub fn to_our_pid(&self, pid: i32) -> nix::Result<i32> {
        let (namespace, id) = self.pid_namespace()?;
        if id == own_pid_ns()? {
            return Ok(pid);
        }
        if !NO_IOCTL.load(Relaxed) {
            match namespace::pid_from(&*namespace, pid) {
                Err(Errno::ENOTTY) => NO_IOCTL.store(true, Relaxed),
                answer => return answer,
            }
        }
        search(|process| in_namespace(process, id) == Ok(pid)).ok_or(Errno::ESRCH)
    }

    /// What the caller calls the daemon's `pid`; `None` when it cannot see it.
    ///
    /// # Errors
    /// When the caller is gone.
    pub fn from_our_pid(&self, pid: i32) -> nix::Result<Option<i32>> {
        let (namespace, id) = self.pid_namespace()?;
        if id == own_pid_ns()? {
            return Ok((pid > 0).then_some(pid));
        }
        if !NO_IOCTL.load(Relaxed) {
            match namespace::pid_in(&*namespace, pid) {
                Err(Errno::ENOTTY) => NO_IOCTL.store(true, Relaxed),
                Err(Errno::ESRCH) => return Ok(None),
                answer => return answer.map(Some),
            }
        }
        Ok(Process::pin(pid).ok().and_then(|process| in_namespace(&process, id).ok()))
    }
}

fn own_pid_ns() -> nix::Result<NsId> {
    static OWN: std::sync::OnceLock<nix::Result<NsId>> = std::sync::OnceLock::new();
    *OWN.get_or_init(|| nix::sys::stat::stat("/proc/self/ns/pid").map(NsId::from))
}

fn search(found: impl Fn(&Process) -> bool) -> Option<i32> {
    let entries = std::fs::read_dir("/proc").ok()?;
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find(|pid| Process::pin(*pid).is_ok_and(|process| found(&process)))
}

/// What a process is called in the namespace `wanted`: `NSpid` lists its numbers from the
/// daemon's namespace down to its own, and each level's namespace is the next one's parent.
fn in_namespace(process: &Process, wanted: NsId) -> nix::Result<i32> {
    let status = process.read("status")?;
    let status = String::from_utf8_lossy(&status);
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:")).ok_or(Errno::ESRCH)?;
    let mut numbers = line.split_ascii_whitespace().rev();
    let mut namespace = process.open("ns/pid")?;
    loop {
        let number = numbers.next().and_then(|n| n.parse().ok()).ok_or(Errno::ESRCH)?;
        if NsId::of(namespace.as_fd())? == wanted {
            return process.check_alive().map(|()| number);
        }
        namespace = namespace::parent(&namespace)?;
    }
}
