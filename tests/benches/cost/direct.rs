//! The other side of the comparison: the same effect by system calls, as a privileged program
//! would make them that takes paths from others: everything is opened beneath a directory it
//! holds, without symbolic links, and used through that handle.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, unlinkat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

const HANDLE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A hierarchy's directory, held open.
#[derive(Debug)]
pub(crate) struct Direct {
    dir: OwnedFd,
    pub(crate) is_v1: bool,
}

impl Direct {
    pub(crate) fn new(top: &Path, is_v1: bool) -> io::Result<Self> {
        Ok(Self { dir: openat(CWD, top, HANDLE, Mode::empty())?, is_v1 })
    }

    pub(crate) fn create(&self, parent: &str, name: &str) -> io::Result<()> {
        let parent = beneath(&self.dir, parent, HANDLE)?;
        Ok(mkdirat(parent, name, Mode::from_raw_mode(0o755))?)
    }

    pub(crate) fn remove(&self, parent: &str, name: &str) -> io::Result<()> {
        let parent = beneath(&self.dir, parent, HANDLE)?;
        Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
    }

    pub(crate) fn write(&self, cgroup: &str, file: &str, value: &str) -> io::Result<()> {
        let cgroup = beneath(&self.dir, cgroup, HANDLE)?;
        let file = beneath(&cgroup, file, OFlags::WRONLY | OFlags::CLOEXEC)?;
        rustix::io::write(file, value.as_bytes())?;
        Ok(())
    }

    pub(crate) fn read(&self, cgroup: &str, file: &str) -> io::Result<usize> {
        let cgroup = beneath(&self.dir, cgroup, HANDLE)?;
        let file = beneath(&cgroup, file, OFlags::RDONLY | OFlags::CLOEXEC)?;
        let mut buffer = [0; 4096];
        let mut length = 0;
        loop {
            match rustix::io::read(&file, &mut buffer[length..])? {
                0 => return Ok(length),
                count => length += count,
            }
        }
    }

    /// The process is pinned before, and looked at after: its number may pass to another.
    pub(crate) fn attach(&self, cgroup: &str, pid: u32) -> io::Result<()> {
        let number = Pid::from_raw(pid as i32).ok_or(io::ErrorKind::InvalidInput)?;
        let pinned = pidfd_open(number, PidfdFlags::empty())?;
        self.write(cgroup, "cgroup.procs", &pid.to_string())?;
        alive(&pinned)
    }
}

/// Whether a pinned process has not ended.
pub(crate) fn alive(pidfd: impl AsFd) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut set = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    match poll(&mut set, Some(&now))? {
        0 => Ok(()),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Opens a path beneath a directory and nowhere else.
pub(crate) fn beneath(dir: impl AsFd, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_XDEV
        | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(dir, path, flags, Mode::empty(), resolve)?)
}
