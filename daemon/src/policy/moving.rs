//! Moving a process into a cgroup: permission on the file, and a say over the victim.

use super::entering::{Entry, may_enter};
use super::{Class, Decision, Node, Refusal, Subject, Terms, Want, access};
use crate::sys::creds::{Actor, Cap, CapSet, Identity};

/// The process to be moved.
#[derive(Clone, Copy, Debug)]
pub struct Victim {
    /// Real, effective and saved uid, and that of file systems.
    pub uids: [u32; 4],
    /// Its permitted capabilities, in its own user namespace.
    pub permitted: CapSet,
    /// A kernel thread, host pid 1, the daemon or its holder.
    pub untouchable: Option<&'static str>,
    /// Whether its cgroup is within the caller's scope.
    pub in_scope: bool,
    /// Whether its user namespace is the caller's or a descendant of it.
    pub under_callers_user_ns: bool,
}

/// Where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    /// The destination's cgroup.procs.
    pub procs: Node,
    /// Whether the hierarchy is cgroup v1.
    pub v1: bool,
    /// Whether it is the v1 cpuset, which the kernel guards like a scheduling change.
    pub cpuset: bool,
    /// v2: cgroup.procs of the nearest common ancestor of source and destination.
    pub ancestor: Option<Node>,
    /// v2: the way in, where the destination was delegated to the caller to be entered.
    pub entry: Option<Entry>,
}

/// Moving a victim, rules 2 to 6.
///
/// # Errors
/// Untouchable, out of scope, not the caller's, or no permission.
pub fn may_move(subject: &Subject, victim: &Victim, to: &Move) -> Decision {
    if let Some(what) = victim.untouchable {
        return Err(Refusal::new("untouchable", format!("{what} is never moved")));
    }
    if subject.class == Class::HostRoot {
        return Ok(Terms::acting(Actor::Root));
    }
    if let Some(entry) = &to.entry {
        return may_enter(subject, victim, to, entry);
    }
    if !victim.in_scope {
        return Err(Refusal::new(
            "victim-scope",
            "its present cgroup is outside the caller's scope",
        )
        .hint("it must be started in, or moved by host root into, the caller's scope"));
    }
    let terms = access(subject, to.procs, Want::WRITE)?;
    let terms = if to.v1 { v1(subject, victim, terms)? } else { v2(subject, to, terms)? };
    match to.cpuset {
        false => Ok(terms),
        true if may_schedule(subject, victim) => Ok(scheduling(terms)),
        true => Err(Refusal::new("cpuset-caps", "it has capabilities that the caller lacks")),
    }
}

/// The kernel makes the comparison with the acting thread's permitted set. A daemon that was
/// started without some capability has less than the root of any container, which was judged
/// already.
fn scheduling(mut terms: Terms) -> Terms {
    if let Actor::As(identity) = &mut terms.actor {
        identity.caps = CapSet(identity.caps.0 | CapSet::one(Cap::SysNice).0);
    }
    terms
}

/// Whom to be while a move is taken back. The number may have passed to somebody else's process
/// meanwhile: so the kernel must have a say again. On v1 it compares uids, and where the victim
/// comes from it may always return; on v2 it asks for the same permission as on the way there.
pub fn way_back(subject: &Subject, victim: &Victim, v1: bool, there: &Actor) -> Actor {
    match there {
        Actor::As(acting) if v1 => {
            let mut caps = CapSet::one(Cap::DacOverride);
            caps.0 |= acting.caps.0;
            Actor::As(Identity { uid: victim.uids[0], ..subject.identity(caps) })
        }
        there => there.clone(),
    }
}

/// Whether the daemon holds a process, so that it keeps its number, while the number is written to
/// `cgroup.procs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// The process is not held.
    Unneeded,
    /// The process is held where that is possible, and moved in any case.
    Wanted,
    /// The process is moved only while it is held.
    Needed,
}

