//! Tables of made-up hosts.

use super::super::hierarchies::{Controller, Mount};
use super::*;
use crate::exit::Failure;

/// A machine with everything in order: cgroup2, a daemon, a bus, and a cgroup of one's own.
fn healthy() -> Facts {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let caller = [("class", "host-root"), ("home.unified", "/")];
    Facts {
        release: "6.18.2-amd64".to_owned(),
        init: "init".to_owned(),
        systemd: false,
        namespaces: Vec::new(),
        mounts: vec![Mount {
            v2: true,
            point: "/sys/fs/cgroup".to_owned(),
            root: "/".to_owned(),
            nsdelegate: true,
            ..Mount::default()
        }],
        controllers: vec![controller("memory", 0, true), controller("pids", 0, true)],
        on_v2: words("memory pids"),
        own: Some(OwnCgroup {
            path: "/".to_owned(),
            may_create: true,
            may_move: true,
            may_enable: true,
            is_top: true,
            controllers: words("memory pids"),
            ..OwnCgroup::default()
        }),
        daemon: Ok(Daemon {
            version: "0.1.0".to_owned(),
            features: words("peer-pidfd pidfd-info pid-translation"),
            caller: caller.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            top: None,
        }),
        address: "unix:path=/run/cgroupd/cgroupd.sock".to_owned(),
        bus: Bus::Owned,
    }
}

fn controller(name: &str, v1_hierarchy: u32, enabled: bool) -> Controller {
    Controller { name: name.to_owned(), v1_hierarchy, enabled }
}

fn v1(point: &str, controllers: &[&str]) -> Mount {
    Mount {
        point: point.to_owned(),
        root: "/".to_owned(),
        controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
        ..Mount::default()
    }
}

/// What differs from the healthy machine.
#[track_caller]
fn differs(change: impl FnOnce(&mut Facts)) -> Vec<Check> {
    let mut facts = healthy();
    let before = examine(&facts);
    change(&mut facts);
    examine(&facts).into_iter().filter(|check| !before.contains(check)).collect()
}

#[track_caller]
fn only(checks: &[Check], name: &str, state: State, said: &str) {
    let found: Vec<_> = checks.iter().filter(|check| check.state != State::Ok).collect();
    assert_eq!(found.len(), 1, "{checks:?}");
    assert_eq!((found[0].name, found[0].state), (name, state), "{checks:?}");
    assert!(found[0].text.contains(said), "{checks:?}");
}

#[test]
fn nothing_is_wrong_with_a_healthy_host() {
    let checks = examine(&healthy());
    assert!(checks.iter().all(|check| check.state == State::Ok), "{checks:?}");
    assert!(checks.iter().all(|check| check.remedy.is_none()));
}

#[test]
fn every_problem_has_a_remedy() {
    let down = |exit| Err(Failure::new(exit, "cannot ask: gone").hint("start it"));
    let worst = differs(|facts| {
        facts.release = "5.4.0".to_owned();
        facts.mounts.clear();
        facts.on_v2.clear();
        facts.own = None;
        facts.daemon = down(Exit::NoDaemon);
    });
    let problems: Vec<_> =
        worst.iter().filter(|check| check.state == State::Problem).map(|c| c.name).collect();
    assert_eq!(problems, ["kernel", "layout", "controllers", "daemon"]);
    let without = |check: &&Check| check.state == State::Problem && check.remedy.is_none();
    assert_eq!(worst.iter().find(without), None);
}

#[test]
fn missing_features_name_what_is_done_instead() {
    let checks = differs(|facts| {
        facts.release = "6.12.30".to_owned();
        facts.daemon.as_mut().unwrap().features.retain(|name| name != "pidfd-info");
    });
    let features: Vec<_> = checks.iter().filter(|check| check.name == "feature").collect();
    assert_eq!(features.len(), 2, "{checks:?}");
    assert!(features[0].text.starts_with("no PIDFD_GET_INFO (Linux 6.13): "));
    assert!(features[1].text.contains("traced"));
    // Without a daemon to ask, the version counts.
    let mut facts = healthy();
    facts.release = "6.1.0".to_owned();
    facts.daemon = Err(Failure::new(Exit::NoDaemon, "gone"));
    let notes = examine(&facts);
    let missing = notes.iter().filter(|c| c.name == "feature" && c.state == State::Note).count();
    assert_eq!(missing, 4);
}

