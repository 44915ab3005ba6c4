//! How much of each resource there is, for one account and for several together.

use std::fmt;

use nix::sys::resource::{Resource as Limit, getrlimit};

use super::{Account, Group};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// Connections to the daemon's sockets.
    Connections,
    /// Clients of the system bus that have called lately or watch something.
    Clients,
    /// Handshakes, and proofs of who a peer is, that are under way.
    Handshakes,
    /// Calls that are carried out; each has a thread.
    Calls,
    /// Conversations with cgmanager's clients; each has a thread.
    Conversations,
    /// Open files that last as long as a call or a watch.
    Descriptors,
    /// Bytes of long calls that are received or carried out, and of replies that are not taken yet.
    Bytes,
    /// Watches.
    Watches,
    /// Promises to remove a cgroup when it is empty.
    Promises,
    /// Cgroups that were made, in the hierarchy of this index.
    Cgroups(usize),
    /// Threads that wait until the kernel has reclaimed memory.
    ReclaimThreads,
    /// Descriptors and connections of peers that wait to be closed.
    Closing,
    /// Processes that receive and close descriptors of peers.
    Helpers,
    /// Threads that try to seize a process and are not waited for any more.
    StuckTracers,
    /// The same, for the processes of this user alone.
    StuckTracersOfUser(u32),
}

impl Resource {
    /// Its name in the reply of `Accounts`; for one user or one hierarchy it ends with the number.
    pub fn name(self) -> String {
        let name = match self {
            Self::Connections => "connections",
            Self::Clients => "clients",
            Self::Handshakes => "handshakes",
            Self::Calls => "calls",
            Self::Conversations => "conversations",
            Self::Descriptors => "descriptors",
            Self::Bytes => "bytes",
            Self::Watches => "watches",
            Self::Promises => "promises",
            Self::Cgroups(index) => return format!("cgroups:{index}"),
            Self::ReclaimThreads => "reclaim-threads",
            Self::Closing => "closing",
            Self::Helpers => "helpers",
            Self::StuckTracers => "stuck-tracers",
            Self::StuckTracersOfUser(uid) => return format!("stuck-tracers:{uid}"),
        };
        name.to_owned()
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "connections",
            Self::Clients => "clients on the system bus",
            Self::Handshakes => "handshakes",
            Self::Calls => "calls under way",
            Self::Conversations => "conversations under way",
            Self::Descriptors => "descriptors",
            Self::Bytes => "bytes of messages under way",
            Self::Watches => "watches",
            Self::Promises => "cgroups that are removed when they are empty",
            Self::Cgroups(_) => "cgroups",
            Self::ReclaimThreads => "writes that wait until memory is reclaimed",
            Self::Closing => "connections and sockets that wait to be closed",
            Self::Helpers => "helper processes",
            Self::StuckTracers | Self::StuckTracersOfUser(_) => "processes that cannot be held",
        })
    }
}

/// The bounds that the configuration decides; all others are constants of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections of one account; the same number of clients on the system bus.
    pub connections_per_account: usize,
    /// Connections of all accounts but host root's; the same number of clients.
    pub connections: usize,
    /// Handshakes of one account.
    pub handshakes_per_account: usize,
    /// Calls of one account that run at the same time.
    pub calls_per_account: usize,
    /// Cgroups of one account in one hierarchy, unless its delegation says otherwise.
    pub cgroups_per_account: usize,
    /// The longest message, in bytes.
    pub longest_message: usize,
}

impl Bounds {
    /// Calls of all accounts but host root's: fewer than the runtime has threads for them.
    pub const CALLS: usize = 96;
    /// Calls of one account at most, so that several accounts have some.
    pub const CALLS_PER_ACCOUNT: usize = Self::CALLS / 4;

    /// What is charged of a message of this length. Short ones are not: their number is bounded.
    pub fn charged_bytes(length: usize) -> usize {
        const SHORT: usize = 4096;
        if length > SHORT { length } else { 0 }
    }