/// Whether the subject's victims are held. The kernel may find another process under the number than
/// the one that was judged here, and its own judgement of that one does not replace ours: v1 compares
/// uids, v2 the owners of cgroups, and neither knows the subject's scope or pid namespace, outside of
/// which other containers of the same user are.
///
/// Host root may move the other process, too. It is held against a mistake only where
/// `looks_up_late`, which is whether the kernel waits for 8 ms between taking the number and looking
/// it up; and moved all the same when it cannot be held, as host root's own write would do.
pub fn holding(subject: &Subject, looks_up_late: bool) -> Holding {
    match subject.class {
        Class::HostRoot if looks_up_late => Holding::Wanted,
        Class::HostRoot => Holding::Unneeded,
        Class::NsRoot | Class::User => Holding::Needed,
    }
}

/// v1 asks for the victim's real or saved uid. The kernel asks again: the acting thread has
/// the caller's uid or, under grant G1, the victim's.
fn v1(subject: &Subject, victim: &Victim, terms: Terms) -> Decision {
    let [real, _, saved, _] = victim.uids;
    if subject.uid == real || subject.uid == saved || subject.uid == 0 {
        return Ok(terms);
    }
    // The grant lends the victim's uid with this capability: only to those who have it.
    if !subject.ns_root_with(Cap::DacOverride) {
        return Err(Refusal::new("victim-uid", "it belongs to another user"));
    }
    let mapped = victim.uids.iter().all(|uid| subject.uid_map.maps(*uid));
    if !victim.under_callers_user_ns || !mapped {
        let text = "its user is not of the caller's user namespace";
        return Err(Refusal::new("G1", text));
    }
    let mut identity = subject.identity(CapSet::one(Cap::DacOverride));
    identity.uid = real;
    Ok(Terms::granted(Actor::As(identity), "G1"))
}

/// v2 asks for write permission on the common ancestor. The kernel checks that itself unless
/// the terms override permissions: then it is checked here.
fn v2(subject: &Subject, to: &Move, terms: Terms) -> Decision {
    if subject.class != Class::NsRoot {
        return Ok(terms);
    }
    let Some(ancestor) = to.ancestor else {
        return Err(Refusal::new("v2-ancestor", "the common ancestor cannot be looked at"));
    };
    let above = access(subject, ancestor, Want::WRITE)?;
    Ok(if above.actor == subject.plain_actor() { terms } else { above })
}

