//! Who asks: the peer of a socket, as the kernel recorded it when it connected, or whom a peer has
//! passed on.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Uid, User};

use super::now::Cache;
use super::proof::{self, MOST_DESCRIPTORS};
use super::{Host, NsId, Process};
use crate::accounting::Account;
use crate::policy::OVERFLOW_ID;
use crate::sys::creds::{self, Cap};
use crate::sys::{namespace, socket};
use crate::words;

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
    /// What it holds and causes is charged to this account.
    pub account: Account,
    /// `None` when proven, else why this caller of the system bus could not be.
    pub unproven: Option<String>,
    /// The edition of the rules that were last carried out for it.
    pub settled: AtomicU64,
    name: OnceLock<Option<String>>,
    pub(super) cache: Mutex<Cache>,
}

/// The kernel sorts them whenever a thread takes them: 65,536 are 30 ms.
const MOST_GROUPS: usize = 4096;

/// Why a peer is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Pid 0 or an overflow id: the daemon cannot see the peer.
    #[error("the peer is in a namespace that the daemon cannot see")]
    Invisible,
    /// Taking its groups would cost the daemon milliseconds each time it acts for the peer.
    #[error("the peer has {0} supplementary groups, at most {MOST_GROUPS} are served")]
    Groups(usize),
    /// Somebody else's ids were passed on with it.
    #[error("it was passed on with the ids {0}:{1}, which are not its own")]
    OtherIds(u32, u32),
    /// The process with the peer's number has closed the connection or passed it on, or was given
    /// the number after the peer had exited.
    #[error(
        "process {0} does not hold the other end of the connection: it has closed it or passed it \
         on, or it was given the number of a process that connected and exited, which kernels \
         before Linux 6.5 do not tell"
    )]
    NotHolder(i32),
    /// The process with the peer's number has none of the peer's ids any more, or never had.
    #[error(
        "process {0} does not have the uid or the gid that the peer connected with: it has changed \
         them, or it was given the number of a process that connected and exited, which kernels \
         before Linux 6.5 do not tell"
    )]
    NotItsIds(i32),
    /// Looking at all of them would cost too much.
    #[error(
        "process {0} has more than {MOST_DESCRIPTORS} descriptors, too many to look for the \
         connection among them, as kernels before Linux 6.5 require: connect from a process with \
         fewer"
    )]
    TooManyDescriptors(i32),
    /// The kernel does not answer a question on which the proof depends.
    #[error("it cannot be proven which process the peer is: cannot {what}: {}", words(*.errno))]
    Unprovable {
        /// What was attempted.
        what: &'static str,
        /// What the kernel answered.
        errno: Errno,
    },
    /// The peer exited, or the kernel would not say who it is.
    #[error("the peer cannot be identified: {}", words(*.0))]
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

impl Ids {
    /// Nobody in a namespace beside the daemon's can be told from others there, or be acted as:
    /// such a peer is not served, and such a group is not one that the caller has here.
    fn known(mut self, host: &Host) -> Result<Self, Refused> {
        if self.groups.len() > MOST_GROUPS {
            return Err(Refused::Groups(self.groups.len()));
        }
        if !host.sees_all_ids {
            if self.uid == OVERFLOW_ID || self.gid == OVERFLOW_ID {
                return Err(Refused::Invisible);
            }
            self.groups.retain(|gid| *gid != OVERFLOW_ID);
        }
        Ok(self)
    }
}

/// The peer of a connection that was just accepted. Before Linux 6.5 the kernel says no more than
/// the number that its process had when it connected. The process that has this number now is
/// pinned, and must be proven to be the peer before anything is done for it.
#[derive(Debug)]
pub struct Presumed {
    caller: Caller,
    is_proven: bool,
}

impl Presumed {
    /// Identifies the peer of a connected UNIX socket, without waiting for anything; call it right
    /// after `accept`.
    ///
    /// # Errors
    /// Whenever any fact is missing.
    pub fn from_socket(socket: impl AsFd, host: &Host) -> Result<Self, Refused> {
        let peer = getsockopt(&socket, sockopt::PeerCredentials)?;
        if peer.pid() <= 0 || peer.uid() == u32::MAX || peer.gid() == u32::MAX {
            return Err(Refused::Invisible);
        }
        let ids = Ids { uid: peer.uid(), gid: peer.gid(), groups: socket::peer_groups(&socket)? };
        let (process, is_proven) = match socket::peer_pidfd(&socket) {
            Ok(pidfd) => (Process::from_pidfd(pidfd)?, true),
            Err(Errno::ENOPROTOOPT) => (Process::pin(peer.pid())?, false),
            Err(errno) => return Err(errno.into()),
        };
        Ok(Self { caller: Caller::new(ids, process, None, host)?, is_proven })
    }

