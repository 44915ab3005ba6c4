//! Permission on a file or directory, as the kernel would judge it.
//!
//! For an ordinary caller nothing is computed here: the terms are its identity, and the kernel
//! answers when the work is done. Only the root of a user namespace needs arithmetic, because
//! the acting thread lives in the daemon's namespace, where its capabilities do not count.

use super::{Class, Decision, Refusal, Subject, Terms};
use crate::sys::creds::{Actor, Cap, CapSet};

/// Owner and mode of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// Where a target lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// It is the scope's own top.
    Top,
    /// Strictly below it.
    Below,
}

/// The bits that are wanted: read 4, write 2, search 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want(u32);

impl Want {
    /// Read a file or list a directory.
    pub const READ: Self = Self(4);
    /// Write a file.
    pub const WRITE: Self = Self(2);
    /// Pass through a directory.
    pub const SEARCH: Self = Self(1);
    /// Make or remove entries of a directory.
    pub const CHANGE: Self = Self(3);
    /// List a directory and look at what is in it.
    pub const LIST: Self = Self(5);
}

impl Subject {
    /// The kernel's check with exclusive classes: an owner is judged by the owner's bits alone.
    pub(super) fn passes(&self, node: Node, want: Want) -> bool {
        let bits = if node.uid == self.uid {
            node.mode >> 6
        } else if node.gid == self.gid || self.groups.contains(&node.gid) {
            node.mode >> 3
        } else {
            node.mode
        };
        bits & want.0 == want.0
    }

    /// The caller as the kernel should see it, with nothing added.
    pub fn plain_actor(&self) -> Actor {
        match self.class {
            Class::HostRoot => Actor::Root,
            _ => Actor::As(self.identity(CapSet::EMPTY)),
        }
    }
}

/// Whether to try `want` on `node`, and as whom.
///
/// # Errors
/// Only for the root of a user namespace: neither the bits nor the maps allow it.
pub fn access(subject: &Subject, node: Node, want: Want) -> Decision {
    if subject.class != Class::NsRoot || subject.passes(node, want) {
        return Ok(Terms::acting(subject.plain_actor()));
    }
    if subject.caps.has(Cap::DacOverride) && subject.maps_both(node.uid, node.gid) {
        let identity = subject.identity(CapSet::one(Cap::DacOverride));
        return Ok(Terms::acting(Actor::As(identity)));
    }
    Err(denied_by_mode(subject, node))
}

fn denied_by_mode(subject: &Subject, node: Node) -> Refusal {
    let shown = |id: Option<u32>| id.map_or("unmapped".to_owned(), |id| id.to_string());
    let uid = shown(subject.uid_map.inside(node.uid));
    let gid = shown(subject.gid_map.inside(node.gid));
    let text = format!("it belongs to {uid}:{gid} with mode {:04o}", node.mode & 0o7777);
    let mapped = subject.maps_both(node.uid, node.gid);
    Refusal::new("access", text).hint(match mapped {
        true => "the caller lacks CAP_DAC_OVERRIDE in its user namespace",
        false => "both its owner and its group must be mapped in the caller's user namespace",
    })
}

/// Making or removing a cgroup, or changing what is below it: strictly below the scope, with
/// write and search permission on the `parent`.
///
/// # Errors
/// At the scope's top, or as [`access`].
pub fn change(subject: &Subject, position: Position, parent: Node) -> Decision {
    match position {
        Position::Top => Err(Refusal::new("top", "it is the top of the caller's scope")
            .hint("name a cgroup below it")),
        Position::Below => access(subject, parent, Want::CHANGE),
    }
}

/// Whether the root of a user namespace may pass through a directory that its own ids cannot.
pub fn may_search(subject: &Subject, node: Node) -> bool {
    subject.passes(node, Want::SEARCH)
        || subject.ns_root_with(Cap::DacOverride) && subject.maps_both(node.uid, node.gid)
}

#[cfg(test)]
mod tests {
    use super::super::subject::tests::{ns_root, user};
    use super::*;

    const fn node(uid: u32, gid: u32, mode: u32) -> Node {
        Node { uid, gid, mode }
    }

    #[test]
    fn classes_are_exclusive() {
        let me = user(1000, 1000, &[50]);
        for (node, want, allowed) in [
            (node(1000, 1000, 0o700), Want::CHANGE, true),
            (node(1000, 1000, 0o077), Want::READ, false),
            (node(1, 1000, 0o070), Want::CHANGE, true),
            (node(1, 50, 0o020), Want::WRITE, true),
            (node(1, 50, 0o007), Want::READ, false),
            (node(1, 1, 0o004), Want::READ, true),
            (node(1, 1, 0o004), Want::WRITE, false),
        ] {
            assert_eq!(me.passes(node, want), allowed, "{node:?} {want:?}");
        }
    }

    #[test]
    fn users_are_left_to_the_kernel() {
        let me = user(1000, 1000, &[]);
        let terms = access(&me, node(0, 0, 0), Want::WRITE).unwrap();
        assert_eq!(terms.actor, Actor::As(me.identity(CapSet::EMPTY)));
    }

    #[test]
    fn case_34_namespace_root_needs_owner_and_group_mapped() {
        let all = CapSet(u64::MAX);
        let me = ns_root(100_000, all);
        let only = Actor::As(me.identity(CapSet::one(Cap::DacOverride)));
        for (caps, uid, gid, allowed) in [
            (all, 100_500, 100_500, true),
            (all, 100_500, 0, false),
            (all, 0, 100_500, false),
            (CapSet::EMPTY, 100_500, 100_500, false),
        ] {
            let subject = Subject { caps, ..me.clone() };
            let decision = access(&subject, node(uid, gid, 0o755), Want::CHANGE);
            assert_eq!(decision.is_ok(), allowed, "{uid}:{gid} {caps:?}");
            assert!(decision.is_err() || decision.unwrap().actor == only);
        }
    }

    #[test]
    fn nobody_changes_the_top() {
        let own = node(1000, 1000, 0o755);
        let me = user(1000, 1000, &[]);
        assert!(change(&me, Position::Top, own).is_err());
        assert!(change(&me, Position::Below, own).is_ok());
    }
}
