//! Moving what one may not move, from where one may not, to where it cannot go.

use std::fs;

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies::{self, Version};
use cgroupd_tests::need::skip;
use cgroupd_tests::peer::{ALICE, BOB};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

use crate::watching::limit_open_files;

pub(crate) const TESTS: &[Test] = &tests![
    case_18_processes_of_others_within_ones_home,
    case_18_processes_of_others_elsewhere,
    case_20_what_nobody_moves,
    case_20_a_kernel_thread,
    case_21_ones_own_process_outside_the_scope,
    case_22_the_common_ancestor_is_not_ones_own,
    case_24_a_threaded_cgroup,
    case_24_a_cgroup_with_controllers_for_its_children,
    case_24_a_removed_cgroup,
    case_56_more_processes_than_descriptors,
];

/// Alice's home, and a process of hers in it.
fn home(world: &World) -> Sleeper {
    world.cgroups.make_for("home", ALICE);
    world.cgroups.make_for("home/a", ALICE);
    let own = Sleeper::start(ALICE);
    world.cgroups.put("home", own.pid());
    own
}

/// On v1 the kernel asks for the victim's uid. (On v2 it does not: whoever was given a tree may
/// move all that is in it.)
fn case_18_processes_of_others_within_ones_home(world: &World) {
    if hierarchies::all().iter().all(|h| h.version == Version::V2) {
        return skip("v1", "v1 alone asks for that");
    }
    let own = home(world);
    let alice = world.user(ALICE);
    for uid in [0, BOB] {
        let theirs = Sleeper::start(uid);
        world.cgroups.put("home", theirs.pid());
        unchanged(&world.cgroups, || {
            refused(alice.move_pid("/home/a", theirs.pid()), ErrorName::Denied);
            refused(alice.attach("/home/a", &[theirs.pidfd()], &[]), ErrorName::Denied);
            let both = [own.pidfd(), theirs.pidfd()];
            refused(alice.attach("/home/a", &both, &[]), ErrorName::Denied);
            let create = alice.create_and_attach("/home/b", &[], &[theirs.pidfd()], &[]);
            refused(create, ErrorName::Denied);
        });
    }
    alice.move_pid("/home/a", own.pid()).unwrap();
    assert!(world.cgroups.all_hold("home/a", own.pid()));
}

fn case_18_processes_of_others_elsewhere(world: &World) {
    let own = home(world);
    world.cgroups.make("other");
    let alice = world.user(ALICE);
    for uid in [0, BOB] {
        let theirs = Sleeper::start(uid);
        world.cgroups.put("other", theirs.pid());
        unchanged(&world.cgroups, || {
            refused(alice.move_pid("/home/a", theirs.pid()), ErrorName::Denied);
            refused(alice.attach("/home", &[theirs.pidfd()], &[]), ErrorName::Denied);
        });
    }
    unchanged(&world.cgroups, || {
        // Nor her own into what is not hers.
        refused(alice.move_pid("/other", own.pid()), ErrorName::Denied);
    });
    alice.move_pid("/home/a", own.pid()).unwrap();
}

fn case_20_what_nobody_moves(world: &World) {
    world.root.create("/a").unwrap();
    let own = home(world);
    let alice = world.user(ALICE);
    unchanged(&world.cgroups, || {
        for client in [&world.root, &*alice] {
            for number in [0, u32::MAX, 1 << 31] {
                let result = client.attach_pids("/home/a", &[number], &[]);
                refused(result, ErrorName::InvalidArgument);
            }
        }
        for pid in [1, world.daemon.pid()] {
            refused(world.root.move_pid("/a", pid), ErrorName::Denied);
            alice.move_pid("/home/a", pid).unwrap_err();
        }
    });
    world.root.move_pid("/a", own.pid()).unwrap();
}

/// One that the kernel itself would let root move into some hierarchies.
fn case_20_a_kernel_thread(world: &World) {
    world.root.create("/a").unwrap();
    let threads = cgroupd_tests::peer::children(2);
    if fs::read_to_string("/proc/2/comm").ok().as_deref() != Some("kthreadd\n") {
        return skip("kernel-threads", "this pid namespace shows none");
    }
    let known = ["rcu_preempt", "rcu_sched", "ksoftirqd/0", "kswapd0"];
    let chosen = threads.into_iter().filter(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        known.contains(&name.trim_end())
    });
    unchanged(&world.cgroups, || {
        for pid in chosen.chain([2]) {
            let text = refused(world.root.move_pid("/a", pid), ErrorName::Denied);
            assert!(text.contains("kernel thread"), "{text}");
        }
    });
}

/// Where the test's own processes live: outside the managed root.
fn case_21_ones_own_process_outside_the_scope(world: &World) {
    let inside = home(world);
    let outside = Sleeper::start(ALICE);
    let alice = world.user(ALICE);
    unchanged(&world.cgroups, || {
        refused(alice.move_pid("/home/a", outside.pid()), ErrorName::Denied);
        refused(alice.attach("/home/a", &[outside.pidfd()], &[]), ErrorName::Denied);
        refused(alice.attach("/home/a", &[], &["caller"]), ErrorName::Denied);
    });
    alice.move_pid("/home/a", inside.pid()).unwrap();
    // Host root may take a process from anywhere.
    world.root.move_pid("/home/a", outside.pid()).unwrap();
}

