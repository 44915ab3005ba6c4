//! Who pays. Accounts form a tree, and what is charged to one counts in all groups above it.

use std::fmt;
use std::str::FromStr;

use crate::sys::namespace::NsId;

/// Whom something is charged to. A caller can neither choose its account nor have several,
/// whatever namespaces it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Account {
    /// Root of the host, in the daemon's own namespaces.
    HostRoot,
    /// A user of the host, and everybody in the user namespaces that this user made.
    User(u32),
    /// A container that root made, by its outermost pid namespace below the daemon's; or by its
    /// outermost user namespace, where that is root's.
    ///
    /// A set-user-id program can make pid namespaces for an ordinary user, one after the other.
    /// Therefore a user other than 0 counts as itself, too, in all of root's containers together.
    Container {
        /// The namespace.
        namespace: NsId,
        /// The host's number of a user other than 0 that is in no user namespace of its own.
        user: Option<u32>,
    },
    /// Everybody else whom root confined: nothing tells them apart that they could not change.
    Confined,
    /// Clients of the system bus of whom nothing is known yet.
    Unidentified,
    /// Peers that were gone, or could not be proven, before their account was known. (Their uid is
    /// known, but not whether they are in a container.)
    Gone,
}

/// Accounts that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Group {
    /// A single account.
    Account(Account),
    /// One user other than 0 in all of root's containers, shown as `containers:UID`.
    UserInContainers(u32),
    /// All of root's containers, shown as `containers`.
    Containers,
    /// All accounts but host root's and [`Account::Unidentified`], shown as `others`.
    Others,
}

impl Account {
    /// The account of a peer of whom no more is known than the uid that it connected with. The
    /// share that is host root's is only for those who are known to be host root.
    pub fn of_uid(uid: u32) -> Self {
        if uid == 0 { Self::Confined } else { Self::User(uid) }
    }

    /// The account without its user: all users of a container have one together.
    #[must_use]
    pub fn without_user(self) -> Self {
        match self {
            Self::Container { namespace, .. } => Self::Container { namespace, user: None },
            account => account,
        }
    }

    /// Where it counts: by itself first, then in ever larger groups.
    pub(crate) fn groups(self) -> impl Iterator<Item = Group> + Clone {
        let user = if let Self::Container { user, .. } = self { user } else { None };
        // Users who have all there is for others must not keep a client of host root's from being
        // identified.
        let has_own_share = matches!(self, Self::HostRoot | Self::Unidentified);
        let is_container = matches!(self, Self::Container { .. } | Self::Confined);
        let groups = [
            Some(Group::Account(self.without_user())),
            user.map(Group::UserInContainers),
            is_container.then_some(Group::Containers),
            (!has_own_share).then_some(Group::Others),
        ];
        groups.into_iter().flatten()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostRoot => f.write_str("root"),
            Self::User(uid) => write!(f, "uid:{uid}"),
            Self::Container { namespace, user: None } => write!(f, "container:{namespace}"),
            Self::Container { namespace, user: Some(uid) } => {
                write!(f, "container:{namespace}:{uid}")
            }
            Self::Confined => f.write_str("confined"),
            Self::Unidentified => f.write_str("unidentified"),
            Self::Gone => f.write_str("gone"),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(account) => account.fmt(f),
            Self::UserInContainers(uid) => write!(f, "containers:{uid}"),
            Self::Containers => f.write_str("containers"),
            Self::Others => f.write_str("others"),
        }
    }
}

/// The text is not an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an account")]
pub struct NoAccount;

impl FromStr for Account {
    type Err = NoAccount;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, NoAccount> {
        fn number(text: &str) -> Result<u32, NoAccount> {
            text.parse().map_err(|_| NoAccount)
        }
        let mut words = text.split(':');
        let kind = words.next();
        let rest: Vec<&str> = words.collect();
        match (kind, &rest[..]) {
            (Some("root"), []) => Ok(Self::HostRoot),
            (Some("confined"), []) => Ok(Self::Confined),
            (Some("uid"), [uid]) => number(uid).map(Self::User),
            (Some("container"), [device, inode, user @ ..]) if user.len() <= 1 => {
                let namespace = NsId::parse(device, inode).ok_or(NoAccount)?;
                let user = user.first().map(|uid| number(uid)).transpose()?;
                Ok(Self::Container { namespace, user })
            }
            _ => Err(NoAccount),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(user: Option<u32>) -> Account {
        Account::Container { namespace: NsId::parse("4", "4026532500").unwrap(), user }
    }

    #[test]
    fn accounts_are_read_as_they_are_written() {
        let all = [
            Account::HostRoot,
            Account::User(1000),
            container(None),
            container(Some(7)),
            Account::Confined,
        ];
        for account in all {
            assert_eq!(account.to_string().parse(), Ok(account));
        }
        for text in ["", "uid", "uid:", "uid:x", "root:1", "container:4", "container:1:2:3:4"] {
            assert_eq!(text.parse::<Account>(), Err(NoAccount), "{text:?}");
        }
    }

    #[test]
    fn a_container_is_one_account_for_all_of_its_users() {
        let groups = |account: Account| account.groups().collect::<Vec<_>>();
        let own = Group::Account(container(None));
        assert_eq!(groups(container(None)), [own, Group::Containers, Group::Others]);
        let of_user = [own, Group::UserInContainers(7), Group::Containers, Group::Others];
        assert_eq!(groups(container(Some(7))), of_user);
    }

    #[test]
    fn host_root_counts_nowhere_else() {
        let mut groups = Account::HostRoot.groups();
        assert_eq!(groups.next(), Some(Group::Account(Account::HostRoot)));
        assert_eq!(groups.next(), None);
        assert_eq!(Account::of_uid(0), Account::Confined, "it may be a container's");
    }
}
