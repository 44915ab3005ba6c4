//! A process that is pinned: its pidfd and its directory in /proc, both of the same process.
//!
//! A handle on `/proc/PID` never turns into another process: once the process is reaped every
//! look-up beneath it fails. So one handle serves all kernels, and no number is read twice.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstatat};
use tokio::io::Interest;

use crate::sys::pidfd;
use crate::sys::watched::watched;

/// A live or dead process, but always the same one.
#[derive(Debug)]
pub struct Process {
    /// Its number in the daemon's pid namespace; recycled once it is dead.
    pub pid: i32,
    pidfd: OwnedFd,
    proc: OwnedFd,
}

impl Process {
    /// Pins the process with this number in the daemon's pid namespace.
    ///
    /// # Errors
    /// ESRCH when there is none; EINVAL or ENOENT for a thread that leads no group; EMFILE, ENFILE
    /// or ENOMEM when it cannot be told.
    pub fn pin(pid: i32) -> nix::Result<Self> {
        Self::new(pidfd::open(pid)?, pid)
    }

    /// The process a pidfd refers to.
    ///
    /// # Errors
    /// EBADF when the descriptor is no pidfd, EINVAL when it is one of a single thread, ESRCH
    /// when the process is gone or invisible here.
    pub fn from_pidfd(pidfd: OwnedFd) -> nix::Result<Self> {
        let pid = match pidfd::info(&pidfd) {
            Ok(info) => i32::try_from(info.pid).map_err(|_| Errno::ESRCH)?,
            Err(errno @ (Errno::ESRCH | Errno::EINVAL)) => return Err(errno),
            Err(_) => pidfd::number(&pidfd)?.ok_or(Errno::EBADF)?,
        };
        Self::new(pidfd, pid)
    }

    /// `/proc/PID` was opened while the number still belonged to the live process.
    fn new(pidfd: OwnedFd, pid: i32) -> nix::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let proc = nix::fcntl::open(format!("/proc/{pid}").as_str(), flags, Mode::empty());
        let proc =
            proc.map_err(|errno| if errno == Errno::ENOENT { Errno::ESRCH } else { errno })?;
        let process = Self { pid, pidfd, proc };
        process.check_alive().map(|()| process)
    }

    /// Whether the process is neither dead nor a zombie.
    pub fn is_alive(&self) -> bool {
        pidfd::is_alive(&self.pidfd)
    }

    /// [`Self::is_alive`] as a result.
    ///
    /// # Errors
    /// ESRCH when it is dead.
    pub fn check_alive(&self) -> nix::Result<()> {
        self.is_alive().then_some(()).ok_or(Errno::ESRCH)
    }

    /// Ends when the process does, which the runtime tells. Without a descriptor or memory to wait
    /// with, that is an error now.
    ///
    /// # Errors
    /// What `fcntl(2)` and `epoll_ctl(2)` answer.
    pub fn exit(&self) -> io::Result<impl Future<Output = ()> + use<>> {
        let pidfd = watched(self.pidfd.try_clone()?, Interest::READABLE)?;
        Ok(async move {
            // It fails only when the runtime is being shut down.
            let _ = pidfd.readable().await;
        })
    }

    /// The pidfd.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Opens a file of `/proc/PID`, for example `ns/user`.
    ///
    /// # Errors
    /// ESRCH or ENOENT when the process is gone.
    pub fn open(&self, name: &str) -> nix::Result<OwnedFd> {
        openat(&self.proc, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
    }

    /// `stat` of a file of `/proc/PID`, links followed: namespaces are compared with it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn stat(&self, name: &str) -> nix::Result<FileStat> {
        fstatat(&self.proc, name, nix::fcntl::AtFlags::empty())
    }

    /// Where a link of `/proc/PID` leads.
    ///
    /// # Errors
    /// ENOENT for the executable of a kernel thread; ESRCH when the process is gone.
    pub fn readlink(&self, name: &str) -> nix::Result<std::ffi::OsString> {
        nix::fcntl::readlinkat(&self.proc, name)
    }

    /// The numbers in lines of `/proc/PID/status`, all of one moment: `Uid` and `Gid` are real,
    /// effective, saved and that of file systems; `Groups` are as many as there are.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn ids<const N: usize>(&self, lines: [&str; N]) -> nix::Result<[Vec<u32>; N]> {
        let status = self.read("status")?;
        let status = String::from_utf8_lossy(&status);
        let mut found = [const { Vec::new() }; N];
        for (numbers, line) in found.iter_mut().zip(lines) {
            *numbers = numbers_in(&status, line).ok_or(Errno::ESRCH)?;
        }
        Ok(found)
    }

    /// When it was started, in clock ticks since boot: field 22 of `/proc/PID/stat`. The name before
    /// it may contain anything, so fields are counted from the last parenthesis.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn start_ticks(&self) -> nix::Result<i64> {
        start_ticks(&self.read("stat")?).ok_or(Errno::ESRCH)
    }

    /// Whether it is exiting (PF_EXITING in `include/linux/sched.h`; field 9 of `/proc/PID/stat`).
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn is_exiting(&self) -> nix::Result<bool> {
        const PF_EXITING: u64 = 0x4;
        let flags = flags(&self.read("stat")?).ok_or(Errno::ESRCH)?;
        Ok(flags & PF_EXITING != 0)
    }

    /// Reads a small file of `/proc/PID` with a few large reads.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn read(&self, name: &str) -> nix::Result<Vec<u8>> {
        let file = self.open(name)?;
        let mut bytes = vec![0; 4096];
        let mut length = 0;
        loop {
            match nix::unistd::read(&file, &mut bytes[length..])? {
                0 => break,
                count => length += count,
            }
            if length == bytes.len() {
                bytes.resize(length * 2, 0);
            }
        }
        bytes.truncate(length);
        Ok(bytes)
    }
}

fn numbers_in(status: &str, line: &str) -> Option<Vec<u32>> {
    let rest = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'))?;
    rest.split_ascii_whitespace().map(|id| id.parse().ok()).collect()
}

fn start_ticks(stat: &[u8]) -> Option<i64> {
    field(stat, 22)?.parse().ok()
}

/// The kernel's flags of a task (PF_*), in a text like `/proc/PID/stat`.
pub fn flags(stat: &[u8]) -> Option<u64> {
    field(stat, 9)?.parse().ok()
}

/// A field of `/proc/PID/stat` from the third on, as `proc_pid_stat(5)` counts them. The name before
/// them may contain anything, so they are counted from the last parenthesis.
fn field(stat: &[u8], number: usize) -> Option<String> {
    let text = String::from_utf8_lossy(stat);
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(number.checked_sub(3)?).map(str::to_owned)
}

/// The unit of [`Process::start_ticks`].
pub(super) fn ticks_per_second() -> i64 {
    const USUAL: i64 = 100;
    let known = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
    known.ok().flatten().unwrap_or(USUAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_after_a_hostile_name() {
        let fields: Vec<String> = (4..40).map(|n| n.to_string()).collect();
        let stat = format!("12 (a) R 1 (b) S {}", fields.join(" "));
        assert_eq!(start_ticks(stat.as_bytes()), Some(22));
        assert_eq!(start_ticks(b"12 (x"), None);
    }
}
