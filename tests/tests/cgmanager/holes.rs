//! What the original let its callers do, and this does not.

use cgroupd_tests::hierarchies::Version;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

use crate::old::{PIDS, done, get, key, pids, refused};

pub(crate) const TESTS: &[Test] = &tests![
    a_key_is_no_way_out,
    files_that_name_a_program_or_a_process_are_not_set,
    a_name_that_begins_alike_is_another_cgroup,
    files_outside_are_not_listed,
    a_user_moves_nobody_else,
];

fn a_key_is_no_way_out(world: &World) {
    get::<i32>(&world.root, "Create", &(PIDS, "a"));
    for key in ["../../../../etc/hostname", "../x.max", "/etc/hostname", "", ".", "b/x.max"] {
        refused(&world.root, "GetValue", &(PIDS, "a", key));
        refused(&world.root, "SetValue", &(PIDS, "a", key, "1"));
    }
    refused(&world.root, "GetValue", &(PIDS, "a/../../../../../etc", "hostname"));
    assert_eq!(get::<String>(&world.root, "GetValue", &(PIDS, "a", key())), "max");
}

fn files_that_name_a_program_or_a_process_are_not_set(world: &World) {
    get::<i32>(&world.root, "Create", &(PIDS, "a"));
    let sleeper = Sleeper::start(0);
    let keys: &[&str] = match pids().version {
        Version::V1 => &["tasks", "cgroup.procs", "notify_on_release"],
        Version::V2 => &["cgroup.procs", "cgroup.threads"],
    };
    for key in keys {
        assert!(world.cgroups.dir(pids(), "a").join(key).exists(), "{key}");
        refused(&world.root, "SetValue", &(PIDS, "a", key, &sleeper.pid().to_string()));
    }
    done(&world.root, "SetValue", &(PIDS, "a", key(), "9"));
    done(&world.root, "MovePid", &(PIDS, "a", sleeper.pid()));
}

/// A container whose cgroup is `/x`, beside one whose cgroup is `/x2`.
fn a_name_that_begins_alike_is_another_cgroup(world: &World) {
    world.cgroups.make_for("x", 1000);
    world.cgroups.make_for("x2", 1000);
    let mut peer = world.peer_in("x");
    peer.cgroup_ns();
    peer.ids(1000, 1000, &[]);
    let caller = world.calls(peer);
    for path in ["../x2", "/../x2", "/x2", "2"] {
        refused(&caller, "ListKeys", &(PIDS, path));
        refused(&caller, "GetValue", &(PIDS, path, key()));
        refused(&caller, "RemoveOnEmpty", &(PIDS, path));
    }
    assert_eq!(get::<i32>(&caller, "Remove", &(PIDS, "/x2", 0)), -1, "for it there is none");
    assert!(!world.cgroups.is_nowhere("x2"));
    assert_eq!(get::<i32>(&caller, "Create", &(PIDS, "y")), -1, "in its own it may");
    assert!(!world.cgroups.is_nowhere("x/y"));
}

fn files_outside_are_not_listed(world: &World) {
    world.cgroups.make("x");
    world.cgroups.make("x/closed");
    world.cgroups.chmod("x/closed", 0o700);
    let user = world.user_in(1000, "x");
    refused(&user, "ListKeys", &(PIDS, "closed"));
    assert!(!get::<Vec<(String, u32, u32, u32)>>(&user, "ListKeys", &(PIDS, "")).is_empty());
}

fn a_user_moves_nobody_else(world: &World) {
    world.cgroups.make_for("u", 1000);
    let user = world.user_in(1000, "u");
    get::<i32>(&user, "Create", &(PIDS, "a"));
    let (roots, own) = (Sleeper::start(0), Sleeper::start(1000));
    world.cgroups.put("u", own.pid());
    refused(&user, "MovePid", &(PIDS, "a", roots.pid()));
    done(&user, "MovePid", &(PIDS, "a", own.pid()));
    refused(&user, "Chown", &(PIDS, "a", 1001, 1001));
    refused(&user, "Create", &(PIDS, "../b"));
    refused(&user, "MovePidAbs", &(PIDS, "/", own.pid()));
}
