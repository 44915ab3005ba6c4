//! Descriptors that whoever started the daemon left open for it, known by their number.

use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::{check, owned};

/// Takes over descriptor `number`, close-on-exec from now on. Call it before anything else
/// opens one, so that the number cannot be one of our own.
///
/// # Errors
/// EBADF when it is not open.
pub fn take(number: i32) -> nix::Result<OwnedFd> {
    // SAFETY: F_GETFD takes no pointer, and fails on a number that is not open.
    check(unsafe { libc::fcntl(number, libc::F_GETFD) }.into())?;
    let fd = owned(number.into());
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_not_open_is_refused() {
        assert_eq!(take(1 << 20).unwrap_err(), nix::errno::Errno::EBADF);
    }
}