#[test]
fn layouts() {
    let legacy = differs(|facts| facts.mounts = vec![v1("/cg/memory", &["memory"])]);
    assert_eq!(legacy[0].text, "legacy: v1 on /cg/memory");
    let hybrid = differs(|facts| facts.mounts.push(v1("/cg/memory", &["memory"])));
    assert_eq!(hybrid[0].text, "hybrid: cgroup2 on /sys/fs/cgroup, v1 on /cg/memory");
    only(&differs(|f| f.mounts[0].nsdelegate = false), "mount", State::Note, "nsdelegate");
    only(&differs(|f| f.mounts[0].read_only = true), "mount", State::Note, "read-only");
}

#[test]
fn who_holds_the_controllers() {
    let hidden = differs(|facts| facts.controllers[0] = controller("memory", 4, true));
    only(&hidden, "controllers", State::Note, "not mounted here: memory");
    let off = differs(|facts| facts.controllers[0] = controller("memory", 0, false));
    only(&off, "controllers", State::Note, "switched off at boot: memory");
    assert_eq!(off[0].remedy.as_deref(), Some("boot with cgroup_enable=memory"));
    let missing = differs(|facts| facts.on_v2.retain(|name| name != "pids"));
    only(&missing, "controllers", State::Note, "held by nobody here: pids");
    let none = differs(|facts| facts.on_v2.clear());
    assert_eq!(none.iter().filter(|check| check.state == State::Problem).count(), 1, "{none:?}");
}

#[test]
fn a_daemon_that_does_not_answer() {
    let gone = |facts: &mut Facts| {
        facts.daemon = Err(Failure::new(Exit::NoDaemon, "cannot ask: gone").hint("start it"));
    };
    let checks = differs(gone);
    only(&checks, "daemon", State::Problem, "gone");
    assert_eq!(checks[0].remedy.as_deref(), Some("start it"));
    let inside = differs(|facts| {
        gone(facts);
        facts.namespaces = vec!["user", "cgroup"];
    });
    only(&inside, "daemon", State::Problem, "gone");
    let remedy = inside.iter().find_map(|check| check.remedy.as_deref()).unwrap();
    assert!(remedy.contains("mount the host's directory /run/cgroupd"), "{remedy}");
}

#[test]
fn a_caller_that_is_refused() {
    let refused = differs(|facts| {
        let caller = &mut facts.daemon.as_mut().unwrap().caller;
        caller.insert("refused-because".to_owned(), "no cgroup".to_owned());
    });
    only(&refused, "caller", State::Problem, "refused: no cgroup");
}

#[test]
fn a_name_on_the_bus() {
    only(&differs(|facts| facts.bus = Bus::None), "bus", State::Note, "no system bus");
    only(&differs(|facts| facts.bus = Bus::Free), "bus", State::Note, "is not on");
}

#[test]
fn ones_own_cgroup() {
    let foreign = |facts: &mut Facts| {
        let own = facts.own.as_mut().unwrap();
        own.may_create = false;
        own.may_enable = false;
    };
    let served = differs(foreign);
    only(&served, "delegation", State::Note, "(its directory, cgroup.subtree_control)");
    let alone = differs(|facts| {
        foreign(facts);
        facts.daemon = Err(Failure::new(Exit::NoDaemon, "gone"));
    });
    let problems = alone.iter().filter(|check| check.state == State::Problem);
    assert_eq!(problems.map(|check| check.name).collect::<Vec<_>>(), ["daemon", "delegation"]);
    let inner = differs(|facts| {
        let own = facts.own.as_mut().unwrap();
        own.is_top = false;
        own.processes = 3;
    });
    only(&inner, "delegation", State::Note, "holds 3 processes");
}
