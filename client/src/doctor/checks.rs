//! The checks: each looks at facts and says one thing, or nothing.

use super::{
    Check, State,
    daemon::{Bus, Daemon},
    facts::Facts,
    own::OwnCgroup,
};
use crate::exit::Exit;

/// The oldest kernel on which the daemon works: `openat2` (5.6).
const OLDEST: (u32, u32) = (5, 6);

/// A kernel feature, since when there is one, and what is done where there is none. The daemon
/// probes some itself, and its word counts more than the version.
struct Feature {
    name: &'static str,
    since: (u32, u32),
    probed: Option<&'static str>,
    instead: &'static str,
}

const FEATURES: &[Feature] = &[
    Feature {
        name: "CLONE_INTO_CGROUP",
        since: (5, 7),
        probed: None,
        instead: "processes are started first and moved then",
    },
    Feature {
        name: "cgroup.kill",
        since: (5, 14),
        probed: None,
        instead: "processes are killed one by one",
    },
    Feature {
        name: "memory.peak",
        since: (5, 19),
        probed: None,
        instead: "cgroup2 keeps no highest memory use",
    },
    Feature {
        name: "SO_PEERPIDFD",
        since: (6, 5),
        probed: Some("peer-pidfd"),
        instead: "unix_diag tells whether a caller's process holds its connection",
    },
    Feature {
        name: "NS_GET_PID_FROM_PIDNS",
        since: (6, 11),
        probed: Some("pid-translation"),
        instead: "process numbers of containers are searched for in /proc",
    },
    Feature {
        name: "PIDFD_GET_INFO",
        since: (6, 13),
        probed: Some("pidfd-info"),
        instead: "processes are looked up in /proc",
    },
    Feature {
        name: "early look-up in cgroup.procs",
        since: (6, 18),
        probed: None,
        instead: "a process is traced while host root moves it, too, so that it keeps its number",
    },
];

/// Runs all checks.
pub(crate) fn examine(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![kernel(facts)];
    checks.extend(FEATURES.iter().map(|feature| self::feature(facts, feature)));
    checks.push(init(facts));
    checks.extend(namespaces(facts));
    checks.push(layout(facts));
    checks.extend(nsdelegate(facts));
    checks.extend(facts.mounts.iter().filter(|mount| mount.read_only).map(read_only(facts)));
    checks.extend(controllers(facts));
    checks.push(daemon(facts));
    checks.push(bus(facts));
    checks.extend(caller(facts));
    checks.extend(handover(facts));
    checks.push(delegation(facts));
    checks.extend(inner_processes(facts));
    checks
}

fn kernel(facts: &Facts) -> Check {
    let text = format!("Linux {}", facts.release);
    match facts.version() >= OLDEST {
        true => Check::ok("kernel", text),
        false => Check::problem("kernel", text, "cgroupd needs Linux 5.6: boot a newer kernel"),
    }
}

fn feature(facts: &Facts, feature: &Feature) -> Check {
    let by_version = facts.version() >= feature.since;
    let there = match (&facts.daemon, feature.probed) {
        (Ok(daemon), Some(name)) => daemon.features.iter().any(|own| own == name),
        _ => by_version,
    };
    let (major, minor) = feature.since;
    match there {
        true => Check::ok("feature", feature.name),
        false => {
            let Feature { name, instead, .. } = feature;
            Check::note("feature", format!("no {name} (Linux {major}.{minor}): {instead}"))
        }
    }
}

fn init(facts: &Facts) -> Check {
    match (facts.systemd, facts.init.as_str()) {
        (true, _) => Check::ok("init", "systemd, which owns the tree of cgroups"),
        (false, "") => Check::note("init", "pid 1 cannot be seen"),
        (false, name) => Check::ok("init", format!("{name}, no systemd")),
    }
}

fn namespaces(facts: &Facts) -> Option<Check> {
    let own = facts.namespaces.join(", ");
    (!own.is_empty()).then(|| Check::ok("container", format!("its own namespaces: {own}")))
}

fn layout(facts: &Facts) -> Check {
    let v1: Vec<&str> = facts.mounts.iter().filter(|m| !m.v2).map(|m| m.point.as_str()).collect();
    match (facts.v2(), v1.len()) {
        (None, 0) => Check::problem(
            "layout",
            "no cgroup file system is mounted here",
            "mount -t cgroup2 none /sys/fs/cgroup",
        ),
        (Some(v2), 0) => Check::ok("layout", format!("unified: cgroup2 on {}", v2.point)),
        (None, _) => Check::ok("layout", format!("legacy: v1 on {}", v1.join(" "))),
        (Some(v2), _) => {
            Check::ok("layout", format!("hybrid: cgroup2 on {}, v1 on {}", v2.point, v1.join(" ")))
        }
    }
}

