//! SetLimits, GetLimits, and the limits of Create, over the wire. The traps of each file have a
//! suite of their own.

use std::collections::HashMap;
use std::os::fd::AsFd;

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies::{self, Hierarchy, Version};
use cgroupd_tests::need::skip;
use cgroupd_tests::peer::ALICE;
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;
use rustix::process::PidfdFlags;

pub(crate) const TESTS: &[Test] = &tests![
    set_limits_answers_what_the_kernel_made_of_it,
    get_limits_answers_those_that_are_set,
    get_limits_by_name,
    dry_run_changes_nothing,
    create_sets_limits,
    create_with_a_bad_limit_makes_nothing,
    create_with_a_limit_of_another_hierarchy,
    create_that_fails_later_restores_the_limits,
    names_that_are_no_limits,
    set_limits_of_what_is_not_there,
    a_user_limits_what_is_its_own,
];

/// A limit of processes or, where nothing else is there, of cgroups: its name, where it is, and
/// its file.
fn limit(world: &World) -> (&'static str, &'static Hierarchy, &'static str) {
    if let Some(pids) = hierarchies::v1_of("pids") {
        return ("pids.max", pids, "pids.max");
    }
    let v2 = hierarchies::v2().expect("some hierarchy");
    match world.cgroups.read(v2, "", "cgroup.controllers").contains("pids") {
        true => ("pids.max", v2, "pids.max"),
        false => ("cgroup.max.descendants", v2, "cgroup.max.descendants"),
    }
}

fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn set_limits_answers_what_the_kernel_made_of_it(world: &World) {
    world.root.create("/a").unwrap();
    let (name, hierarchy, file) = limit(world);
    assert_eq!(world.root.set_limits("/a", &[(name, "100")], &[]).unwrap(), map(&[(name, "100")]));
    assert_eq!(world.cgroups.read(hierarchy, "a", file), "100");
    assert_eq!(world.root.set_limits("/a", &[(name, "max")], &[]).unwrap(), map(&[(name, "max")]));
    assert_eq!(world.root.set_limits("/a", &[], &[]).unwrap(), map(&[]));
}

fn get_limits_answers_those_that_are_set(world: &World) {
    world.root.create("/a").unwrap();
    let (name, ..) = limit(world);
    let get = || world.root.wait(world.root.manager().get_limits("/a", &[])).unwrap();
    assert!(!get().contains_key(name), "{:?}", get());
    world.root.set_limits("/a", &[(name, "100")], &[]).unwrap();
    assert_eq!(get()[name], "100");
}

fn get_limits_by_name(world: &World) {
    world.root.create("/a").unwrap();
    let (name, ..) = limit(world);
    let get = |names: &[&str]| world.root.wait(world.root.manager().get_limits("/a", names));
    assert_eq!(get(&[name]).unwrap(), map(&[(name, "max")]), "also when it is not set");
    refused(get(&["nonsense"]), ErrorName::InvalidLimit);
    refused(get(&[name, "pids.current"]), ErrorName::InvalidLimit);
}

fn dry_run_changes_nothing(world: &World) {
    world.root.create("/a").unwrap();
    let (name, ..) = limit(world);
    unchanged(&world.cgroups, || {
        let answer = world.root.set_limits("/a", &[(name, "100")], &["dry-run"]).unwrap();
        assert_eq!(answer, map(&[(name, "100")]));
        let bad = world.root.set_limits("/a", &[(name, "x")], &["dry-run"]);
        refused(bad, ErrorName::InvalidLimit);
    });
}

fn create_sets_limits(world: &World) {
    let (name, hierarchy, file) = limit(world);
    world.root.create_limited("/a/b", &[], &[(name, "100")]).unwrap();
    assert_eq!(world.cgroups.read(hierarchy, "a/b", file), "100");
    assert_eq!(world.cgroups.read(hierarchy, "a", file), "max", "parents get none");
    // What exists takes new limits, too.
    world.root.create_limited("/a/b", &[], &[(name, "50")]).unwrap();
    assert_eq!(world.cgroups.read(hierarchy, "a/b", file), "50");
}

