//! Moving processes, and finding them.

use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

use crate::old::{PIDS, done, get, pids, refused};

pub(crate) const TESTS: &[Test] = &tests![
    a_process_is_moved_and_listed,
    a_process_is_moved_in_all_hierarchies,
    where_a_process_is,
    out_of_the_own_cgroup_only_by_the_absolute_form,
];

fn a_process_is_moved_and_listed(world: &World) {
    for path in ["a", "a/b"] {
        get::<i32>(&world.root, "Create", &("all", path));
    }
    let (first, second) = (Sleeper::start(0), Sleeper::start(0));
    done(&world.root, "MovePid", &(PIDS, "a/b", first.pid()));
    done(&world.root, "MovePid", &(PIDS, "a/b", second.pid()));
    let mut both = vec![first.pid(), second.pid()];
    both.sort_unstable();
    assert_eq!(get::<Vec<i32>>(&world.root, "GetTasks", &(PIDS, "a/b")), both);
    assert_eq!(get::<Vec<i32>>(&world.root, "GetTasks", &(PIDS, "a")), [0; 0]);
    for controllers in [PIDS, "all"] {
        let found: Vec<i32> = get(&world.root, "GetTasksRecursive", &(controllers, "a"));
        assert!(both.iter().all(|pid| found.contains(pid)), "{controllers}: {found:?}");
    }
    refused(&world.root, "GetTasks", &("all", "a"));
    refused(&world.root, "GetTasks", &(PIDS, "nowhere"));
    refused(&world.root, "MovePid", &(PIDS, "/a", first.pid()));
    for pid in [0, -1, 1, i32::MAX] {
        refused(&world.root, "MovePid", &(PIDS, "a", pid));
    }
}

fn a_process_is_moved_in_all_hierarchies(world: &World) {
    get::<i32>(&world.root, "Create", &("all", "a"));
    let sleeper = Sleeper::start(0);
    done(&world.root, "MovePid", &("all", "a", sleeper.pid()));
    assert!(world.cgroups.all_hold("a", sleeper.pid()));
}

fn where_a_process_is(world: &World) {
    ["own", "own/a", "own/a/b", "own2"].iter().for_each(|path| world.cgroups.make(path));
    let caller = world.calls(world.peer_in("own"));
    let sleeper = Sleeper::start(0);
    let find = |member: &str| get::<String>(&caller, member, &(PIDS, sleeper.pid()));
    for (path, relative) in [("own", "/"), ("own/a", "a"), ("own/a/b", "a/b")] {
        world.cgroups.put_in(pids(), path, sleeper.pid());
        assert_eq!(find("GetPidCgroup"), relative, "{path}");
        assert_eq!(find("GetPidCgroupAbs"), format!("/{path}"));
    }
    // A name that begins like its own is not below it.
    world.cgroups.put_in(pids(), "own2", sleeper.pid());
    refused(&caller, "GetPidCgroup", &(PIDS, sleeper.pid()));
    assert_eq!(find("GetPidCgroupAbs"), "/own2");
    refused(&caller, "GetPidCgroup", &("all", sleeper.pid()));
    refused(&caller, "GetPidCgroupAbs", &(PIDS, i32::MAX));
}

fn out_of_the_own_cgroup_only_by_the_absolute_form(world: &World) {
    ["own", "own/a", "a"].iter().for_each(|path| world.cgroups.make(path));
    let caller = world.calls(world.peer_in("own"));
    let sleeper = Sleeper::start(0);
    let is_in = |path: &str| world.cgroups.procs(pids(), path).contains(&sleeper.pid());
    done(&caller, "MovePid", &(PIDS, "a", sleeper.pid()));
    assert!(is_in("own/a"));
    for path in ["/a", "a"] {
        world.cgroups.put_in(pids(), "own", sleeper.pid());
        done(&caller, "MovePidAbs", &(PIDS, path, sleeper.pid()));
        assert!(is_in("a"), "{path}");
    }
    done(&caller, "MovePidAbs", &(PIDS, "/", sleeper.pid()));
    assert!(is_in(""));
}
