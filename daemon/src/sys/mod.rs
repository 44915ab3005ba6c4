//! The system calls no crate wraps safely for us, and the only `unsafe` of the project.
//!
//! Each function is a thin, checked wrapper: `-1` becomes an `Errno`, returned descriptors
//! become `OwnedFd`. Nothing here knows cgroups, callers or D-Bus.
#![allow(unsafe_code)]

pub mod creds;
pub mod inherited;
pub mod mount;
pub mod namespace;
pub mod pidfd;
pub mod scm;
pub mod socket;
pub mod watched;

use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;

/// Turns the result of a raw system call into its value or its errno.
fn check(result: libc::c_long) -> nix::Result<libc::c_long> {
    Errno::result(result)
}

/// Takes ownership of a descriptor that a system call just returned.
fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: callers pass the result of a system call that returned a new descriptor,
    // which nothing else owns; descriptors fit in c_int.
    unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) }
}
