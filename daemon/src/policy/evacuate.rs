//! Grant G9: moving what is directly in a cgroup namespace's root out of the way, so that
//! controllers can be enabled for its children.

use super::{Class, Decision, Node, Refusal, Subject, Terms, Want};

/// A cgroup whose own processes stand in the way of controllers.
#[derive(Clone, Copy, Debug)]
pub struct Crowded {
    /// Whether it is the root of the caller's own cgroup namespace.
    pub own_root: bool,
    /// Whether the caller asked for its processes to be left alone.
    pub left_alone: bool,
    /// Whether pid 1 of the caller's pid namespace is systemd, which keeps order itself.
    pub systemd: bool,
    /// The directory, its cgroup.procs and its cgroup.subtree_control.
    pub nodes: [Node; 3],
}

/// Whether its processes may be moved to a leaf below it, whatever their uid: as the caller, with
/// nothing added, because the kernel allows the owner just that.
///
/// # Errors
/// Anywhere but in the caller's own root, under systemd, when the caller does not want it, and
/// without write permission on all three.
pub fn may_evacuate(subject: &Subject, crowded: &Crowded) -> Decision {
    let refuse = |rule, text: &str| Err(Refusal::new(rule, text));
    if !crowded.own_root {
        return refuse("G9-root", "it is not the root of the caller's own cgroup namespace");
    }
    if crowded.left_alone {
        return refuse("G9-flag", "the call has the flag no-evacuate");
    }
    if crowded.systemd {
        return refuse("G9-systemd", "systemd is pid 1 there and moves them itself");
    }
    // Of everybody else the kernel is asked.
    let writable = |node: &Node| subject.passes(*node, Want::WRITE);
    if subject.class == Class::NsRoot && !crowded.nodes.iter().all(writable) {
        return refuse("G9-access", "the caller's own ids may not write it");
    }
    Ok(Terms::granted(subject.plain_actor(), "G9"))
}

#[cfg(test)]
mod tests {
    use super::super::subject::tests::{ns_root, user};
    use super::*;
    use crate::sys::creds::{Actor, CapSet};

    const fn node(uid: u32, mode: u32) -> Node {
        Node { uid, gid: uid, mode }
    }

    const OWN: Crowded = Crowded {
        own_root: true,
        left_alone: false,
        systemd: false,
        nodes: [node(100_000, 0o755), node(100_000, 0o644), node(100_000, 0o644)],
    };

    #[test]
    fn only_in_ones_own_root() {
        let me = ns_root(100_000, CapSet(u64::MAX));
        let terms = may_evacuate(&me, &OWN).unwrap();
        assert_eq!(terms.grant, Some("G9"));
        assert_eq!(terms.actor, Actor::As(me.identity(CapSet::EMPTY)), "nothing is added");
        for (crowded, rule) in [
            (Crowded { own_root: false, ..OWN }, "G9-root"),
            (Crowded { left_alone: true, ..OWN }, "G9-flag"),
            (Crowded { systemd: true, ..OWN }, "G9-systemd"),
        ] {
            assert_eq!(may_evacuate(&me, &crowded).unwrap_err().rule, rule);
        }
    }

    #[test]
    fn write_permission_on_all_three_without_any_capability() {
        let me = ns_root(100_000, CapSet(u64::MAX));
        for index in 0..3 {
            for foreign in [node(100_500, 0o644), node(0, 0o755), node(100_000, 0o444)] {
                let mut crowded = OWN;
                crowded.nodes[index] = foreign;
                assert_eq!(may_evacuate(&me, &crowded).unwrap_err().rule, "G9-access");
                // The kernel judges whoever is not the root of a user namespace.
                assert!(may_evacuate(&user(0, 0, &[]), &crowded).is_ok());
            }
        }
    }
}