/// Without it a container that has its part of the tree may change the limits that hold for it.
fn nsdelegate(facts: &Facts) -> Option<Check> {
    let mount = facts.v2().filter(|mount| !mount.nsdelegate && facts.namespaces.is_empty())?;
    let text = "cgroup2 is mounted without nsdelegate: cgroup namespaces are no boundary";
    let remedy = format!("mount -o remount,nsdelegate {}", mount.point);
    Some(Check::note("mount", text).remedy(remedy))
}

fn read_only(facts: &Facts) -> impl Fn(&super::hierarchies::Mount) -> Check {
    let served = facts.daemon.is_ok();
    move |mount| {
        let text = format!("{} is read-only here", mount.point);
        match served {
            true => Check::note("mount", format!("{text}; through cgroupd that does not matter")),
            false => Check::note("mount", text)
                .remedy(format!("mount -o remount,rw {}, or use cgroupd", mount.point)),
        }
    }
}

/// Who holds each controller, one line for each holder.
fn controllers(facts: &Facts) -> Vec<Check> {
    let mut checks = Vec::new();
    let names = |wanted: &dyn Fn(&super::hierarchies::Controller) -> bool| {
        let found = facts.controllers.iter().filter(|own| wanted(own));
        found.map(|own| own.name.as_str()).collect::<Vec<_>>()
    };
    if !facts.on_v2.is_empty() {
        checks.push(Check::ok("controllers", format!("cgroup2: {}", facts.on_v2.join(" "))));
    }
    for mount in facts.mounts.iter().filter(|mount| !mount.controllers.is_empty()) {
        let text = format!("v1 {}: {}", mount.point, mount.controllers.join(" "));
        checks.push(Check::ok("controllers", text));
    }
    let hidden = names(&|own| own.v1_hierarchy != 0 && facts.v1_of(&own.name).is_none());
    if !hidden.is_empty() {
        let text =
            format!("held by v1 hierarchies that are not mounted here: {}", hidden.join(" "));
        let remedy = "mount them, or remove their cgroups and unmount them, to free them for v2";
        checks.push(Check::note("controllers", text).remedy(remedy));
    }
    let free = names(&|own| own.enabled && own.v1_hierarchy == 0 && is_missing(facts, &own.name));
    if !free.is_empty() && !facts.on_v2.is_empty() {
        let text = format!("held by nobody here: {}", free.join(" "));
        let remedy = "write +NAME to cgroup.subtree_control of the cgroups above, from the top";
        checks.push(Check::note("controllers", text).remedy(remedy));
    }
    let off = names(&|own| !own.enabled);
    if !off.is_empty() {
        let text = format!("switched off at boot: {}", off.join(" "));
        let remedy = format!("boot with cgroup_enable={}", off.join(","));
        checks.push(Check::note("controllers", text).remedy(remedy));
    }
    if facts.on_v2.is_empty() && facts.mounts.iter().all(|mount| mount.controllers.is_empty()) {
        let text = "no controller can be used here: there are no limits";
        let remedy = "mount v1 controllers, or free them for cgroup2; in a container ask its host";
        checks.push(Check::problem("controllers", text, remedy));
    }
    checks
}

/// Whether a controller that cgroup2 knows is not there. Some of v1 it does not: freezing, for
/// example, needs none.
fn is_missing(facts: &Facts, v1_name: &str) -> bool {
    const OF_V2: [&str; 8] =
        ["blkio", "cpu", "cpuset", "hugetlb", "memory", "misc", "pids", "rdma"];
    let name = if v1_name == "blkio" { "io" } else { v1_name };
    OF_V2.contains(&v1_name) && !facts.on_v2.iter().any(|own| own == name)
}

fn daemon(facts: &Facts) -> Check {
    match &facts.daemon {
        Ok(daemon) => {
            Check::ok("daemon", format!("cgroupd {} on {}", daemon.version, facts.address))
        }
        Err(failure) if failure.exit == Exit::NoDaemon && !facts.namespaces.is_empty() => {
            let remedy = "in a container: mount the host's directory /run/cgroupd at its place";
            Check::problem("daemon", &failure.text, remedy)
        }
        Err(failure) => {
            let hint = failure.hint.clone();
            let remedy = hint.unwrap_or_else(|| "see the log of cgroupd".to_owned());
            Check::problem("daemon", &failure.text, remedy)
        }
    }
}

