//! The peer of a socket, as the kernel recorded it when it connected.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};

use super::now::Cache;
use super::{Host, Process};
use crate::sys::{namespace, socket};

/// A proven peer. Ids and process never change for the life of the connection.
#[derive(Debug)]
pub struct Caller {
    /// The uid at connect, in the daemon's user namespace.
    pub uid: u32,
    /// The gid at connect.
    pub gid: u32,
    /// The supplementary groups at connect.
    pub groups: Arc<[u32]>,
    /// The process that connected.
    pub process: Process,
    /// Whose quota this caller uses: its uid, or the uid that owns its outermost user
    /// namespace below the daemon's.
    pub key: u32,
    /// `None` when proven, else why this caller of the system bus could not be.
    pub unproven: Option<String>,
    pub(super) cache: Mutex<Cache>,
}

/// Why a peer is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Pid 0 or an overflow id: the daemon cannot see the peer.
    #[error("the peer is in a namespace that the daemon cannot see")]
    Invisible,
    /// The peer exited, or the kernel would not say who it is.
    #[error("the peer cannot be identified: {0}")]
    Unknown(Errno),
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self::Unknown(errno)
    }
}

/// The ids of a peer, wherever they come from.
#[derive(Clone, Debug)]
pub struct Ids {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

impl Caller {
    /// Identifies the peer of a connected UNIX socket; call it right after `accept`.
    ///
    /// # Errors
    /// Whenever any fact is missing.
    pub fn from_socket(socket: impl AsFd, host: &Host) -> Result<Self, Refused> {
        let peer = getsockopt(&socket, sockopt::PeerCredentials)?;
        if peer.pid() <= 0 || peer.uid() == u32::MAX || peer.gid() == u32::MAX {
            return Err(Refused::Invisible);
        }
        let ids = Ids { uid: peer.uid(), gid: peer.gid(), groups: socket::peer_groups(&socket)? };
        let process = match socket::peer_pidfd(&socket) {
            Ok(pidfd) => Process::from_pidfd(pidfd)?,
            Err(Errno::ENOPROTOOPT) => by_number(peer.pid(), peer.uid())?,
            Err(errno) => return Err(errno.into()),
        };
        Self::new(ids, process, None, host)
    }

    /// Puts a caller together from facts that were gathered elsewhere (the system bus).
    ///
    /// # Errors
    /// When its namespaces cannot be read.
    pub fn new(
        ids: Ids,
        process: Process,
        unproven: Option<String>,
        host: &Host,
    ) -> Result<Self, Refused> {
        let user_ns = process.open("ns/user")?;
        let key = account_key(ids.uid, user_ns, host)?;
        process.check_alive()?;
        Ok(Self {
            uid: ids.uid,
            gid: ids.gid,
            groups: ids.groups.into(),
            process,
            key,
            unproven,
            cache: Mutex::default(),
        })
    }
}

/// Kernels before 6.5 do not hand out the peer's pidfd. The number may have been recycled
/// between connect and now: then the process is younger than this look, or another user's.
fn by_number(pid: i32, uid: u32) -> Result<Process, Refused> {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)?;
    let process = Process::pin(pid)?;
    let owner = process.stat(".")?.st_uid;
    let start = start_ticks(&process.read("stat")?).ok_or(Errno::ESRCH)?;
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100);
    let same_user = owner == uid || owner == 0;
    process.check_alive()?;
    match same_user && start / ticks <= now.tv_sec() {
        true => Ok(process),
        false => Err(Refused::Unknown(Errno::ESRCH)),
    }
}

/// Field 22 of `/proc/PID/stat`, in clock ticks since boot; the name before it may contain
/// anything, so fields are counted from the last parenthesis.
fn start_ticks(stat: &[u8]) -> Option<i64> {
    let text = String::from_utf8_lossy(stat);
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// 65,536 mapped ids of one container are one customer: whoever made its user namespace.
fn account_key(uid: u32, mut user_ns: OwnedFd, host: &Host) -> nix::Result<u32> {
    if super::NsId::of(&user_ns)? == host.user {
        return Ok(uid);
    }
    loop {
        let parent = namespace::parent(&user_ns)?;
        if super::NsId::of(&parent)? == host.user {
            return namespace::owner_uid(&user_ns);
        }
        user_ns = parent;
    }
}

#[cfg(test)]
mod tests {
    use super::start_ticks;

    #[test]
    fn start_time_after_a_hostile_name() {
        let fields: Vec<String> = (4..40).map(|n| n.to_string()).collect();
        let stat = format!("12 (a) R 1 (b) S {}", fields.join(" "));
        assert_eq!(start_ticks(stat.as_bytes()), Some(22));
        assert_eq!(start_ticks(b"12 (x"), None);
    }
}
