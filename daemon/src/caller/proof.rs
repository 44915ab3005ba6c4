//! Proof that a process is the peer of a connection, for kernels before 6.5, which have no
//! `SO_PEERPIDFD`.
//!
//! They say the number that the peer's process had when it connected. If that process has exited
//! since, the number may be another process's. So the process that has the number now must hold the
//! other end of the connection: the socket that `unix_diag` says ours is connected to must be
//! among its descriptors. The process was pinned before, and its `/proc/PID` cannot become another
//! one's, so the number may be recycled meanwhile without harm.
//!
//! A process that the peer passed its end on to, and that was then given the peer's number, holds
//! the end too. It must at least have the ids that the peer connected with, among its real,
//! effective, saved and file system ids: the uid of one process is never combined with the
//! namespaces of another user's. A set-user-id program has both its users' ids, and a process that
//! gives up its ids for a while keeps them as the saved ones; both are served. A process that gives
//! them up for good before the daemon has looked, within about a millisecond of its connect, is
//! refused: it cannot be told from a recycled number, and succeeds when it waits for the
//! handshake's answer first.
//!
//! Only the descriptors of the process are looked at, which all its threads share; a thread with a
//! table of its own (`unshare(CLONE_FILES)`) is not served.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::fcntl::readlinkat;
use rustix::fs::RawDir;

use super::elsewhere::elsewhere;
use super::{Process, Refused, unix_diag};
use crate::cgroup::handle::errno_of;
use crate::sys::{namespace, socket};
use crate::{is_transient, words};

/// Descriptors of a peer that are looked at, four times what processes may usually have. A look at
/// as many takes some 30 ms.
pub(super) const MOST_DESCRIPTORS: usize = 4096;

/// No peer can be identified on this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "callers cannot be identified: this kernel has no SO_PEERPIDFD (Linux 6.5), and unix_diag does \
     not answer: {}\n\
     hint: modprobe unix_diag (CONFIG_UNIX_DIAG), and let the daemon use AF_NETLINK",
    words(*.0)
)]
pub struct CannotProve(Errno);

/// Tries on a connection of the daemon's own whether peers can be identified.
///
/// # Errors
/// When every peer would be refused.
pub fn check_kernel() -> Result<(), CannotProve> {
    let (end, _other) = UnixStream::pair().map_err(|error| CannotProve(errno_of(error)))?;
    match socket::peer_pidfd(&end) {
        Err(Errno::ENOPROTOOPT) => unix_diag::peer_inode(&end).map(drop).map_err(CannotProve),
        _ => Ok(()),
    }
}

/// Proves that `process`, pinned before, is the peer of `socket`, which connected with these ids
/// (uid and gid).
///
/// # Errors
/// When it is not, or that cannot be found out: for lack of descriptors or memory, too.
pub(super) fn is_peer(
    process: &Process,
    ids: (u32, u32),
    socket: BorrowedFd<'_>,
) -> Result<(), Refused> {
    let inode = peer_inode(process, socket)?;
    // A descriptor may move to a number that was looked at already; not twice within microseconds.
    let is_held =
        holds(process, inode, MOST_DESCRIPTORS)? || holds(process, inode, MOST_DESCRIPTORS)?;
    if !is_held {
        return Err(Refused::NotHolder(process.pid));
    }
    if !has_ids(process, ids)? {
        return Err(Refused::NotItsIds(process.pid));
    }
    Ok(process.check_alive()?)
}

fn has_ids(process: &Process, (uid, gid): (u32, u32)) -> Result<bool, Refused> {
    let [uids, gids] = process.ids(["Uid", "Gid"]).map_err(unprovable("read its ids in /proc"))?;
    Ok(uids.contains(&uid) && gids.contains(&gid))
}

/// The inode number of the peer's socket.
fn peer_inode(process: &Process, socket: BorrowedFd<'_>) -> Result<u32, Refused> {
    let answer = match unix_diag::peer_inode(socket) {
        Err(Errno::ENOENT) => {
            let network = network_of(process, socket)
                .map_err(unprovable("open the network namespace of the connection"))?;
            peer_inode_within(&network, socket)
        }
        answer => answer,
    };
    answer.map_err(|errno| match errno {
        Errno::ENOTCONN => Refused::NotHolder(process.pid),
        errno => unprovable("ask unix_diag in the connection's network namespace")(errno),
    })
}

/// The network namespace that a connection was made in. Without CAP_NET_ADMIN, which nothing else
/// asks for, the one that the process is in now: if it has left the other since, `unix_diag` does
/// not find the connection, and the peer is refused.
fn network_of(process: &Process, socket: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    match namespace::network_of(socket) {
        Err(Errno::EPERM) => process.open("ns/net"),
        answer => answer,
    }
}