fn bus(facts: &Facts) -> Check {
    let name = cgroupd_proto::BUS_NAME;
    match (facts.bus, facts.daemon.is_ok()) {
        (Bus::Owned, _) => Check::ok("bus", format!("{name} is on the system bus")),
        (Bus::Free, true) => {
            let remedy = "install its D-Bus policy, and reload the bus, if D-Bus clients need it";
            Check::note("bus", format!("{name} is not on the system bus")).remedy(remedy)
        }
        (Bus::Free, false) => Check::note("bus", format!("{name} is not on the system bus")),
        (Bus::None, _) => Check::note("bus", "no system bus answers; the socket needs none"),
    }
}

/// Why the daemon would serve the caller nothing.
fn caller(facts: &Facts) -> Option<Check> {
    let Daemon { caller, .. } = facts.daemon.as_ref().ok()?;
    let class = caller.get("class").map_or("unknown", String::as_str);
    Some(match caller.get("refused-because") {
        Some(reason) => Check::problem(
            "caller",
            format!("{class}: refused: {reason}"),
            "be started in a cgroup that was given to you: cgctl chown, or the host's cgctl move",
        ),
        None => Check::ok("caller", format!("{class}; {}", homes(caller))),
    })
}

/// `home: / (memory, pids), /a (unified)`.
fn homes(caller: &crate::request::Map) -> String {
    let mut by_path: Vec<(&str, Vec<&str>)> = Vec::new();
    for (key, path) in caller {
        let Some(hierarchy) = key.strip_prefix("home.") else { continue };
        match by_path.iter_mut().find(|(known, _)| known == path) {
            Some((_, hierarchies)) => hierarchies.push(hierarchy),
            None => by_path.push((path, vec![hierarchy])),
        }
    }
    let one =
        |(path, hierarchies): &(&str, Vec<&str>)| format!("{path} ({})", hierarchies.join(", "));
    format!("home: {}", by_path.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// What the caller may do in its own cgroup without the daemon.
fn delegation(facts: &Facts) -> Check {
    let served = facts.daemon.is_ok();
    let Some(own) = &facts.own else {
        return Check::note("delegation", "the caller's cgroup cannot be seen on cgroup2");
    };
    let mark = if own.is_marked { ", marked as delegated" } else { "" };
    let path = &own.path;
    if own.may_create && own.may_move && own.may_enable {
        let has = match own.controllers.is_empty() {
            true => "no controllers".to_owned(),
            false => own.controllers.join(" "),
        };
        return Check::ok("delegation", format!("{path} is the caller's{mark}, with {has}"));
    }
    let text = format!("{path} is not the caller's to write{mark}{}", lacking(own));
    match served {
        true => Check::note("delegation", format!("{text}; cgroupd is the way")),
        false => Check::problem("delegation", text, way_to_delegate(facts)),
    }
}

/// A container whose cgroup stayed with ids of the host: its root may do nothing there.
fn handover(facts: &Facts) -> Option<Check> {
    /// How ids look that have no number in a user namespace.
    const UNMAPPED: u32 = 65_534;
    let top = facts.daemon.as_ref().ok()?.top;
    (top == Some((UNMAPPED, UNMAPPED))).then(|| {
        Check::problem(
            "delegation",
            "the container's cgroup belongs to ids that the container does not have",
            "on the host: cgctl chown UID:GID PATH, with the ids of the container's root and its cgroup",
        )
    })
}

fn lacking(own: &OwnCgroup) -> String {
    let parts = [
        (own.may_create, "its directory"),
        (own.may_move, "cgroup.procs"),
        (own.may_enable, "cgroup.subtree_control"),
    ];
    let missing: Vec<&str> = parts.iter().filter(|(may, _)| !may).map(|(_, what)| *what).collect();
    match missing.len() == parts.len() {
        true => String::new(),
        false => format!(" ({})", missing.join(", ")),
    }
}

fn way_to_delegate(facts: &Facts) -> &'static str {
    match facts.systemd {
        true => "start cgroupd, or use systemd-run --user --scope -p Delegate=yes COMMAND",
        false => "start cgroupd, or let root give you a cgroup",
    }
}

/// The "no internal processes" rule, cgroup-v2.rst.
fn inner_processes(facts: &Facts) -> Option<Check> {
    let own = facts.own.as_ref().filter(|own| own.may_enable && !own.is_top)?;
    let blocked = own.processes > 0 && own.enabled.is_empty() && !own.controllers.is_empty();
    blocked.then(|| {
        let text = format!(
            "{} holds {} processes itself: its children get no controllers",
            own.path, own.processes
        );
        Check::new("delegation", State::Note, text).remedy("move them to a cgroup below it first")
    })
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
