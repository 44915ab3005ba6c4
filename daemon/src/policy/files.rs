//! Which interface files may be read and set, and by whom, beyond their permission bits.
//!
//! Some files have effects that their permissions do not tell: they name descriptors of the
//! writer, run programs, or loosen what a parent decided.

use super::{Class, Decision, Node, Position, Refusal, Subject, Terms, Want, access};
use crate::sys::creds::{Actor, Cap, CapSet};

/// What is known of a file that is to be set.
#[derive(Clone, Copy, Debug)]
pub struct FileRule<'a> {
    /// Its name.
    pub name: &'a str,
    /// Owner and mode.
    pub node: Node,
    /// Whether its cgroup is the scope's top.
    pub position: Position,
    /// Owner and mode of the cgroup's directory.
    pub cgroup: Node,
    /// Whether it is one of the files a delegatee owns.
    pub delegated: bool,
    /// Whether the caller may change the parent cgroup, which it must to set `cgroup.type`. Of no
    /// matter for other files.
    pub may_change_parent: bool,
}

/// Nobody sets these through the daemon, host root included; and why.
const NEVER: &[(&str, &str)] = &[
    ("tasks", "use Attach or AttachPids"),
    ("cgroup.procs", "use Attach or AttachPids"),
    ("cgroup.threads", "single threads are not moved"),
    ("release_agent", "the kernel would run it as root"),
    ("notify_on_release", "it would run a program as root"),
    ("cgroup.event_control", "it names descriptors of the writer"),
    ("cgroup.clone_children", "it changes how the daemon's own cgroups start"),
    ("memory.use_hierarchy", "the kernel deprecated it"),
    ("memory.move_charge_at_immigrate", "the kernel deprecated it"),
    ("memory.force_empty", "it can block for as long as its content likes"),
];

/// Makes a cgroup threaded, and its parent the root of the threaded subtree
/// (`Documentation/admin-guide/cgroup-v2.rst`, *Threads*).
pub const TYPE: &str = "cgroup.type";

/// Host root only.
const HOST_ROOT: &[&str] = &[
    "io.latency",
    "net_cls.classid",
    "cpuset.mem_hardwall",
    "cpuset.cpus.partition",
    "cpuset.sched_load_balance",
    "memory.oom_control",
];
const HOST_ROOT_PREFIXES: &[&str] = &["io.cost.", "net_prio.", "cpu.rt_"];

/// The delegate list of v1; v2's is the kernel's own `/sys/kernel/cgroup/delegate`.
const V1_DELEGATED: &[&str] = &["cgroup.procs", "tasks"];

/// Whether a delegatee owns the file; `v2_list` is the kernel's list, `None` on v1.
pub fn is_delegated(name: &str, v2_list: Option<&[String]>) -> bool {
    match v2_list {
        Some(list) => list.iter().any(|file| file == name),
        None => V1_DELEGATED.contains(&name),
    }
}

/// Whether a file of that name may be read at all: `cgroup.*`, `tasks`, and the files of the
/// hierarchy's controllers.
pub fn is_readable(name: &str, controllers: &[String]) -> bool {
    let prefix = name.split_once('.').map_or("", |(prefix, _)| prefix);
    let plain = !name.contains('/') && name != "cgroup.event_control";
    plain
        && (prefix == "cgroup"
            || matches!(name, "tasks" | "notify_on_release")
            || controllers.iter().any(|controller| controller == prefix))
}

/// Whether writing the file stops or ends every process in its cgroup, as Freeze and Kill do: the
/// guard of those verbs then applies to the write.
pub fn stops_or_ends(name: &str) -> bool {
    matches!(name, "cgroup.kill" | "cgroup.freeze" | "freezer.state")
}

/// Whether nobody sets a file of that name, whatever hierarchy has it.
pub fn is_never_set(name: &str) -> bool {
    why_never(name).is_some()
}

fn why_never(name: &str) -> Option<&'static str> {
    if name == "cgroup.pressure" {
        return Some("it switches the accounting of pressure for everybody who watches it");
    }
    if name.ends_with(".pressure") {
        return Some("it names descriptors of the writer");
    }
    NEVER.iter().find(|(never, _)| *never == name).map(|(_, why)| *why)
}

fn only_host_root(rule: &FileRule<'_>) -> bool {
    HOST_ROOT.contains(&rule.name)
        || HOST_ROOT_PREFIXES.iter().any(|prefix| rule.name.starts_with(prefix))
        || rule.name.starts_with("cpuset.") && rule.name.ends_with("_exclusive")
}

/// Setting a file.
///
/// # Errors
/// Files with effects of their own, limits at the scope's top, and what [`access`] refuses.
pub fn may_set(subject: &Subject, rule: &FileRule<'_>) -> Decision {
    if let Some(why) = why_never(rule.name) {
        return Err(Refusal::new("never-set", format!("{} is never set: {why}", rule.name)));
    }
    if subject.class != Class::HostRoot && only_host_root(rule) {
        let text = format!("{} is host root's to set", rule.name);
        return Err(Refusal::new("host-root-file", text));
    }
    if subject.class != Class::HostRoot && rule.position == Position::Top && !rule.delegated {
        let text = format!("{} belongs to whoever set up the caller's scope", rule.name);
        return Err(Refusal::new("set-at-top", text).hint("set it on a cgroup below"));
    }
    if rule.name == TYPE && !rule.may_change_parent {
        let text = "cgroup.type makes the parent the root of a threaded subtree, and the parent is \
                    outside the caller's scope or not the caller's to change";
        return Err(Refusal::new("parent-of-threaded", text).hint("ask the parent's owner"));
    }
    if matches!(rule.name, "devices.allow" | "devices.deny") && subject.class != Class::HostRoot {
        return may_set_devices(subject, rule);
    }
    access(subject, rule.node, Want::WRITE)
}