fn peer_inode_within(network: &OwnedFd, socket: BorrowedFd<'_>) -> nix::Result<u32> {
    elsewhere("peer-proof", || {
        namespace::enter_network(network)?;
        unix_diag::peer_inode(socket)
    })
}

/// Whether one of the descriptors of a process is the socket with this inode number.
fn holds(process: &Process, inode: u32, most: usize) -> Result<bool, Refused> {
    let failed = unprovable("list its descriptors in /proc");
    let wanted = format!("socket:[{inode}]");
    let links = process.open("fd").map_err(&failed)?;
    let mut buffer = [MaybeUninit::uninit(); 8 << 10];
    let mut entries = RawDir::new(process.open("fd").map_err(&failed)?, &mut buffer);
    let mut count = 0;
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(|error| failed(errno_of(error)))?;
        if entry.file_name().to_bytes().starts_with(b".") {
            continue;
        }
        count += 1;
        if count > most {
            return Err(Refused::TooManyDescriptors(process.pid));
        }
        match readlinkat(&links, entry.file_name()) {
            Ok(target) if target == OsStr::new(&wanted) => return Ok(true),
            Err(errno) if is_transient(errno) => return Err(failed(errno)),
            // Another file, whose path may be too long to be shown; or closed since it was listed.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(false)
}

/// For `map_err`: what was attempted when the kernel answered.
fn unprovable(what: &'static str) -> impl Fn(Errno) -> Refused {
    move |errno| Refused::Unprovable { what, errno }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::process::{Child, Command, Stdio};

    use nix::unistd::{getegid, geteuid, getpid};

    use super::*;

    /// A process that is not this one, with the other end as its standard input if it gets one.
    struct Other(Child, Process);

    impl Other {
        fn with(stdin: Stdio) -> Self {
            let child =
                Command::new("sleep").arg("60").stdin(stdin).spawn().expect("sleep is there");
            let process = Process::pin(child.id().cast_signed()).expect("it lives");
            Self(child, process)
        }
    }

    impl Drop for Other {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn own_ids() -> (u32, u32) {
        (geteuid().as_raw(), getegid().as_raw())
    }

    fn this_process() -> Process {
        Process::pin(getpid().as_raw()).expect("it lives")
    }

    #[test]
    fn case_71_who_holds_the_other_end_is_the_peer_and_nobody_else() {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        let stranger = Other::with(Stdio::null());
        let refused = is_peer(&stranger.1, own_ids(), ours.as_fd());
        assert_eq!(refused, Err(Refused::NotHolder(stranger.1.pid)));
        assert_eq!(is_peer(&this_process(), own_ids(), ours.as_fd()), Ok(()));

        let holder = Other::with(OwnedFd::from(theirs).into());
        assert_eq!(is_peer(&holder.1, own_ids(), ours.as_fd()), Ok(()));
        let refused = is_peer(&this_process(), own_ids(), ours.as_fd());
        assert_eq!(refused, Err(Refused::NotHolder(this_process().pid)));
    }

    #[test]
    fn case_71_a_holder_with_other_ids_is_not_the_peer() {
        let (ours, _theirs) = UnixStream::pair().expect("sockets");
        let (uid, gid) = own_ids();
        for ids in [(uid + 1, gid), (uid, gid + 1)] {
            let refused = is_peer(&this_process(), ids, ours.as_fd());
            assert_eq!(refused, Err(Refused::NotItsIds(this_process().pid)));
        }
    }

    #[test]
    fn a_copy_of_a_closed_descriptor_is_good() {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        let copy = theirs.try_clone().expect("descriptors are left");
        drop(theirs);
        assert_eq!(is_peer(&this_process(), own_ids(), ours.as_fd()), Ok(()));
        drop(copy);
        let refused = is_peer(&this_process(), own_ids(), ours.as_fd());
        assert_eq!(refused, Err(Refused::NotHolder(this_process().pid)));
    }

    #[test]
    fn the_look_at_descriptors_is_bounded() {
        let holder = Other::with(Stdio::null());
        let refused = holds(&holder.1, 1, 2);
        assert_eq!(refused, Err(Refused::TooManyDescriptors(holder.1.pid)));
        assert_eq!(holds(&holder.1, 1, 64), Ok(false));
    }

    #[test]
    fn a_peer_that_has_exited_is_not_the_peer() {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        let mut holder = Other::with(OwnedFd::from(theirs.try_clone().unwrap()).into());
        holder.0.kill().unwrap();
        holder.0.wait().unwrap();
        is_peer(&holder.1, own_ids(), ours.as_fd()).unwrap_err();
    }

    #[test]
    fn this_kernel_can_tell_who_a_peer_is() {
        assert_eq!(check_kernel(), Ok(()));
    }
}
