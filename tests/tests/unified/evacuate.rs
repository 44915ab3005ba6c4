//! Grant G9: processes in the root of a container's cgroup namespace give way to controllers,
//! and no others ever do.

use std::os::unix::fs::chown;

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::Created;
use cgroupd_tests::client::{Result, denied, refused};
use cgroupd_tests::peer::{ALICE, Map, RANGE};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Caller, Sleeper, World};

use crate::{enable, v2, words};

pub(crate) const TESTS: &[Test] = &tests![needs Unified:
    a_container_gets_its_limits,
    a_container_that_forks_all_the_time,
    an_init_whose_services_have_cgroups,
    a_container_without_a_user_namespace,
    set_limits_moves_and_says_so,
    only_when_controllers_are_needed,
    not_with_the_flag,
    not_under_systemd,
    not_without_permission,
    not_below_the_own_root,
    not_for_a_host_user,
];

/// A container with an init in the root of its namespaces, and two services beside it.
fn container(world: &World) -> Caller {
    enable(world, "", "+memory +pids +cpu");
    world.cgroups.make_for("box", RANGE);
    let mut peer = world.peer_in("box");
    peer.user_ns(Map::Range(RANGE));
    peer.cgroup_ns();
    peer.mount_ns();
    peer.pid_ns();
    let mut caller = world.calls(peer);
    for uid in [0, 5] {
        caller.peer.sleeper(uid);
    }
    caller
}

fn limited(caller: &Caller, path: &str) -> Result<Created> {
    caller.create_limited(path, &[], &[("pids.max", "50"), ("memory.max", "64M")])
}

/// All of `before` are in the leaf, none is left, and the limits are real.
fn made_room(world: &World, before: &[i32]) {
    assert!(!before.is_empty());
    let inside = world.cgroups.procs(v2(), "box/init");
    assert!(before.iter().all(|pid| inside.contains(pid)), "{before:?} {inside:?}");
    assert_eq!(world.cgroups.procs(v2(), "box"), [0; 0]);
    assert_eq!(words(world, "box", "cgroup.subtree_control"), ["memory", "pids"]);
}

fn a_container_gets_its_limits(world: &World) {
    let mut caller = container(world);
    let before = world.cgroups.procs(v2(), "box");
    limited(&caller, "/app").unwrap();
    made_room(world, &before);
    for (file, value) in [("pids.max", "50"), ("memory.max", "67108864")] {
        assert_eq!(world.cgroups.read(v2(), "box/app", file), value);
        assert_eq!(world.cgroups.owner(v2(), "box/app", file).0, RANGE);
    }
    assert_eq!(world.cgroups.owner(v2(), "box/init", "").0, RANGE);
    // From now on it is an ordinary owner of a subtree.
    let worker = caller.peer.sleeper(0);
    caller.attach_pids("/app", &[worker.inside], &[]).unwrap();
    assert_eq!(world.cgroups.procs(v2(), "box/app"), [worker.outside]);
    limited(&caller, "/other").unwrap();
    // Above its scope nothing was enabled.
    assert_eq!(words(world, "", "cgroup.subtree_control"), ["cpu", "memory", "pids"]);
}

/// Children are born in the root while their parents are being moved.
fn a_container_that_forks_all_the_time(world: &World) {
    let mut caller = container(world);
    for _ in 0..3 {
        caller.peer.spawn(&["sh", "-c", "while :; do (:; :) & wait; done"]);
    }
    limited(&caller, "/app").unwrap();
    assert_eq!(world.cgroups.procs(v2(), "box"), [0; 0]);
    assert_eq!(words(world, "box", "cgroup.subtree_control"), ["memory", "pids"]);
    assert!(world.cgroups.procs(v2(), "box/init").len() >= 6);
}

/// OpenRC in a system container: its services have cgroups, its init has none.
fn an_init_whose_services_have_cgroups(world: &World) {
    let mut caller = container(world);
    caller.create("/openrc.sshd").unwrap();
    let sshd = caller.peer.sleeper(0);
    caller.attach_pids("/openrc.sshd", &[sshd.inside], &[]).unwrap();
    let before = world.cgroups.procs(v2(), "box");
    limited(&caller, "/openrc.sshd").unwrap();
    made_room(world, &before);
    assert_eq!(world.cgroups.procs(v2(), "box/openrc.sshd"), [sshd.outside], "it stays");
}

/// Docker in Docker: root, in cgroup and pid namespaces of its own.
fn a_container_without_a_user_namespace(world: &World) {
    enable(world, "", "+memory +pids +cpu");
    world.cgroups.make("box");
    let mut peer = world.peer_in("box");
    peer.cgroup_ns();
    peer.mount_ns();
    peer.pid_ns();
    let mut caller = world.calls(peer);
    caller.peer.sleeper(0);
    caller.peer.sleeper(ALICE);
    let before = world.cgroups.procs(v2(), "box");
    limited(&caller, "/docker/app").unwrap();
    made_room(world, &before);
    assert_eq!(words(world, "box/docker", "cgroup.subtree_control"), ["memory", "pids"]);
}

