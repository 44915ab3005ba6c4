//! Who is behind a unique name, by the bus's own sockets.
//!
//! A bus that hands out a process number says who connected, not whether that process still
//! lives or somebody else has its number now. The kernel knows: it keeps the peer of every
//! socket of the bus. Nothing in a message tells which socket a name belongs to, so *every*
//! socket whose peer has the number must have the same live process behind it.

use std::collections::HashMap;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::readlinkat;
use nix::sys::socket::{UnixAddr, getpeername, getsockopt, sockopt};
use rustix::fs::RawDir;

use crate::caller::{Ids, Process};
use crate::cgroup::handle::errno_of;
use crate::is_transient;
use crate::sys::{pidfd, socket};

/// A bus may have this many sockets; with more the proof costs too much.
const MOST_SOCKETS: usize = 4096;

/// What the bus says of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The process that connected.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
}

/// What the kernel says of the same caller.
#[derive(Debug)]
pub struct Proof {
    /// The ids at connect.
    pub ids: Ids,
    /// The process, alive.
    pub process: Process,
}

/// Why there is no proof; the text is for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// Its sockets cannot be looked at.
    #[error("the sockets of the bus cannot be read: {0}")]
    Unreadable(Errno),
    /// Nobody could be found who holds the other end of the daemon's connection.
    #[error("the process of the bus cannot be found")]
    NotTheBus,
    /// More sockets than `MOST_SOCKETS`.
    #[error("the bus has too many sockets to look through")]
    TooMany,
    /// `SO_PEERPIDFD` came with Linux 6.5.
    #[error("this kernel does not say which process a socket belongs to (Linux 6.5 does)")]
    OldKernel,
    /// No connection of that process and user.
    #[error("no connection to the bus belongs to process {0}")]
    NotFound(i32),
    /// Somebody who ended, or other ids, behind the same number.
    #[error("process number {0} has stood for more than one process or user on this bus")]
    Ambiguous(i32),
}

impl Unproven {
    /// Whether the look failed for a reason that passes: it says nothing about the caller.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self, Self::Unreadable(errno) if is_transient(*errno))
    }
}

impl From<Errno> for Unproven {
    fn from(errno: Errno) -> Self {
        Self::Unreadable(errno)
    }
}

/// The process of the bus.
#[derive(Debug)]
pub struct BusProcess {
    process: Process,
}

impl BusProcess {
    /// Takes `candidate` for the bus if it holds the other end of the connection that has
    /// `own_name` as its address here. Whoever only *listened* for the bus (pid 1, with socket
    /// activation) does not.
    ///
    /// # Errors
    /// When it holds no such descriptor, or may not be looked at.
    pub fn confirm(candidate: Process, own_name: &UnixAddr) -> Result<Self, Unproven> {
        let is_ours = |socket: &OwnedFd| {
            getpeername::<UnixAddr>(socket.as_raw_fd()).is_ok_and(|peer| peer == *own_name)
        };
        let mut found = false;
        each_socket(&candidate, |socket| found = found || is_ours(&socket))?;
        found.then_some(Self { process: candidate }).ok_or(Unproven::NotTheBus)
    }

    /// Another handle of the process.
    ///
    /// # Errors
    /// ESRCH when it is gone, EMFILE.
    pub fn process(&self) -> nix::Result<Process> {
        let pidfd = self.process.pidfd().try_clone_to_owned().map_err(|_| Errno::EMFILE)?;
        Process::from_pidfd(pidfd)
    }

    /// Looks at all sockets once and judges every claim by what is behind them. A claim must
    /// have been made before the look, or its socket could be missing from it.
    pub fn prove(&self, claims: &[Claim]) -> Vec<Result<Proof, Unproven>> {
        let mut evidence: HashMap<i32, Evidence> =
            claims.iter().map(|claim| (claim.pid, Evidence::Nothing)).collect();
        let seen = each_socket(&self.process, |socket| {
            let peer = getsockopt(&socket, sockopt::PeerCredentials);
            if let Ok(peer) = peer
                && let Some(known) = evidence.get_mut(&peer.pid())
            {
                known.add(Witness::of(&socket, peer.uid(), peer.gid()));
            }
        });
        claims
            .iter()
            .map(|claim| {
                seen.clone()?;
                evidence.get(&claim.pid).unwrap_or(&Evidence::Nothing).judge(*claim)
            })
            .collect()
    }
}

/// What one socket says of its peer.
#[derive(Debug)]
struct Witness {
    ids: Ids,
    pidfd: OwnedFd,
}

impl Witness {
    fn of(socket: &OwnedFd, uid: u32, gid: u32) -> nix::Result<Self> {
        let pidfd = socket::peer_pidfd(socket)?;
        let groups = socket::peer_groups(socket)?;
        pidfd::is_alive(&pidfd).then_some(()).ok_or(Errno::ESRCH)?;
        Ok(Self { ids: Ids { uid, gid, groups }, pidfd })
    }

    fn same_ids(&self, other: &Self) -> bool {
        let key = |ids: &Ids| (ids.uid, ids.gid);
        key(&self.ids) == key(&other.ids) && self.ids.groups == other.ids.groups
    }
}

/// What all sockets with one peer number say together.
#[derive(Debug)]
enum Evidence {
    Nothing,
    Agreed(Witness),
    Against(Option<Errno>),
}

