//! What a row says: who does what, to a cgroup of which owner and mode, and where.

use super::identity::{BASE, Identity, named};
use crate::hierarchies::{self, Version};

/// The uid and gid of a process inside a container.
pub(super) const INSIDE: u32 = BASE + 600;
/// An ordinary user's uid that nothing belongs to.
pub(super) const OTHER: u32 = 4000;

/// One question that both sides answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Row {
    pub(super) identity: &'static str,
    /// The hierarchy's label.
    pub(super) hierarchy: &'static str,
    pub(super) site: Site,
    pub(super) act: Act,
}

/// The cgroup a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Site {
    pub(super) position: Position,
    pub(super) owner: (u32, u32),
    pub(super) mode: u32,
}

/// Where the cgroup lies. All identities live in one cgroup below the managed root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Position {
    /// Below that.
    Below,
    /// That itself; for those who are not confined to it, the managed root.
    Top,
    /// In the managed root, but on another branch.
    Sibling,
    /// Outside the managed root.
    Outside,
}

/// What is done. The reasons why some differ from others are in [`super::rules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Act {
    Create,
    CreateReserved,
    Remove,
    /// An empty cgroup of root's, with one below it.
    RemoveTree,
    /// By the limit's own call.
    SetLimit,
    /// The same by writing its file.
    WriteLimit,
    /// A file of the delegate list that is a setting.
    SetDelegated,
    /// A file nobody sets through the daemon.
    SetNever,
    /// A file that is host root's.
    SetHostRoot,
    SetDevices,
    Read,
    /// What everybody may read, in a cgroup that not everybody may enter.
    ReadBelow,
    List,
    Processes,
    /// To the caller's own ids.
    ChownSelf,
    /// To other ids of the caller's.
    ChownOther,
    /// To ids that no container here maps.
    ChownUnmapped,
    /// To the overflow ids.
    ChownReserved,
    Chmod,
    ChmodSetgid,
    ChmodLimit,
    /// A limit file, writable for everybody.
    ChmodLimitOpen,
    Attach(Who, From),
}

/// Which process is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// One of the caller's uid, in its namespaces.
    Own,
    /// An ordinary user's, in the caller's pid namespace.
    Other,
    /// Root's.
    Root,
    /// Another uid's of the caller's user namespace.
    Inside,
    /// One with the uid of the one above, but in the host's user namespace.
    SameNumber,
    /// The caller's real uid with root's effective one.
    SetUid,
    /// Root's real uid with the caller's effective one.
    EffectiveOnly,
    /// The daemon.
    Daemon,
}

/// Where that process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum From {
    /// In the target's parent.
    Near,
    /// Where all identities live.
    Far,
    /// On another branch of the managed root.
    Sibling,
    /// Outside the managed root.
    Outside,
}

impl Act {
    /// Whether it sets a limit.
    pub(super) fn sets_limit(self) -> bool {
        matches!(self, Self::SetLimit | Self::WriteLimit)
    }

    /// Whether it changes the owner.
    pub(super) fn is_chown(self) -> bool {
        matches!(
            self,
            Self::ChownSelf | Self::ChownOther | Self::ChownUnmapped | Self::ChownReserved
        )
    }

    /// Whether it changes a mode.
    pub(super) fn is_chmod(self) -> bool {
        matches!(self, Self::Chmod | Self::ChmodSetgid | Self::ChmodLimit | Self::ChmodLimitOpen)
    }
}

impl Act {
    /// Its name; all moves are one family.
    pub(super) fn family(self) -> String {
        match self {
            Self::Attach(..) => "Attach".to_owned(),
            act => format!("{act:?}"),
        }
    }

    /// Whether a rule refuses it to everybody.
    pub(super) fn is_refused_to_all(self) -> bool {
        matches!(
            self,
            Self::CreateReserved
                | Self::SetNever
                | Self::ChownReserved
                | Self::ChmodSetgid
                | Self::ChmodLimitOpen
                | Self::Attach(Who::Daemon, _)
        )
    }
}

impl Row {
    /// Who asks.
    pub(super) fn caller(&self) -> &'static Identity {
        named(self.identity)
    }

    /// Whether its hierarchy is cgroup v1.
    pub(super) fn is_v1(&self) -> bool {
        hierarchies::labelled(self.hierarchy).version == Version::V1
    }

    /// The same question by somebody else.
    pub(super) fn by(self, identity: &'static str) -> Self {
        Self { identity, ..self }
    }

    /// Another question at the same place.
    pub(super) fn asking(self, act: Act) -> Self {
        Self { act, ..self }
    }
}