fn set_limits_moves_and_says_so(world: &World) {
    let caller = container(world);
    caller.create("/app").unwrap();
    let before = world.cgroups.procs(v2(), "box");
    let limits = [("pids.max", "50"), ("memory.max", "64M")];
    unchanged(&world.cgroups, || {
        let dry = caller.set_limits("/app", &limits, &["dry-run"]).unwrap();
        assert_eq!(dry["pids.max"], "50");
    });
    assert_eq!(caller.set_limits("/app", &limits, &[]).unwrap()["evacuated"], "/init");
    made_room(world, &before);
    assert!(!caller.set_limits("/app", &limits, &[]).unwrap().contains_key("evacuated"));
}

/// What asks for no controllers moves nobody, and neither does what is wrong.
fn only_when_controllers_are_needed(world: &World) {
    let caller = container(world);
    let before = world.cgroups.procs(v2(), "box");
    caller.create_limited("/a", &[], &[("cgroup.max.depth", "3")]).unwrap();
    let bad = caller.create_limited("/b", &[], &[("memory.max", "64X")]);
    refused(bad, ErrorName::InvalidLimit);
    let absent = caller.create_limited("/b", &[], &[("cpuset.cpus", "0")]);
    refused(absent, ErrorName::NotSupported);
    assert_eq!(world.cgroups.procs(v2(), "box"), before);
    assert!(world.cgroups.is_nowhere("box/init"));
    limited(&caller, "/b").unwrap();
    made_room(world, &before);
}

/// Busy, and nothing is different; the error says `why`.
fn stays(world: &World, caller: &Caller, why: &str) {
    unchanged(&world.cgroups, || {
        let text = refused(limited(caller, "/app"), ErrorName::Busy);
        assert!(text.contains("/ has processes of its own") && text.contains(why), "{text}");
    });
}

fn not_with_the_flag(world: &World) {
    let caller = container(world);
    unchanged(&world.cgroups, || {
        let named = caller.create_with("/app", &["pids"], &["no-evacuate"]);
        let text = refused(named, ErrorName::Busy);
        assert!(text.contains("no-evacuate") && text.contains("hint: move"), "{text}");
    });
    caller.create("/app").unwrap();
    unchanged(&world.cgroups, || {
        let limits = [("pids.max", "1")];
        refused(caller.set_limits("/app", &limits, &["no-evacuate"]), ErrorName::Busy);
    });
    caller.create_with("/app", &["pids"], &[]).unwrap();
    assert_eq!(world.cgroups.procs(v2(), "box"), [0; 0]);
}

fn not_under_systemd(world: &World) {
    let mut caller = container(world);
    caller.peer.rename("systemd");
    stays(world, &caller, "systemd");
    caller.peer.rename("openrc-init");
    limited(&caller, "/app").unwrap();
}

/// The kernel would let the caller do it, or it is not done: on each of three files.
fn not_without_permission(world: &World) {
    let caller = container(world);
    for file in ["", "cgroup.procs", "cgroup.subtree_control"] {
        let file = world.cgroups.dir(v2(), "box").join(file);
        // An id of the container: its capabilities would reach it, and are not used.
        for owner in [RANGE + 5, 0] {
            chown(&file, Some(owner), Some(owner)).unwrap();
            unchanged(&world.cgroups, || {
                let error = limited(&caller, "/app").expect_err("it is not its own");
                let known = [Some(ErrorName::Busy), Some(ErrorName::Denied)];
                assert!(known.contains(&error.service()), "{error}");
            });
        }
        chown(&file, Some(RANGE), Some(RANGE)).unwrap();
    }
    limited(&caller, "/app").unwrap();
}

fn not_below_the_own_root(world: &World) {
    let mut caller = container(world);
    caller.create("/sub").unwrap();
    let worker = caller.peer.sleeper(0);
    caller.attach_pids("/sub", &[worker.inside], &[]).unwrap();
    let before = world.cgroups.procs(v2(), "box");
    unchanged(&world.cgroups, || {
        let text = refused(limited(&caller, "/sub/app"), ErrorName::Busy);
        assert!(text.contains("/sub has processes of its own"), "{text}");
    });
    caller.create("/leaf").unwrap();
    caller.attach_pids("/leaf", &[worker.inside], &[]).unwrap();
    limited(&caller, "/sub/app").unwrap();
    made_room(world, &before);
}

/// In the daemon's cgroup namespace a cgroup may be the caller's own, but it is nobody's root.
fn not_for_a_host_user(world: &World) {
    enable(world, "", "+memory +pids");
    world.cgroups.make_for("home", ALICE);
    let alice = world.user_in(ALICE, "home");
    let sleeper = Sleeper::start(ALICE);
    world.cgroups.put("home", sleeper.pid());
    unchanged(&world.cgroups, || {
        refused(limited(&alice, "/home/app"), ErrorName::Busy);
        denied(limited(&alice, "/app"));
    });
    world.cgroups.make_for("home/leaf", ALICE);
    for pid in world.cgroups.procs(v2(), "home") {
        world.cgroups.put("home/leaf", pid);
    }
    limited(&alice, "/home/app").unwrap();
}
