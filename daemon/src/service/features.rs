//! What this kernel offers that the daemon uses; where it is missing there is an older way.

use nix::errno::Errno;

use crate::caller::Process;
use crate::sys::{namespace, pidfd, socket};

/// The names of the features that are there, for the property Features.
pub(super) fn probe() -> Vec<String> {
    let checks = [
        ("peer-pidfd", has_peer_pidfd()),
        ("pidfd-info", has_pidfd_info()),
        ("pid-translation", has_pid_translation()),
    ];
    checks.iter().filter(|(_, there)| *there).map(|(name, _)| (*name).to_owned()).collect()
}

fn has_peer_pidfd() -> bool {
    let pair = std::os::unix::net::UnixStream::pair();
    pair.is_ok_and(|(end, _)| !matches!(socket::peer_pidfd(end), Err(Errno::ENOPROTOOPT)))
}

fn has_pidfd_info() -> bool {
    let own = nix::unistd::getpid().as_raw();
    Process::pin(own).is_ok_and(|process| pidfd::info(process.pidfd()).is_ok())
}

fn has_pid_translation() -> bool {
    let own = nix::unistd::getpid().as_raw();
    std::fs::File::open("/proc/self/ns/pid").is_ok_and(|ns| namespace::pid_in(ns, own).is_ok())
}
