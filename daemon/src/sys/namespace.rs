//! Namespaces: entering one with a single thread, and asking who owns one.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::stat::{FileStat, fstat};

use super::{check, owned};

const NS_GET_OWNER_UID: u64 = 0xb704;
const NS_GET_PARENT: u64 = 0xb702;
const NS_GET_USERNS: u64 = 0xb701;

/// Which namespace it is: device and inode of its file. Inode numbers are reused, so an id is
/// only compared with that of a namespace which is still alive: the daemon's, or one held open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NsId {
    device: u64,
    inode: u64,
}

impl NsId {
    /// The id of an open namespace file.
    ///
    /// # Errors
    /// Never on a namespace descriptor.
    pub fn of(namespace: impl AsFd) -> nix::Result<Self> {
        fstat(namespace).map(Self::from)
    }

    /// Reads the two numbers that `Display` writes with a colon between them.
    pub fn parse(device: &str, inode: &str) -> Option<Self> {
        Some(Self { device: device.parse().ok()?, inode: inode.parse().ok()? })
    }
}

impl From<FileStat> for NsId {
    fn from(stat: FileStat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

impl fmt::Display for NsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.device, self.inode)
    }
}

/// Moves the calling thread, and no other, into the cgroup namespace `namespace`.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN.
pub fn enter_cgroup(namespace: impl AsFd) -> nix::Result<()> {
    nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWCGROUP)
}

/// Moves the calling thread, and no other, into the network namespace `namespace`.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN.
pub fn enter_network(namespace: impl AsFd) -> nix::Result<()> {
    nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)
}

/// The network namespace that a socket was made in (`SIOCGSKNS`). A socket that `accept(2)`
/// returned was made by the kernel in the namespace of the peer's.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN there.
pub fn network_of(socket: impl AsFd) -> nix::Result<OwnedFd> {
    const SIOCGSKNS: u64 = 0x894c;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the ioctl takes no argument and returns a new descriptor.
    Ok(owned(check(unsafe { libc::ioctl(fd, SIOCGSKNS as _) }.into())?))
}

/// The parent of a user or pid namespace.
///
/// # Errors
/// EPERM when it lies above the daemon's own.
pub fn parent(namespace: impl AsFd) -> nix::Result<OwnedFd> {
    let fd = namespace.as_fd().as_raw_fd();
    // SAFETY: the ioctl takes no argument and returns a new descriptor.
    Ok(owned(check(unsafe { libc::ioctl(fd, NS_GET_PARENT as _) }.into())?))
}

/// The user namespace that a namespace of another kind was made in.
///
/// # Errors
/// EPERM when it lies above the daemon's own.
pub fn user_ns_of(namespace: impl AsFd) -> nix::Result<OwnedFd> {
    let fd = namespace.as_fd().as_raw_fd();
    // SAFETY: the ioctl takes no argument and returns a new descriptor.
    Ok(owned(check(unsafe { libc::ioctl(fd, NS_GET_USERNS as _) }.into())?))
}

/// The uid, as the daemon sees it, of whoever made a user namespace.
///
/// # Errors
/// EINVAL when it is no user namespace.
pub fn owner_uid(user_ns: impl AsFd) -> nix::Result<u32> {
    let mut uid: libc::uid_t = 0;
    let fd = user_ns.as_fd().as_raw_fd();
    // SAFETY: the ioctl writes one uid_t through a valid pointer.
    let result = unsafe { libc::ioctl(fd, NS_GET_OWNER_UID as _, &raw mut uid) };
    check(result.into()).map(|_| uid)
}

/// Translates a process number between the daemon's pid namespace and `pid_ns`
/// (`NS_GET_PID_FROM_PIDNS`, Linux 6.11): from `pid_ns` into the daemon's.
///
/// # Errors
/// ESRCH when nobody has that number there, ENOTTY on older kernels.
pub fn pid_from(pid_ns: impl AsFd, pid: i32) -> nix::Result<i32> {
    const NS_GET_PID_FROM_PIDNS: u64 = 0x8004_b706;
    translate(pid_ns, NS_GET_PID_FROM_PIDNS, pid)
}

/// The other way: what the daemon's `pid` is called in `pid_ns` (`NS_GET_PID_IN_PIDNS`).
///
/// # Errors
/// ESRCH when it is not visible there, ENOTTY on older kernels.
pub fn pid_in(pid_ns: impl AsFd, pid: i32) -> nix::Result<i32> {
    const NS_GET_PID_IN_PIDNS: u64 = 0x8004_b708;
    translate(pid_ns, NS_GET_PID_IN_PIDNS, pid)
}

fn translate(pid_ns: impl AsFd, request: u64, pid: i32) -> nix::Result<i32> {
    let fd = pid_ns.as_fd().as_raw_fd();
    // SAFETY: the argument is the number itself, the result is a number.
    let answer = check(unsafe { libc::ioctl(fd, request as _, libc::c_long::from(pid)) }.into())?;
    Ok(answer as i32)
}
