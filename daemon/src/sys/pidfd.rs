//! Process descriptors: a process that cannot become another one.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{check, owned};

/// `pidfd_open(2)`: refers to the thread-group leader with this number, close-on-exec.
///
/// # Errors
/// ESRCH when there is none; EINVAL (ENOENT since 6.15) for a thread that leads no group.
pub fn open(pid: i32) -> nix::Result<OwnedFd> {
    // SAFETY: plain integers.
    Ok(owned(check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?))
}

/// `pidfd_getfd(2)`: a copy of a descriptor of another process.
///
/// # Errors
/// EBADF when it has no such descriptor, EPERM without the right to trace it.
pub fn get_fd(pidfd: impl AsFd, fd: i32) -> nix::Result<OwnedFd> {
    let pidfd = pidfd.as_fd().as_raw_fd();
    // SAFETY: plain integers.
    Ok(owned(check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, fd, 0) })?))
}

/// `pidfd_send_signal(2)`: a signal to the whole process, as `kill(2)` would send it.
///
/// # Errors
/// ESRCH when it is gone, EINVAL for a number that is no signal, EPERM.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> nix::Result<()> {
    let pidfd = pidfd.as_fd().as_raw_fd();
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: plain integers, and a null pointer that asks the kernel to fill in who sent it.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal, no_info, 0) };
    check(sent).map(drop)
}

/// Whether a descriptor from a peer is a pidfd. Only its link is read: any other operation on
/// a file of somebody's own file system may block for ever.
pub fn is_pidfd(fd: impl AsFd) -> bool {
    let target = link(fd);
    target == "anon_inode:[pidfd]" || target.starts_with("pidfd:[")
}

/// What the kernel calls an open file of this process; empty where it does not say. Files of file
/// systems begin with `/` or `(`, whatever their names are.
pub fn link(fd: impl AsFd) -> String {
    let link = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let target = nix::fcntl::readlink(link.as_str()).unwrap_or_default();
    target.to_string_lossy().into_owned()
}

/// Whether the process has neither exited nor become a zombie.
pub fn is_alive(pidfd: impl AsFd) -> bool {
    let mut set = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut set, PollTimeout::ZERO), Ok(0))
}

/// The number of the process a pidfd refers to, in the daemon's pid namespace; `None` when
/// the descriptor is no pidfd, or the process is gone or not visible here. One of a single thread
/// (Linux 6.9) has the thread's number, which cannot be opened as a process.
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM: it cannot be told.
pub fn number(pidfd: impl AsFd) -> nix::Result<Option<i32>> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_fd().as_raw_fd());
    let text = std::fs::read_to_string(path)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    let Some(pid) = line.and_then(|line| line.trim().parse().ok()).filter(|pid| *pid > 0) else {
        return Ok(None);
    };
    match open(pid) {
        Ok(_) => Ok(Some(pid)),
        Err(Errno::ESRCH | Errno::EINVAL | Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// What `PIDFD_GET_INFO` (Linux 6.13) says of a live process.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// The number in the daemon's pid namespace.
    pub pid: u32,
    /// The cgroup id (the directory's inode) on cgroup v2.
    pub cgroup_id: u64,
}

#[repr(C)]
#[derive(Default)]
struct RawInfo {
    mask: u64,
    cgroup_id: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ids: [u32; 8],
    exit_code: i32,
}

nix::ioctl_readwrite!(
    #[doc = "`PIDFD_GET_INFO`"]
    pidfd_get_info,
    0xFF,
    11,
    RawInfo
);

/// Reads [`Info`]; a reaped process is ESRCH although the kernel answers with zeros.
///
/// # Errors
/// ENOTTY on kernels before 6.13, ESRCH when the process is gone, EINVAL for a descriptor of a
/// single thread.
pub fn info(pidfd: impl AsFd) -> nix::Result<Info> {
    const PID: u64 = 1;
    const CREDS: u64 = 1 << 1;
    const CGROUP_ID: u64 = 1 << 2;
    let mut raw = RawInfo { mask: PID | CREDS | CGROUP_ID, ..RawInfo::default() };
    // SAFETY: the ioctl fills a structure of the size that its number encodes.
    let answer = unsafe { pidfd_get_info(pidfd.as_fd().as_raw_fd(), &raw mut raw) };
    // Linux 6.12 has other ioctls on pidfds, none of which takes an argument.
    answer.map_err(|errno| if errno == Errno::EINVAL { Errno::ENOTTY } else { errno })?;
    if raw.mask & (PID | CREDS) != PID | CREDS {
        return Err(Errno::ESRCH);
    }
    if raw.pid != raw.tgid {
        return Err(Errno::EINVAL);
    }
    Ok(Info { pid: raw.tgid, cgroup_id: raw.cgroup_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_20_a_thread_has_no_number() {
        const PIDFD_THREAD: libc::c_int = libc::O_EXCL;
        let of_thread = std::thread::spawn(|| {
            let thread = nix::unistd::gettid().as_raw();
            // SAFETY: plain integers.
            let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, thread, PIDFD_THREAD) };
            let fd = check(fd).map(owned);
            // Before 6.9 there are none.
            fd.map_or(None, |fd| Some(number(fd).unwrap()))
        });
        assert!(matches!(of_thread.join().unwrap(), None | Some(None)));
        let own = nix::unistd::getpid().as_raw();
        assert_eq!(number(open(own).unwrap()), Ok(Some(own)));
    }
}
