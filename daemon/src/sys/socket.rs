//! What the kernel knows about the peer of a UNIX socket.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;

use super::{check, owned};

const SO_PEERPIDFD: libc::c_int = 77;

/// `SO_PEERGROUPS`: the supplementary groups the peer had when it connected.
///
/// # Errors
/// ENODATA when the peer is unknown.
pub fn peer_groups(socket: impl AsFd) -> nix::Result<Vec<u32>> {
    let mut groups = vec![0u32; 64];
    loop {
        let mut bytes = (groups.len() * 4) as libc::socklen_t;
        let pointer = groups.as_mut_ptr().cast();
        match get(&socket, libc::SO_PEERGROUPS, pointer, &mut bytes) {
            Ok(()) => {
                groups.truncate(bytes as usize / 4);
                return Ok(groups);
            }
            Err(Errno::ERANGE) => groups.resize(bytes as usize / 4, 0),
            Err(errno) => return Err(errno),
        }
    }
}

/// `SO_PEERPIDFD` (Linux 6.5): a process descriptor of whoever connected.
///
/// # Errors
/// ENOPROTOOPT on older kernels, ESRCH (or EINVAL) when the peer was reaped, ENODATA without one.
pub fn peer_pidfd(socket: impl AsFd) -> nix::Result<OwnedFd> {
    let mut fd: libc::c_int = -1;
    let mut bytes = size_of::<libc::c_int>() as libc::socklen_t;
    get(&socket, SO_PEERPIDFD, (&raw mut fd).cast(), &mut bytes)?;
    Ok(owned(fd.into()))
}

fn get(
    socket: &impl AsFd,
    option: libc::c_int,
    value: *mut libc::c_void,
    bytes: &mut libc::socklen_t,
) -> nix::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: `value` points to `bytes` writable bytes, both callers above see to that.
    check(unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, value, bytes) }.into()).map(drop)
}
