//! Stopping and ending what is in a cgroup: freeze, thaw, kill.

use super::{Class, Decision, Node, Position, Refusal, Subject, Terms, Victim, Want, access};
use crate::cgroup::{HOLDER, LEAF};
use crate::sys::creds::{Actor, Cap};

/// What lies below the managed root by these names is changed by nobody, host root included,
/// when it is the daemon's own.
///
/// # Errors
/// It is a reserved leaf, or lies below one.
pub fn check_reserved(names: &[String]) -> Result<(), Refusal> {
    match names.first().map(String::as_str) {
        Some(LEAF | HOLDER) => {
            let text = format!("/{} is where the daemon itself lives", names[0]);
            Err(Refusal::new("reserved", text).hint("use another cgroup"))
        }
        _ => Ok(()),
    }
}

/// Freezing, thawing, or killing all of a cgroup: strictly below the scope. With a `file` that
/// does it, write permission on that.
///
/// # Errors
/// At the scope's top, or as [`access`].
pub fn may_control(subject: &Subject, position: Position, file: Option<Node>) -> Decision {
    match (position, file) {
        (Position::Top, _) => Err(Refusal::new("top", "it is the top of the caller's scope")
            .hint("name a cgroup below it")),
        (Position::Below, Some(node)) => access(subject, node, Want::WRITE),
        (Position::Below, None) => Ok(Terms::acting(subject.plain_actor())),
    }
}

/// Signalling a member of a cgroup strictly below the scope: the rule of `kill(2)`, asked here
/// because the acting thread's real uid stays root's. Whoever has CAP_KILL over the victim's
/// user namespace may, and in a user namespace of its own only with all of the victim's ids
/// mapped: grant G3.
///
/// # Errors
/// Untouchable, or not the caller's.
pub fn may_signal(subject: &Subject, victim: &Victim) -> Decision {
    if let Some(what) = victim.untouchable {
        return Err(Refusal::new("untouchable", format!("{what} is never signalled")));
    }
    let [real, _, saved, _] = victim.uids;
    if subject.class == Class::HostRoot || subject.uid == real || subject.uid == saved {
        return Ok(Terms::acting(Actor::Root));
    }
    let over_it = subject.caps.has(Cap::Kill) && victim.under_callers_user_ns;
    if over_it && victim.uids.iter().all(|uid| subject.uid_map.maps(*uid)) {
        return Ok(Terms::granted(Actor::Root, "G3"));
    }
    Err(Refusal::new("signal", "it belongs to another user"))
}

#[cfg(test)]
mod tests {
    use super::super::moving::tests::{rule, victim};
    use super::super::subject::tests::{host_root, ns_root, user};
    use super::*;
    use crate::sys::creds::CapSet;

    #[test]
    fn case_42_nobody_stops_the_top() {
        let file = Some(Node { uid: 1000, gid: 1000, mode: 0o644 });
        for subject in [host_root(), user(1000, 1000, &[]), ns_root(1000, CapSet(u64::MAX))] {
            assert_eq!(rule(may_control(&subject, Position::Top, file)), "top");
            assert_eq!(rule(may_control(&subject, Position::Below, file)), "ok");
        }
        let foreign = Some(Node { uid: 0, gid: 0, mode: 0o644 });
        let me = ns_root(100_000, CapSet(u64::MAX));
        assert_eq!(rule(may_control(&me, Position::Below, foreign)), "access");
    }

    #[test]
    fn whom_one_may_signal() {
        let me = user(1000, 1000, &[]);
        assert_eq!(rule(may_signal(&me, &victim(1000))), "ok");
        assert_eq!(rule(may_signal(&me, &victim(2000))), "signal");
        assert_eq!(rule(may_signal(&me, &victim(0))), "signal");
        let setuid = Victim { uids: [1000, 0, 0, 0], ..victim(0) };
        assert_eq!(rule(may_signal(&me, &setuid)), "ok", "the kernel's rule: the real uid");
        let effective = Victim { uids: [0, 1000, 0, 1000], ..victim(0) };
        assert_eq!(rule(may_signal(&me, &effective)), "signal");
    }

    #[test]
    fn the_root_of_a_container_signals_its_own() {
        let me = ns_root(100_000, CapSet::one(Cap::Kill));
        assert_eq!(rule(may_signal(&me, &victim(100_500))), "G3");
        assert_eq!(rule(may_signal(&me, &victim(5))), "signal");
        let half = Victim { uids: [100_500, 100_500, 0, 0], ..victim(0) };
        assert_eq!(rule(may_signal(&me, &half)), "signal");
        let foreign = Victim { under_callers_user_ns: false, ..victim(100_500) };
        assert_eq!(rule(may_signal(&me, &foreign)), "signal");
        assert_eq!(rule(may_signal(&ns_root(100_000, CapSet::EMPTY), &victim(100_500))), "signal");
    }

    #[test]
    fn what_nobody_signals() {
        let daemon = Victim { untouchable: Some("the daemon"), ..victim(0) };
        assert_eq!(rule(may_signal(&host_root(), &daemon)), "untouchable");
        assert_eq!(rule(may_signal(&host_root(), &victim(0))), "ok");
    }

    #[test]
    fn the_daemons_own_leaves() {
        let names = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
        for (path, free) in [
            (".cgroupd", false),
            (".cgroupd/a", false),
            (".holder", false),
            ("a/.cgroupd", true),
            (".cgroupd2", true),
        ] {
            assert_eq!(check_reserved(&names(path)).is_ok(), free, "{path}");
        }
        assert!(check_reserved(&[]).is_ok());
    }
}
