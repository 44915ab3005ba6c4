//! Moving processes from within containers.

use std::time::{Duration, Instant};

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies;
use cgroupd_tests::need::patience;
use cgroupd_tests::peer::{BOB, Map, OTHER_RANGE, Peer, RANGE};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Caller, Sleeper, World};

pub(crate) const TESTS: &[Test] = &tests![needs UserNs:
    case_19_processes_of_the_containers_users,
    case_19_a_process_in_a_namespace_below,
    case_21_the_own_process_outside_the_scope,
    case_23_the_same_number_in_two_pid_namespaces,
    case_23_numbers_of_the_host,
];

/// v1 alone looks at the victim's user; what v2 looks at is tested where it is alone.
pub(crate) const V1_TESTS: &[Test] = &tests![needs V1:
    case_19_a_process_of_an_unmapped_user,
    case_19_a_process_of_a_mapped_user_in_another_namespace,
];

/// The root of a container that sees the host's processes.
fn with_hosts_pids(world: &World, path: &str, base: u32) -> Caller {
    world.cgroups.make_for(path, base);
    let mut peer = world.peer_in(path);
    peer.user_ns(Map::Range(base));
    peer.cgroup_ns();
    world.calls(peer)
}

/// A new process of the container's user `uid`, in its top cgroup.
fn own(world: &World, caller: &mut Caller, path: &str, uid: u32) -> i32 {
    let pid = caller.peer.sleeper(uid).outside;
    world.cgroups.put(path, pid);
    pid
}

fn case_19_processes_of_the_containers_users(world: &World) {
    let mut caller = with_hosts_pids(world, "box", RANGE);
    caller.create("/a").unwrap();
    for uid in [0, 1, 500, 65_535] {
        let pid = own(world, &mut caller, "box", uid);
        assert!(world.cgroups.all_hold("box", pid));
        caller.move_pid("/a", pid).unwrap();
        assert!(world.cgroups.all_hold("box/a", pid), "uid {uid}");
    }
}

fn case_19_a_process_of_an_unmapped_user(world: &World) {
    let mut caller = with_hosts_pids(world, "box", RANGE);
    caller.create("/a").unwrap();
    for uid in [0, BOB, OTHER_RANGE + 500, RANGE + 65_536] {
        let stranger = Sleeper::start(uid);
        world.cgroups.put("box", stranger.pid());
        unchanged(&world.cgroups, || {
            refused(caller.move_pid("/a", stranger.pid()), ErrorName::Denied);
            refused(caller.attach("/a", &[stranger.pidfd()], &[]), ErrorName::Denied);
        });
        world.root.move_pid("/box/a", stranger.pid()).unwrap();
    }
    let pid = own(world, &mut caller, "box", 500);
    caller.move_pid("/a", pid).unwrap();
}

fn case_19_a_process_of_a_mapped_user_in_another_namespace(world: &World) {
    let mut caller = with_hosts_pids(world, "box", RANGE);
    caller.create("/a").unwrap();
    let hosts = Sleeper::start(RANGE + 500);
    let mut foreign = Peer::start();
    foreign.user_ns(Map::Range(RANGE));
    let other = foreign.sleeper(500).outside;
    for pid in [hosts.pid(), other] {
        world.cgroups.put("box", pid);
        unchanged(&world.cgroups, || refused(caller.move_pid("/a", pid), ErrorName::Denied));
    }
    let pid = own(world, &mut caller, "box", 500);
    caller.move_pid("/a", pid).unwrap();
}

fn case_19_a_process_in_a_namespace_below(world: &World) {
    let mut caller = with_hosts_pids(world, "box", RANGE);
    caller.create("/a").unwrap();
    let inner = caller.peer.spawn(&["unshare", "--user", "--map-root-user", "sleep", "60"]).outside;
    let end = Instant::now() + patience(Duration::from_secs(5));
    let name = format!("/proc/{inner}/comm");
    while std::fs::read_to_string(&name).unwrap() != "sleep\n" {
        assert!(Instant::now() < end, "unshare does not get there");
    }
    caller.move_pid("/a", inner).unwrap();
    assert!(world.cgroups.all_hold("box/a", inner));
}

fn case_21_the_own_process_outside_the_scope(world: &World) {
    let mut caller = with_hosts_pids(world, "box", RANGE);
    world.cgroups.make("other");
    caller.create("/a").unwrap();
    let pid = own(world, &mut caller, "other", 500);
    unchanged(&world.cgroups, || {
        let text = refused(caller.move_pid("/a", pid), ErrorName::Denied);
        assert!(!text.contains("other"), "{text}");
    });
    world.cgroups.put("box", pid);
    caller.move_pid("/a", pid).unwrap();
}

fn case_23_the_same_number_in_two_pid_namespaces(world: &World) {
    let mut boxes = [("one", RANGE), ("two", OTHER_RANGE)].map(|(name, base)| {
        let caller = world.container(name, base);
        caller.create("/a").unwrap();
        caller
    });
    let pids = boxes.each_mut().map(|caller| caller.peer.sleeper(500));
    assert_eq!(pids[0].inside, pids[1].inside, "the first children of two first processes");
    assert_ne!(pids[0].outside, pids[1].outside);
    boxes[0].attach_pids("/a", &[pids[0].inside], &[]).unwrap();
    assert!(world.cgroups.all_hold("one/a", pids[0].outside));
    assert!(world.cgroups.all_hold("two", pids[1].outside), "the other one stays");
    boxes[1].attach_pids("/a", &[pids[1].inside], &[]).unwrap();
    assert!(world.cgroups.all_hold("two/a", pids[1].outside));
    assert_eq!(boxes[0].processes("/a", &[]).unwrap(), [pids[0].inside]);
}

fn case_23_numbers_of_the_host(world: &World) {
    let mut caller = world.container("box", RANGE);
    caller.create("/a").unwrap();
    let pids = caller.peer.sleeper(500);
    unchanged(&world.cgroups, || {
        refused(caller.move_pid("/a", pids.outside), ErrorName::NoSuchProcess);
        refused(caller.move_pid("/a", world.daemon.pid()), ErrorName::NoSuchProcess);
        refused(caller.attach_pids("/a", &[pids.inside + 1], &[]), ErrorName::NoSuchProcess);
    });
    caller.attach_pids("/a", &[pids.inside], &[]).unwrap();
    assert!(hierarchies::implied().all(|h| world.cgroups.procs(h, "box/a") == [pids.outside]));
    // What is number 1 there is the container's own first process.
    caller.attach_pids("/a", &[1], &[]).unwrap();
    assert!(world.cgroups.all_hold("box/a", caller.peer.pid()));
}