impl Evidence {
    /// The first witness is kept. Each later one was alive under the same number when it was
    /// heard; the first, still alive in the end, had that number all the time, so they are one.
    fn add(&mut self, witness: nix::Result<Witness>) {
        *self = match (std::mem::replace(self, Self::Against(None)), witness) {
            (Self::Nothing, Ok(witness)) => Self::Agreed(witness),
            (Self::Agreed(first), Ok(witness)) if first.same_ids(&witness) => Self::Agreed(first),
            (Self::Against(errno), _) => Self::Against(errno),
            (_, Err(errno)) => Self::Against(Some(errno)),
            _ => Self::Against(None),
        };
    }

    fn judge(&self, claim: Claim) -> Result<Proof, Unproven> {
        let first = match self {
            Self::Agreed(witness) if witness.ids.uid == claim.uid => witness,
            Self::Against(Some(Errno::ENOPROTOOPT)) => return Err(Unproven::OldKernel),
            Self::Against(Some(errno)) if is_transient(*errno) => {
                return Err(Unproven::Unreadable(*errno));
            }
            Self::Against(_) => return Err(Unproven::Ambiguous(claim.pid)),
            Self::Agreed(_) | Self::Nothing => return Err(Unproven::NotFound(claim.pid)),
        };
        let process = Process::from_pidfd(first.pidfd.try_clone().map_err(|_| Errno::EMFILE)?)
            .map_err(|errno| match is_transient(errno) {
                true => Unproven::Unreadable(errno),
                false => Unproven::Ambiguous(claim.pid),
            })?;
        let same = process.pid == claim.pid;
        same.then_some(()).ok_or(Unproven::Ambiguous(claim.pid))?;
        Ok(Proof { ids: first.ids.clone(), process })
    }
}

/// Hands copies of all sockets of a process to `look`, one after the other.
fn each_socket(process: &Process, mut look: impl FnMut(OwnedFd)) -> Result<(), Unproven> {
    let mut buffer = [MaybeUninit::uninit(); 8 << 10];
    let mut entries = RawDir::new(process.open("fd")?, &mut buffer);
    let links = process.open("fd")?;
    let mut count = 0;
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(errno_of)?;
        let Some(number) = socket_number(&links, entry.file_name())? else { continue };
        count += 1;
        if count > MOST_SOCKETS {
            return Err(Unproven::TooMany);
        }
        match pidfd::get_fd(process.pidfd(), number) {
            Ok(socket) => look(socket),
            // Closed since it was listed.
            Err(Errno::EBADF) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    process.check_alive().map_err(Unproven::from)
}

/// The number of an entry of `/proc/PID/fd` that is a socket. Other descriptors are not even
/// copied: closing a copy of a file can have effects of its own.
fn socket_number(links: &OwnedFd, name: &CStr) -> nix::Result<Option<i32>> {
    let Some(number) = name.to_str().ok().and_then(|name| name.parse().ok()) else {
        return Ok(None);
    };
    match readlinkat(links, name) {
        Ok(target) => Ok(target.as_encoded_bytes().starts_with(b"socket:").then_some(number)),
        Err(errno) if is_transient(errno) => Err(errno),
        // Closed since it was listed; or some other file, whose path may be too long to be shown
        // (ENAMETOOLONG): that of a socket never is.
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use nix::sys::socket::getsockname;
    use nix::unistd::{getgid, getuid};

    use super::*;

    /// The test's own process stands in for a bus: its sockets are as good as any.
    fn this_process() -> Process {
        Process::pin(std::process::id().cast_signed()).expect("alive")
    }

    fn this_claim() -> Claim {
        Claim { pid: std::process::id().cast_signed(), uid: getuid().as_raw() }
    }

    fn is_old_kernel() -> bool {
        let (end, _other) = UnixStream::pair().expect("sockets");
        socket::peer_pidfd(&end).is_err_and(|errno| errno == Errno::ENOPROTOOPT)
    }

    #[test]
    fn a_process_behind_a_socket_is_proven() {
        let _pair = UnixStream::pair().expect("sockets");
        let bus = BusProcess { process: this_process() };
        let proof = bus.prove(&[this_claim()]).remove(0);
        if is_old_kernel() {
            return assert_eq!(proof.expect_err("not by this kernel"), Unproven::OldKernel);
        }
        let proof = proof.expect("proven");
        assert_eq!(proof.process.pid, this_claim().pid);
        assert_eq!((proof.ids.uid, proof.ids.gid), (getuid().as_raw(), getgid().as_raw()));
    }

    #[test]
    fn another_uid_or_a_stranger_is_not() {
        let _pair = UnixStream::pair().expect("sockets");
        let bus = BusProcess { process: this_process() };
        let other = Claim { uid: this_claim().uid + 1, ..this_claim() };
        let stranger = Claim { pid: 1, uid: 0 };
        for (claim, result) in [other, stranger].iter().zip(bus.prove(&[other, stranger])) {
            let expected = match is_old_kernel() && claim.pid != 1 {
                true => Unproven::OldKernel,
                false => Unproven::NotFound(claim.pid),
            };
            assert_eq!(result.expect_err("no such peer"), expected);
        }
    }

    #[test]
    fn only_who_holds_the_other_end_is_the_bus() {
        let dir = std::env::temp_dir().join(format!("cgroupd-test-prove-{}", std::process::id()));
        let listener = UnixListener::bind(&dir).expect("a free name");
        let stream = super::super::address::connect_any(&format!("unix:path={}", dir.display()));
        let stream = stream.expect("somebody listens");
        let name: UnixAddr = getsockname(stream.as_raw_fd()).expect("bound");
        let early = BusProcess::confirm(this_process(), &name);
        assert_eq!(early.expect_err("nobody accepted yet"), Unproven::NotTheBus);
        let _accepted = listener.accept().expect("a connection");
        BusProcess::confirm(this_process(), &name).expect("holds the other end");
        std::fs::remove_file(&dir).expect("was made above");
    }
}
