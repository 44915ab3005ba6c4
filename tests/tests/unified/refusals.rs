//! What cgroup v2 refuses, said in words: what, where, why, and the way out.

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies;
use cgroupd_tests::peer::{BOB, Map, RANGE};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

use crate::{enable, v2};

pub(crate) const TESTS: &[Test] = &tests![needs Unified:
    controllers_of_a_threaded_subtree,
    case_19_a_process_from_elsewhere,
    case_24_into_a_threaded_subtree,
    case_24_into_an_inner_cgroup,
    caps_on_cgroups_are_named,
    caps_above_the_scope_are_not_named,
    a_controller_that_is_in_use,
];

pub(crate) const HYBRID_TESTS: &[Test] = &tests![needs Hybrid: controllers_that_v1_holds];

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

/// `/a` with a threaded child `/a/t`, a domain child `/a/d`.
fn threaded(world: &World) {
    for path in ["/a/t", "/a/d", "/b"] {
        world.root.create(path).unwrap();
    }
    world.root.write("/a/t", "cgroup.type", "threaded").unwrap();
    assert_eq!(world.cgroups.read(v2(), "a", "cgroup.type"), "domain threaded");
}

fn controllers_of_a_threaded_subtree(world: &World) {
    threaded(world);
    enable(world, "", "+memory +pids");
    unchanged(&world.cgroups, || {
        let result = world.root.create_limited("/a/t/x", &[], &[("memory.max", "64M")]);
        let text = refused(result, ErrorName::NotSupported);
        says(&text, &["/a: it is domain threaded", "cpu, cpuset, perf_event and pids", "hint: "]);
        let named = world.root.write("/a", "cgroup.subtree_control", "+memory");
        says(&refused(named, ErrorName::NotSupported), &["/a: it is domain threaded"]);
    });
    world.root.create_limited("/a/t/x", &[], &[("pids.max", "9")]).unwrap();
    assert_eq!(world.cgroups.read(v2(), "a/t/x", "pids.max"), "9");
    world.root.create_limited("/b/x", &[], &[("memory.max", "64M")]).unwrap();
}

/// v2 does not ask whose process it is, but who owns the cgroup above where it comes from.
fn case_19_a_process_from_elsewhere(world: &World) {
    world.cgroups.make_for("box", RANGE);
    world.cgroups.make("other");
    let mut peer = world.peer_in("box");
    peer.user_ns(Map::Range(RANGE));
    peer.cgroup_ns();
    let caller = world.calls(peer);
    caller.create("/a").unwrap();
    for uid in [0, BOB, RANGE + 500] {
        let stranger = Sleeper::start(uid);
        world.cgroups.put("other", stranger.pid());
        unchanged(&world.cgroups, || {
            refused(caller.move_pid("/a", stranger.pid()), ErrorName::Denied);
        });
        world.cgroups.put("box", stranger.pid());
        caller.move_pid("/a", stranger.pid()).unwrap();
        assert_eq!(world.cgroups.procs(v2(), "box/a"), [stranger.pid()]);
    }
}

fn case_24_into_a_threaded_subtree(world: &World) {
    threaded(world);
    let sleeper = Sleeper::start(0);
    world.cgroups.put("b", sleeper.pid());
    assert_eq!(world.cgroups.read(v2(), "a/d", "cgroup.type"), "domain invalid");
    unchanged(&world.cgroups, || {
        let text = refused(world.root.move_pid("/a/d", sleeper.pid()), ErrorName::Busy);
        says(&text, &["/a/d: it lies in a threaded subtree", "domain invalid", "hint: "]);
    });
    // All threads of a process at once may go there.
    world.root.move_pid("/a/t", sleeper.pid()).unwrap();
    let text = refused(world.root.processes("/a/t", &[]), ErrorName::NotSupported);
    says(&text, &["hint: it is threaded"]);
    let threads = world.root.processes("/a/t", &["threads"]).unwrap();
    assert_eq!(threads, [sleeper.pid().cast_unsigned()]);
    world.root.move_pid("/a", sleeper.pid()).unwrap();
}

fn case_24_into_an_inner_cgroup(world: &World) {
    world.root.create_limited("/a/b", &[], &[("memory.max", "64M")]).unwrap();
    let sleeper = Sleeper::start(0);
    unchanged(&world.cgroups, || {
        let text = refused(world.root.move_pid("/a", sleeper.pid()), ErrorName::Busy);
        says(&text, &["hint: /a has controllers for its children (memory)", "below"]);
    });
    world.root.move_pid("/a/b", sleeper.pid()).unwrap();
}

fn caps_on_cgroups_are_named(world: &World) {
    let caps = [("cgroup.max.descendants", "2"), ("cgroup.max.depth", "2")];
    world.root.create_limited("/a", &[], &caps).unwrap();
    world.root.create("/a/b/c").unwrap();
    unchanged(&world.cgroups, || {
        let text = refused(world.root.create("/a/d"), ErrorName::QuotaExceeded);
        says(&text, &["cgroup.max.descendants of /a is 2, and it has 2", "hint: "]);
        let text = refused(world.root.create("/a/b/c/d"), ErrorName::QuotaExceeded);
        says(&text, &["cgroup.max.depth of /a is 2, and it would lie deeper"]);
    });
    world.root.remove("/a/b/c", &[]).unwrap();
    world.root.create("/a/d").unwrap();
}

/// Nothing is told of what lies outside the scope.
fn caps_above_the_scope_are_not_named(world: &World) {
    let container = world.container("box", RANGE);
    world.cgroups.write(v2(), "box", "cgroup.max.descendants", "max");
    world.cgroups.write(v2(), "", "cgroup.max.descendants", "2");
    container.create("/a").unwrap();
    unchanged(&world.cgroups, || {
        let text = refused(container.create("/b"), ErrorName::QuotaExceeded);
        says(&text, &["a cap above the caller's scope is reached", "hint: "]);
    });
    world.cgroups.write(v2(), "", "cgroup.max.descendants", "max");
    container.create("/b").unwrap();
}

fn a_controller_that_is_in_use(world: &World) {
    world.root.create_limited("/a/b/c", &[], &[("pids.max", "5")]).unwrap();
    let disable = |path: &str| world.root.write(path, "cgroup.subtree_control", "-pids");
    unchanged(&world.cgroups, || {
        let text = refused(disable("/a"), ErrorName::Busy);
        says(&text, &["the children of /a have it enabled", "hint: "]);
    });
    disable("/a/b").unwrap();
    disable("/a").unwrap();
}

fn controllers_that_v1_holds(world: &World) {
    world.root.create("/a").unwrap();
    unchanged(&world.cgroups, || {
        let write = world.root.write("/a", "cgroup.subtree_control", "+memory");
        let text = refused(write, ErrorName::NotSupported);
        says(&text, &["the memory controller is held by cgroup v1", "cgroup_no_v1=memory"]);
        // v1 has no such limit.
        let limited = world.root.create_limited("/b", &[], &[("memory.high", "64M")]);
        let text = refused(limited, ErrorName::NotSupported);
        says(&text, &["memory.high: the memory controller is held by cgroup v1", "hint: "]);
    });
    world.root.create_limited("/b", &[], &[("memory.max", "64M")]).unwrap();
    let memory = hierarchies::v1_of("memory").expect("it is needed");
    assert_eq!(world.cgroups.read(memory, "b", "memory.limit_in_bytes"), "67108864");
}