fn case_22_the_common_ancestor_is_not_ones_own(world: &World) {
    let Some(v2) = hierarchies::v2() else { return skip("v2", "cgroup2 is not mounted") };
    for path in ["one", "one/a", "two"] {
        world.cgroups.make_in(v2, path);
        cgroupd_tests::cgroups::give(&world.cgroups.dir(v2, path), ALICE, ALICE);
    }
    let sleeper = Sleeper::start(ALICE);
    world.cgroups.put_in(v2, "one", sleeper.pid());
    // In v1 it has a place in the caller's scope, but is not being moved.
    let alice = world.user(ALICE);
    unchanged(&world.cgroups, || {
        refused(alice.move_pid("/two", sleeper.pid()), ErrorName::Denied);
    });
    alice.move_pid("/one/a", sleeper.pid()).unwrap();
    assert_eq!(world.cgroups.procs(v2, "one/a"), [sleeper.pid()]);
}

/// Below a threaded domain only what is threaded takes processes.
fn case_24_a_threaded_cgroup(world: &World) {
    let Some(v2) = hierarchies::v2() else { return skip("v2", "cgroup2 is not mounted") };
    for path in ["a", "a/threads", "a/invalid", "c"] {
        world.cgroups.make_in(v2, path);
    }
    let sleeper = Sleeper::start(0);
    world.root.move_pid("/c", sleeper.pid()).unwrap();
    world.root.write("/a/threads", "cgroup.type", "threaded").unwrap();
    unchanged(&world.cgroups, || {
        let text = refused(world.root.move_pid("/a/invalid", sleeper.pid()), ErrorName::Busy);
        assert!(text.contains("threaded"), "{text}");
        refused(world.root.processes("/a/threads", &[]), ErrorName::NotSupported);
        world.root.processes("/a/threads", &["threads"]).unwrap();
    });
    world.root.move_pid("/a", sleeper.pid()).unwrap();
}

/// Where v2 has a controller to enable: not on hosts whose v1 holds them all.
fn case_24_a_cgroup_with_controllers_for_its_children(world: &World) {
    let Some(v2) = hierarchies::v2() else { return skip("v2", "cgroup2 is not mounted") };
    let controllers = world.cgroups.read(v2, "", "cgroup.controllers");
    // The kernel lets processes stay beside those that go with threads.
    let is_domain = |name: &&str| !["cpu", "cpuset", "perf_event", "pids"].contains(name);
    let Some(controller) = controllers.split_ascii_whitespace().find(is_domain) else {
        return skip("v2-controllers", "v1 holds all controllers that keep processes out");
    };
    world.cgroups.make_in(v2, "a");
    world.cgroups.make_in(v2, "a/leaf");
    world.cgroups.write(v2, "", "cgroup.subtree_control", &format!("+{controller}"));
    world.cgroups.write(v2, "a", "cgroup.subtree_control", &format!("+{controller}"));
    let sleeper = Sleeper::start(0);
    unchanged(&world.cgroups, || {
        let text = refused(world.root.move_pid("/a", sleeper.pid()), ErrorName::Busy);
        assert!(text.contains("controllers for its children"), "{text}");
    });
    world.root.move_pid("/a/leaf", sleeper.pid()).unwrap();
}

fn case_24_a_removed_cgroup(world: &World) {
    world.root.create("/a").unwrap();
    let sleeper = Sleeper::start(0);
    world.root.remove("/a", &[]).unwrap();
    unchanged(&world.cgroups, || {
        refused(world.root.move_pid("/a", sleeper.pid()), ErrorName::NotFound);
        refused(world.root.read("/a", "cgroup.procs"), ErrorName::NotFound);
    });
    world.root.create("/a").unwrap();
    world.root.move_pid("/a", sleeper.pid()).unwrap();
}

/// What a call names is held before it is judged: not more than leaves room for everybody else.
fn case_56_more_processes_than_descriptors(world: &World) {
    let own = home(world);
    let alice = world.user(ALICE);
    let few = limit_open_files(world, 256);
    let pids: Vec<u32> = (0..17).map(|n| own.pid().cast_unsigned() + n).collect();
    unchanged(&world.cgroups, || {
        let text = refused(alice.attach_pids("/home/a", &pids, &[]), ErrorName::QuotaExceeded);
        assert!(text.contains("17 processes"), "{text}");
    });
    // The same process as often as one likes is one.
    alice.attach_pids("/home/a", &[pids[0]; 17], &[]).unwrap();
    assert!(world.cgroups.all_hold("home/a", own.pid()));
    limit_open_files(world, few);
    let error = alice.attach_pids("/home/a", &pids, &[]).expect_err("others' or nobody's");
    assert_ne!(ErrorName::from_wire(&error.name), Some(ErrorName::QuotaExceeded), "{error}");
}
