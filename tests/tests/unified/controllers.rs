//! Controllers are enabled along the way, by the caller, as far as it may.

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::daemon::Daemon;
use cgroupd_tests::peer::{ALICE, RANGE};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;

use crate::{enable, v2, words};

pub(crate) const TESTS: &[Test] = &tests![needs Unified:
    a_new_managed_root_has_the_controllers,
    limits_without_their_controller_read_as_unset,
    a_dry_run_enables_nothing,
    case_31_what_lies_above_is_not_the_callers,
    case_31_a_container_without_controllers,
    named_controllers_are_enabled_and_no_others,
    controllers_are_enabled_for_host_root,
];

/// One that was there is left as its owner set it up.
fn a_new_managed_root_has_the_controllers(world: &World) {
    world.cgroups.make("there");
    let start = |path: &str| Daemon::start(&format!("{}{path}", world.cgroups.path()));
    start("/there").stop();
    assert_eq!(words(world, "there", "cgroup.controllers"), [""; 0]);
    start("/new/below").stop();
    let offered = words(world, "", "cgroup.controllers");
    assert!(offered.contains(&"memory".to_owned()), "{offered:?}");
    assert_eq!(words(world, "new/below", "cgroup.controllers"), offered);
    assert_eq!(words(world, "new/below", "cgroup.subtree_control"), [""; 0]);
}

fn limits_without_their_controller_read_as_unset(world: &World) {
    world.root.create("/a").unwrap();
    let get = |path: &str, name: &str| {
        let names = [name];
        let answer = world.root.wait(world.root.manager().get_limits(path, &names));
        answer.map(|mut limits| limits.remove(name).unwrap())
    };
    unchanged(&world.cgroups, || {
        for (name, unset) in [
            ("pids.max", "max"),
            ("cpu.max", "max 100000"),
            ("cpu.weight", "100"),
            ("memory.max", "max"),
            ("memory.low", "0"),
            ("cpuset.cpus", ""),
            ("io.max", ""),
        ] {
            assert_eq!(get("/a", name).unwrap(), unset, "{name}");
        }
        refused(get("/b", "pids.max"), ErrorName::NotFound);
        let all = world.root.wait(world.root.manager().get_limits("/a", &[])).unwrap();
        assert!(all.is_empty(), "{all:?}");
    });
    // The kernel says the same once they are enabled.
    enable(world, "", "+pids +cpu +memory +cpuset +io");
    for file in ["pids.max", "cpu.max", "cpu.weight", "memory.max", "memory.low", "io.max"] {
        assert_eq!(get("/a", file).unwrap(), world.cgroups.read(v2(), "a", file), "{file}");
    }
}

fn a_dry_run_enables_nothing(world: &World) {
    world.root.create("/a/b").unwrap();
    world.cgroups.make_for("home", ALICE);
    world.cgroups.make_for("home/a", ALICE);
    let alice = world.user(ALICE);
    let limits = [("pids.max", "10"), ("cpu.max", "150%"), ("memory.max", "64M")];
    let expected = unchanged(&world.cgroups, || {
        refused(alice.set_limits("/home/a", &limits, &["dry-run"]), ErrorName::Denied);
        world.root.set_limits("/a/b", &limits, &["dry-run"]).unwrap()
    });
    assert_eq!(expected["memory.max"], "67108864");
    assert_eq!(world.root.set_limits("/a/b", &limits, &[]).unwrap(), expected);
    assert_eq!(words(world, "a", "cgroup.subtree_control"), ["cpu", "memory", "pids"]);
}

/// The caller's own cgroup has no controllers, and what lies above is root's.
fn case_31_what_lies_above_is_not_the_callers(world: &World) {
    world.cgroups.make_for("home", ALICE);
    let alice = world.user(ALICE);
    let create = || alice.create_limited("/home/a/b", &[], &[("pids.max", "10")]);
    unchanged(&world.cgroups, || {
        let text = refused(create(), ErrorName::Denied);
        assert!(text.contains("whoever owns / enables them there"), "{text}");
    });
    enable(world, "", "+pids +memory");
    create().unwrap();
    assert_eq!(world.cgroups.read(v2(), "home/a/b", "pids.max"), "10");
    assert_eq!(world.cgroups.owner(v2(), "home/a/b", "pids.max").0, ALICE, "its files are hers");
    assert_eq!(words(world, "home/a", "cgroup.subtree_control"), ["pids"], "and no others");
}

fn case_31_a_container_without_controllers(world: &World) {
    let container = world.container("box", RANGE);
    let create = || container.create_limited("/a", &[], &[("pids.max", "10")]);
    unchanged(&world.cgroups, || {
        let text = refused(create(), ErrorName::NotSupported);
        assert!(text.contains("pids"), "{text}");
        let named = container.create_with("/a", &["pids"], &[]);
        refused(named, ErrorName::NotSupported);
    });
    enable(world, "", "+pids");
    create().unwrap();
    assert_eq!(world.cgroups.owner(v2(), "box/a", "pids.max").0, RANGE);
    assert_eq!(words(world, "", "cgroup.subtree_control"), ["pids"]);
}

fn named_controllers_are_enabled_and_no_others(world: &World) {
    world.root.create_with("/a/b", &["memory", "pids"], &[]).unwrap();
    assert_eq!(words(world, "a/b", "cgroup.controllers"), ["memory", "pids"]);
    world.root.create("/c/d").unwrap();
    assert_eq!(words(world, "c/d", "cgroup.controllers"), [""; 0]);
    let unknown = world.root.create_with("/e", &["nonsense"], &[]);
    refused(unknown, ErrorName::UnknownController);
    assert!(world.cgroups.is_nowhere("e"));
}

/// Host root too works below the managed root alone, and moves nobody out of it.
fn controllers_are_enabled_for_host_root(world: &World) {
    let sleeper = cgroupd_tests::world::Sleeper::start(0);
    world.cgroups.put("", sleeper.pid());
    let create = || world.root.create_limited("/a", &[], &[("memory.max", "64M")]);
    unchanged(&world.cgroups, || {
        let text = refused(create(), ErrorName::Busy);
        assert!(text.contains("/ has processes of its own"), "{text}");
    });
    drop(sleeper);
    create().unwrap();
}