/// Grant G2: the kernel wants CAP_SYS_ADMIN for device rules, but keeps children within their
/// parents; so the owner of a cgroup below the top of its scope may narrow it. Who is root of a user
/// namespace owns what its capability there reaches.
fn may_set_devices(subject: &Subject, rule: &FileRule<'_>) -> Decision {
    let Node { uid, gid, .. } = rule.cgroup;
    let by_map = subject.ns_root_with(Cap::DacOverride) && subject.maps_both(uid, gid);
    let owns = subject.uid == uid || by_map;
    if rule.position == Position::Top || !owns {
        return Err(Refusal::new("G2", "only the owner of the cgroup sets its device rules"));
    }
    let caps = CapSet(CapSet::one(Cap::SysAdmin).0 | access_caps(subject, rule.node)?.0);
    Ok(Terms::granted(Actor::As(subject.identity(caps)), "G2"))
}

fn access_caps(subject: &Subject, node: Node) -> Result<CapSet, Refusal> {
    match access(subject, node, Want::WRITE)?.actor {
        Actor::As(identity) => Ok(identity.caps),
        Actor::Root => Ok(CapSet::EMPTY),
    }
}

#[cfg(test)]
mod tests {
    use super::super::subject::tests::{host_root, ns_root, user};
    use super::*;

    const CGROUP: Node = Node { uid: 1000, gid: 1000, mode: 0o755 };

    fn rule(name: &str, position: Position) -> FileRule<'_> {
        let node = Node { uid: 1000, gid: 1000, mode: 0o644 };
        let delegated = is_delegated(name, None);
        FileRule { name, node, position, cgroup: CGROUP, delegated, may_change_parent: true }
    }

    #[test]
    fn case_26_files_with_effects_are_never_set() {
        for (name, _) in NEVER {
            assert_eq!(
                may_set(&host_root(), &rule(name, Position::Below)).unwrap_err().rule,
                "never-set"
            );
        }
        assert!(may_set(&host_root(), &rule("memory.pressure", Position::Below)).is_err());
        assert!(may_set(&host_root(), &rule("memory.max", Position::Below)).is_ok());
    }

    #[test]
    fn case_27_limits_of_the_top_are_not_the_callers() {
        let me = user(1000, 1000, &[]);
        assert_eq!(
            may_set(&me, &rule("memory.max", Position::Top)).unwrap_err().rule,
            "set-at-top"
        );
        assert!(may_set(&me, &rule("memory.max", Position::Below)).is_ok());
        let list = ["cgroup.subtree_control".to_owned()];
        let node = Node { uid: 1000, gid: 1000, mode: 0o644 };
        let name = "cgroup.subtree_control";
        let delegated = is_delegated(name, Some(&list));
        let rule = FileRule {
            name,
            node,
            position: Position::Top,
            cgroup: CGROUP,
            delegated,
            may_change_parent: true,
        };
        assert!(may_set(&me, &rule).is_ok());
    }

    #[test]
    fn case_28_device_rules_of_the_own_cgroup_below_the_top() {
        let me = ns_root(1000, CapSet::EMPTY);
        assert_eq!(
            may_set(&me, &rule("devices.allow", Position::Below)).unwrap().grant,
            Some("G2")
        );
        assert!(may_set(&me, &rule("devices.allow", Position::Top)).is_err());
        let foreign = Node { uid: 0, ..CGROUP };
        let foreign = FileRule { cgroup: foreign, ..rule("devices.deny", Position::Below) };
        assert_eq!(may_set(&me, &foreign).unwrap_err().rule, "G2");
    }

    #[test]
    fn case_28_namespace_root_owns_what_it_maps_and_may_override() {
        let all = CapSet(u64::MAX);
        let node = Node { uid: 100_500, gid: 100_500, mode: 0o666 };
        let half = Node { gid: 0, ..node };
        for (caps, cgroup, allowed) in
            [(all, node, true), (all, half, false), (CapSet::EMPTY, node, false)]
        {
            let rule = FileRule { node, cgroup, ..rule("devices.deny", Position::Below) };
            let decision = may_set(&ns_root(100_000, caps), &rule);
            assert_eq!(decision.is_ok(), allowed, "{caps:?} {cgroup:?}");
        }
    }

    #[test]
    fn case_29_host_roots_files() {
        for name in ["net_cls.classid", "cpuset.cpu_exclusive", "cpu.rt_runtime_us", "io.cost.qos"]
        {
            let below = rule(name, Position::Below);
            assert_eq!(
                may_set(&ns_root(1000, CapSet::EMPTY), &below).unwrap_err().rule,
                "host-root-file"
            );
            assert!(may_set(&host_root(), &below).is_ok());
        }
    }

    #[test]
    fn what_can_be_read() {
        let memory = ["memory".to_owned()];
        for (name, readable) in [
            ("memory.stat", true),
            ("cgroup.procs", true),
            ("tasks", true),
            ("pids.max", false),
            ("cgroup.event_control", false),
            ("../tasks", false),
            ("cgroup.x/../y", false),
        ] {
            assert_eq!(is_readable(name, &memory), readable, "{name}");
        }
    }
}