/// The kernel's `cap_safe_nice`, which would look at the acting thread instead of the caller.
fn may_schedule(subject: &Subject, victim: &Victim) -> bool {
    let subset = victim.permitted.0 & !subject.caps.0 == 0;
    subset || victim.under_callers_user_ns && subject.caps.has(Cap::SysNice)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::subject::tests::{host_root, ns_root, user};
    use super::*;

    const PROCS: Node = Node { uid: 1000, gid: 1000, mode: 0o644 };
    const V1: Move = Move { procs: PROCS, v1: true, cpuset: false, ancestor: None, entry: None };

    pub(crate) fn victim(uid: u32) -> Victim {
        Victim {
            uids: [uid; 4],
            permitted: CapSet::EMPTY,
            untouchable: None,
            in_scope: true,
            under_callers_user_ns: true,
        }
    }

    pub(crate) fn rule(decision: Decision) -> &'static str {
        decision.map_or_else(|refusal| refusal.rule, |terms| terms.grant.unwrap_or("ok"))
    }

    #[test]
    fn case_18_other_peoples_processes() {
        let me = user(1000, 1000, &[]);
        assert_eq!(rule(may_move(&me, &victim(1000), &V1)), "ok");
        assert_eq!(rule(may_move(&me, &victim(2000), &V1)), "victim-uid");
        assert_eq!(rule(may_move(&me, &victim(0), &V1)), "victim-uid");
        let setuid = Victim { uids: [1000, 0, 0, 0], ..victim(0) };
        assert_eq!(rule(may_move(&me, &setuid, &V1)), "ok", "the kernel's rule: the real uid");
    }

    #[test]
    fn case_19_namespace_root_and_mapped_victims() {
        let me = ns_root(100_000, CapSet(u64::MAX));
        let to = Move { procs: Node { uid: 100_000, gid: 100_000, mode: 0o644 }, ..V1 };
        assert_eq!(rule(may_move(&me, &victim(100_500), &to)), "G1");
        assert_eq!(rule(may_move(&me, &victim(5), &to)), "G1");
        assert!(may_move(&me, &victim(5), &to).is_err());
        let half = Victim { uids: [100_500, 100_500, 0, 0], ..victim(0) };
        assert!(may_move(&me, &half, &to).is_err());
        let foreign = Victim { under_callers_user_ns: false, ..victim(100_500) };
        assert!(may_move(&me, &foreign, &to).is_err());
        let weak = ns_root(100_000, CapSet::EMPTY);
        assert_eq!(rule(may_move(&weak, &victim(100_500), &to)), "victim-uid");
        assert_eq!(rule(may_move(&weak, &victim(100_000), &to)), "ok");
        let Actor::As(identity) = may_move(&me, &victim(100_500), &to).unwrap().actor else {
            panic!()
        };
        assert_eq!((identity.uid, identity.caps), (100_500, CapSet::one(Cap::DacOverride)));
    }

    #[test]
    fn the_way_back_leaves_the_kernel_a_say() {
        let me = user(1000, 1000, &[]);
        let there = me.plain_actor();
        let Actor::As(back) = way_back(&me, &victim(1000), true, &there) else { panic!() };
        assert_eq!((back.uid, back.caps), (1000, CapSet::one(Cap::DacOverride)));
        assert_eq!(way_back(&me, &victim(1000), false, &there), there);
        assert_eq!(way_back(&host_root(), &victim(0), true, &Actor::Root), Actor::Root);
    }

    #[test]
    fn case_71_everybodys_victims_are_held_but_host_roots() {
        let confined = Subject { at_home: false, ..user(0, 0, &[]) };
        let container = ns_root(100_000, CapSet(u64::MAX));
        for (subject, late, early) in [
            (user(1000, 1000, &[]), Holding::Needed, Holding::Needed),
            (confined, Holding::Needed, Holding::Needed),
            (container, Holding::Needed, Holding::Needed),
            (host_root(), Holding::Wanted, Holding::Unneeded),
        ] {
            assert_eq!((holding(&subject, true), holding(&subject, false)), (late, early));
        }
    }

    #[test]
    fn case_20_untouchable_for_host_root_too() {
        let kernel = Victim { untouchable: Some("a kernel thread"), ..victim(0) };
        assert_eq!(rule(may_move(&host_root(), &kernel, &V1)), "untouchable");
        assert_eq!(rule(may_move(&host_root(), &victim(0), &V1)), "ok");
    }

    #[test]
    fn case_21_a_victim_outside_the_scope() {
        let outside = Victim { in_scope: false, ..victim(1000) };
        assert_eq!(rule(may_move(&user(1000, 1000, &[]), &outside, &V1)), "victim-scope");
        assert_eq!(rule(may_move(&host_root(), &outside, &V1)), "ok");
    }

    #[test]
    fn cpuset_compares_capabilities() {
        let cpuset = Move { cpuset: true, ..V1 };
        let privileged = Victim { permitted: CapSet(4), ..victim(1000) };
        let me = user(1000, 1000, &[]);
        assert_eq!(rule(may_move(&me, &privileged, &cpuset)), "cpuset-caps");
        assert_eq!(rule(may_move(&me, &privileged, &V1)), "ok");
        assert_eq!(rule(may_move(&me, &victim(1000), &cpuset)), "ok");
        let nice = Subject { caps: CapSet::one(Cap::SysNice), ..me };
        assert_eq!(rule(may_move(&nice, &privileged, &cpuset)), "ok");
    }

    #[test]
    fn case_22_the_common_ancestor_on_v2() {
        let me = ns_root(100_000, CapSet(u64::MAX));
        let mapped = Node { uid: 100_500, gid: 100_500, mode: 0o644 };
        let foreign = Node { uid: 0, gid: 0, mode: 0o644 };
        let to = |ancestor| Move { procs: mapped, v1: false, ancestor: Some(ancestor), ..V1 };
        assert!(may_move(&me, &victim(0), &to(mapped)).is_ok());
        assert_eq!(rule(may_move(&me, &victim(0), &to(foreign))), "access");
        let unknown = Move { ancestor: None, ..to(mapped) };
        assert_eq!(rule(may_move(&me, &victim(0), &unknown)), "v2-ancestor");
    }
}