    /// The most of a resource that each group may have.
    pub(super) fn row(&self, resource: Resource) -> Row {
        const MIB: usize = 1 << 20;
        match resource {
            Resource::Connections | Resource::Clients => Row {
                unidentified: self.connections.div_ceil(4),
                ..Row::new(self.connections_per_account, self.connections)
            },
            Resource::Handshakes => Row::new(self.handshakes_per_account, self.connections),
            Resource::Calls => Row::new(self.calls_per_account, Self::CALLS),
            Resource::Conversations => Row::new(8, 64),
            Resource::Descriptors => Row::of_descriptors(open_files()),
            Resource::Bytes => {
                // Some of the longest messages at a time.
                let account = (4 * self.longest_message).max(6 * MIB);
                Row::new(account, 4 * account)
            }
            Resource::Watches => Row::new(256, 4096),
            Resource::Promises => Row::new(1000, 10_000),
            // The kernel has numbers for 65,535 memory cgroups. (mm/memcontrol.c: MEM_CGROUP_ID_MAX)
            Resource::Cgroups(_) => {
                let others = 50_000.max(4 * self.cgroups_per_account);
                Row { root: usize::MAX, ..Row::new(self.cgroups_per_account, others) }
            }
            // One that is stuck must not keep its owner from trying again.
            Resource::ReclaimThreads => Row::new(2, 64),
            // More than a message can bring. There is no bound for all together: accounts whose
            // descriptors cannot be closed must not keep others from sending some.
            Resource::Closing => Row::new(320, usize::MAX),
            // One that receives, one that closes, and two that hang: with three there is none that
            // receives. All together have many, so that accounts whose processes hang do not keep
            // others from having some.
            Resource::Helpers => Row::new(4, 1024),
            Resource::StuckTracers => Row::new(16, 128),
            Resource::StuckTracersOfUser(_) => Row::new(2, 128),
        }
    }
}

/// How many files this process may have open now (`RLIMIT_NOFILE`); where the kernel does not tell,
/// 1024, the usual soft limit.
fn open_files() -> usize {
    const USUAL: u64 = 1024;
    let (soft, _) = getrlimit(Limit::RLIMIT_NOFILE).unwrap_or((USUAL, USUAL));
    usize::try_from(soft).unwrap_or(usize::MAX)
}

/// The bounds of one resource.
#[derive(Debug)]
pub(super) struct Row {
    account: usize,
    unidentified: usize,
    user_in_containers: usize,
    containers: usize,
    others: usize,
    root: usize,
}

impl Row {
    /// Root's containers may have half of what all accounts but host root's have, and one user in all
    /// containers a quarter. Host root has as much as any account, which nobody else can use.
    fn new(account: usize, others: usize) -> Self {
        Self {
            account,
            unidentified: account,
            user_in_containers: (others / 4).max(account),
            containers: (others / 2).max(account),
            others,
            root: account,
        }
    }

    /// Half is for host root, which may have more while others do not need it. The last eighth is for
    /// what belongs to nobody, and for a few files that each call opens for a moment.
    fn of_descriptors(open_files: usize) -> Self {
        Self { root: open_files / 8 * 7, ..Self::new(open_files / 8, open_files / 2) }
    }

    pub(super) fn of(&self, group: Group) -> usize {
        match group {
            Group::Account(Account::HostRoot) => self.root,
            Group::Account(Account::Unidentified) => self.unidentified,
            Group::Account(_) => self.account,
            Group::UserInContainers(_) => self.user_in_containers,
            Group::Containers => self.containers,
            Group::Others => self.others,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Limits;

    #[test]
    fn no_account_can_have_all_and_root_has_some_of_everything() {
        let bounds = Bounds::new(&Limits::default(), 10_000);
        for resource in [
            Resource::Connections,
            Resource::Clients,
            Resource::Handshakes,
            Resource::Calls,
            Resource::Conversations,
            Resource::Descriptors,
            Resource::Bytes,
            Resource::Watches,
            Resource::Promises,
            Resource::Cgroups(0),
            Resource::ReclaimThreads,
            Resource::Closing,
            Resource::Helpers,
            Resource::StuckTracers,
            Resource::StuckTracersOfUser(1000),
        ] {
            let Row { account, unidentified, user_in_containers, containers, others, root } =
                bounds.row(resource);
            assert!(account <= user_in_containers && user_in_containers < others, "{resource:?}");
            assert!(account <= containers && containers < others, "{resource:?}");
            assert!(account <= others / 4 && unidentified < others, "{resource:?}");
            assert!(root >= account, "{resource:?}");
        }
    }

    #[test]
    fn host_root_has_half_of_the_descriptors_at_least() {
        let Row { others, root, .. } = Row::of_descriptors(20_000);
        assert!(others <= 10_000 && root >= 10_000);
    }
}