    /// Who the peer is if the process turns out to be the one that connected; good for accounting
    /// alone until then.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether [`Self::prove`] has nothing to do.
    pub fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// The peer for certain. Where the kernel has not said it, this looks at the descriptors of the
    /// process, which takes up to milliseconds and may need a thread.
    ///
    /// # Errors
    /// When the process does not hold the other end of `socket`, or that cannot be found out.
    pub fn prove(self, socket: impl AsFd) -> Result<Caller, Refused> {
        if !self.is_proven {
            let Caller { process, uid, gid, .. } = &self.caller;
            proof::is_peer(process, (*uid, *gid), socket.as_fd())?;
        }
        Ok(self.caller)
    }
}

impl Caller {
    /// Identifies and proves the peer of a connected UNIX socket; call it right after `accept`.
    ///
    /// # Errors
    /// Whenever any fact is missing.
    pub fn from_socket(socket: impl AsFd, host: &Host) -> Result<Self, Refused> {
        Presumed::from_socket(&socket, host)?.prove(&socket)
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
        let ids = ids.known(host)?;
        let account = account(ids.uid, &process, host)?;
        process.check_alive()?;
        Ok(Self {
            uid: ids.uid,
            gid: ids.gid,
            groups: ids.groups.into(),
            process,
            account,
            unproven,
            settled: AtomicU64::new(0),
            name: OnceLock::new(),
            cache: Mutex::default(),
        })
    }
}

impl Caller {
    /// What the host calls its user. No right comes of it: a rule of the administrator's may.
    ///
    /// # Errors
    /// What `getpwuid_r(3)` answers; it is asked again then.
    pub fn name(&self) -> nix::Result<Option<String>> {
        if let Some(known) = self.name.get() {
            return Ok(known.clone());
        }
        let name = User::from_uid(Uid::from_raw(self.uid))?.map(|user| user.name);
        Ok(self.name.get_or_init(|| name).clone())
    }
}

/// Nobody chooses its account from inside: only the outermost namespaces count, which were made from
/// outside. A pid namespace that belongs to the daemon's user namespace was made by root, or by a
/// set-user-id program. Where a user namespace is root's and there is no pid namespace, anybody who
/// is uid 0 without being host root can have made it, any number of times.
fn account(uid: u32, process: &Process, host: &Host) -> nix::Result<Account> {
    let pid_ns = outermost(process.open("ns/pid")?, host.pid)?;
    if let Some(pid_ns) = &pid_ns
        && NsId::of(&namespace::user_ns_of(pid_ns)?)? == host.user
    {
        let user = (uid != 0).then_some(uid);
        return Ok(Account::Container { namespace: NsId::of(pid_ns)?, user });
    }
    if let Some(user_ns) = outermost(process.open("ns/user")?, host.user)? {
        return Ok(match namespace::owner_uid(&user_ns)? {
            0 if pid_ns.is_none() => Account::Confined,
            0 => Account::Container { namespace: NsId::of(&user_ns)?, user: None },
            owner => Account::User(owner),
        });
    }
    // Only root makes a cgroup namespace without a user namespace: its uids are nobody's outside.
    let is_confined = NsId::from(process.stat("ns/cgroup")?) != host.cgroup
        || uid == 0 && !creds::capabilities(process.pid)?.0.has(Cap::SysAdmin);
    Ok(match uid {
        _ if is_confined => Account::Confined,
        0 => Account::HostRoot,
        uid => Account::User(uid),
    })
}

/// The outermost user or pid namespace below the daemon's. In the daemon's own there is none.
fn outermost(mut namespace: OwnedFd, own: NsId) -> nix::Result<Option<OwnedFd>> {
    if NsId::of(&namespace)? == own {
        return Ok(None);
    }
    loop {
        let parent = namespace::parent(&namespace)?;
        if NsId::of(&parent)? == own {
            return Ok(Some(namespace));
        }
        namespace = parent;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Host;
    use super::{Ids, Refused};

    #[test]
    fn case_8_ids_that_a_nested_daemon_cannot_tell() {
        let whole = Host { sees_all_ids: true, ..Host::read().unwrap() };
        let nested = Host { sees_all_ids: false, ..whole };
        let ids = |uid, gid| Ids { uid, gid, groups: vec![5, 65534] };
        assert_eq!(ids(65534, 65534).known(&whole).unwrap().groups, [5, 65534]);
        assert_eq!(ids(1000, 1000).known(&nested).unwrap().groups, [5]);
        assert_eq!(ids(65534, 1000).known(&nested).unwrap_err(), Refused::Invisible);
        assert_eq!(ids(1000, 65534).known(&nested).unwrap_err(), Refused::Invisible);
    }

    #[test]
    fn nobody_has_so_many_groups() {
        let host = Host::read().unwrap();
        let with = |count| Ids { uid: 1, gid: 1, groups: (1..=count).collect() }.known(&host);
        assert_eq!(with(4097).unwrap_err(), Refused::Groups(4097));
        assert_eq!(with(4096).unwrap().groups.len(), 4096);
    }
}
