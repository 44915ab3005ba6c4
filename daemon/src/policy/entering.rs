//! Grant G8: a user's own process enters what was delegated to the user, on cgroup v2. The kernel
//! asks for write permission on the common ancestor, which is root's; so a login shell could never
//! get into its own user's part of the tree. It may, where no limit is left behind on the way.

use super::{Decision, Move, Node, Refusal, Subject, Terms, Victim, Want};
use crate::sys::creds::{Actor, Cap, CapSet};

/// The grant's name.
pub const ENTER: &str = "G8";

/// The rule that a process at another place than those it may come from meets.
pub const ELSEWHERE: &str = "G8-source";

/// A way into a cgroup that was delegated to the caller to be entered.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The destination's directory.
    pub dir: Node,
    /// Whether it is a domain without children of its own, strictly below what was delegated.
    pub is_leaf: bool,
    /// Where the process is.
    pub source: Source,
}

/// The cgroup a process enters from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Above what was delegated: each limit there holds below, too.
    Above,
    /// One that the administrator lets the user leave (`enter-from`).
    Allowed,
    /// Anywhere else: its limits would be left behind.
    Elsewhere,
}

/// Whether nothing but the grant could allow the move: only then its facts are looked for.
pub fn needs_entry(subject: &Subject, victim: &Victim, to: &Move) -> bool {
    let passes = |ancestor| subject.passes(ancestor, Want::WRITE);
    let is_open = victim.in_scope && to.ancestor.is_some_and(passes);
    subject.is_host_user() && !to.v1 && !is_open
}

/// Entering through `entry`.
///
/// # Errors
/// The process, the destination or its present place is not what the grant is for.
pub(super) fn may_enter(subject: &Subject, victim: &Victim, to: &Move, entry: &Entry) -> Decision {
    if victim.uids.iter().any(|uid| *uid != subject.uid) {
        return Err(Refusal::new("G8-victim", "not all of its user ids are the caller's"));
    }
    if entry.dir.uid != subject.uid || !subject.passes(to.procs, Want::WRITE) {
        return Err(Refusal::new("G8-destination", "the cgroup to enter is not the caller's"));
    }
    if !entry.is_leaf {
        return Err(Refusal::new("G8-leaf", "it can enter only a leaf below what was delegated")
            .hint("name a cgroup there that has none below it, and gives no controllers on"));
    }
    if entry.source == Source::Elsewhere {
        let text = "it would leave limits behind that do not hold in what was delegated";
        return Err(Refusal::new(ELSEWHERE, text)
            .hint("the administrator can allow it: enter-from in the user's [[delegate]]"));
    }
    let identity = subject.identity(CapSet::one(Cap::DacOverride));
    Ok(Terms::granted(Actor::As(identity), ENTER))
}

#[cfg(test)]
mod tests {
    use super::super::moving::may_move;
    use super::super::moving::tests::{rule, victim};
    use super::super::subject::tests::{host_root, ns_root, user};
    use super::*;

    const OWN: Node = Node { uid: 1000, gid: 1000, mode: 0o644 };
    const ROOTS: Node = Node { uid: 0, gid: 0, mode: 0o644 };
    const ENTRY: Entry = Entry { dir: OWN, is_leaf: true, source: Source::Above };

    fn to(entry: Option<Entry>) -> Move {
        Move { procs: OWN, v1: false, cpuset: false, ancestor: Some(ROOTS), entry }
    }

    #[test]
    fn case_20a_each_fact_counts() {
        let me = user(1000, 1000, &[]);
        let enters = |victim: Victim, to| rule(may_move(&me, &victim, &to));
        assert_eq!(enters(victim(1000), to(Some(ENTRY))), "G8");
        let far = Victim { in_scope: false, ..victim(1000) };
        assert_eq!(enters(far, to(Some(ENTRY))), "G8");
        assert_eq!(enters(far, to(None)), "victim-scope");
        for (uids, allowed) in [
            ([1000, 1000, 1000, 1000], "G8"),
            ([0, 1000, 1000, 1000], "G8-victim"),
            ([1000, 0, 1000, 1000], "G8-victim"),
            ([1000, 1000, 0, 1000], "G8-victim"),
            ([1000, 1000, 1000, 0], "G8-victim"),
        ] {
            assert_eq!(enters(Victim { uids, ..victim(0) }, to(Some(ENTRY))), allowed, "{uids:?}");
        }
        for (entry, allowed) in [
            (Entry { source: Source::Allowed, ..ENTRY }, "G8"),
            (Entry { source: Source::Elsewhere, ..ENTRY }, ELSEWHERE),
            (Entry { is_leaf: false, ..ENTRY }, "G8-leaf"),
            (Entry { dir: ROOTS, ..ENTRY }, "G8-destination"),
        ] {
            assert_eq!(enters(victim(1000), to(Some(entry))), allowed, "{entry:?}");
        }
        let closed = Move { procs: ROOTS, ..to(Some(ENTRY)) };
        assert_eq!(enters(victim(1000), closed), "G8-destination");
        let pid_1 = Victim { untouchable: Some("pid 1"), ..victim(1000) };
        assert_eq!(enters(pid_1, to(Some(ENTRY))), "untouchable");
    }

    #[test]
    fn it_is_looked_for_only_where_nothing_else_would_do() {
        let me = user(1000, 1000, &[]);
        let all = CapSet(u64::MAX);
        let open = Move { ancestor: Some(OWN), ..to(None) };
        let unknown = Move { ancestor: None, ..to(None) };
        let v1 = Move { v1: true, ..to(None) };
        let far = Victim { in_scope: false, ..victim(1000) };
        for (subject, victim, to, needed) in [
            (&me, victim(1000), to(None), true),
            (&me, victim(1000), unknown, true),
            (&me, victim(1000), open, false),
            (&me, far, open, true),
            (&me, victim(1000), v1, false),
            (&host_root(), victim(1000), to(None), false),
            (&ns_root(100_000, all), victim(100_000), to(None), false),
            (&Subject { at_home: false, ..me.clone() }, victim(1000), to(None), false),
        ] {
            assert_eq!(needs_entry(subject, &victim, &to), needed, "{subject:?} {to:?}");
        }
    }
}