fn create_with_a_bad_limit_makes_nothing(world: &World) {
    let (name, ..) = limit(world);
    unchanged(&world.cgroups, || {
        for bad in [(name, "x"), (name, "-1"), (name, ""), ("nonsense.max", "1")] {
            let result = world.root.create_limited("/a/b", &[], &[bad]);
            refused(result, ErrorName::InvalidLimit);
        }
    });
    world.root.create_limited("/a/b", &[], &[(name, "1")]).unwrap();
}

fn create_with_a_limit_of_another_hierarchy(world: &World) {
    let (name, hierarchy, _) = limit(world);
    let other =
        hierarchies::implied().find(|h| h.version == Version::V1 && h.label != hierarchy.label);
    let (Some(other), Some(own)) = (other, hierarchy.controllers.first()) else {
        return skip("hierarchies", "limits are in one hierarchy only");
    };
    unchanged(&world.cgroups, || {
        let controllers = [other.controllers[0].as_str()];
        let result = world.root.create_limited("/a", &controllers, &[(name, "1")]);
        refused(result, ErrorName::InvalidLimit);
    });
    world.root.create_limited("/a", &[own], &[(name, "1")]).unwrap();
}

/// The cgroup was there before: it stays, with the limits it had.
fn create_that_fails_later_restores_the_limits(world: &World) {
    let (name, ..) = limit(world);
    world.root.create_limited("/a", &[], &[(name, "100")]).unwrap();
    let daemon = rustix::process::Pid::from_raw(world.daemon.pid()).unwrap();
    let daemon = rustix::process::pidfd_open(daemon, PidfdFlags::empty()).unwrap();
    unchanged(&world.cgroups, || {
        let limits = HashMap::from([(name, "7")]);
        let pidfds = [zbus::Fd::from(daemon.as_fd())];
        let create = world.root.manager().create("/a", &[], &limits, &pidfds, &[]);
        refused(world.root.wait(create), ErrorName::Denied);
    });
}

fn names_that_are_no_limits(world: &World) {
    world.root.create("/a").unwrap();
    unchanged(&world.cgroups, || {
        for name in ["", "cgroup.procs", "tasks", "memory.limit_in_bytes", "PIDS.MAX", "../x"] {
            let result = world.root.set_limits("/a", &[(name, "1")], &[]);
            refused(result, ErrorName::InvalidLimit);
        }
    });
}

fn set_limits_of_what_is_not_there(world: &World) {
    let (name, ..) = limit(world);
    refused(world.root.set_limits("/a", &[(name, "1")], &[]), ErrorName::NotFound);
    world.root.create("/a").unwrap();
    world.root.set_limits("/a", &[(name, "1")], &[]).unwrap();
    unchanged(&world.cgroups, || {
        // Nobody limits the managed root but host root, and nobody the hierarchy's.
        let alice = world.user(ALICE);
        refused(alice.set_limits("/", &[(name, "1")], &[]), ErrorName::Denied);
    });
}

fn a_user_limits_what_is_its_own(world: &World) {
    world.cgroups.make_for("home", ALICE);
    let alice = world.user(ALICE);
    let (name, hierarchy, file) = limit(world);
    if hierarchy.version == Version::V2 && name == "pids.max" {
        // Who hands a cgroup over gives it controllers: what lies above it is not Alice's.
        world.cgroups.write(hierarchy, "", "cgroup.subtree_control", "+pids");
    }
    alice.create_limited("/home/a", &[], &[(name, "100")]).unwrap();
    assert_eq!(world.cgroups.read(hierarchy, "home/a", file), "100");
    assert_eq!(world.cgroups.owner(hierarchy, "home/a", file).0, ALICE);
    unchanged(&world.cgroups, || {
        refused(alice.set_limits("/home", &[(name, "1")], &[]), ErrorName::Denied);
        refused(alice.create_limited("/home", &[], &[(name, "1")]), ErrorName::Denied);
    });
}
