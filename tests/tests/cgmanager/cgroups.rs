//! Making, handing over and removing.

use std::time::{Duration, Instant};

use cgroupd_tests::hierarchies;
use cgroupd_tests::need::patience;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

use crate::old::{PIDS, done, get, key, pids, refused};

pub(crate) const TESTS: &[Test] = &tests![
    create_says_whether_it_existed,
    create_in_lists_and_all,
    create_fails_at_an_unknown_controller_after_the_ones_before_it,
    remove_says_whether_it_existed,
    remove_takes_children_when_told_to,
    chown_and_chmod,
    list_children_names_them,
    what_is_marked_goes_when_it_is_left,
    prune_takes_what_is_empty_now_and_the_rest_later,
    prune_passes_over_what_is_not_the_callers,
    prune_from_outside_needs_a_name,
];

fn create(world: &World, controllers: &str, path: &str) -> i32 {
    get(&world.root, "Create", &(controllers, path))
}

fn remove(world: &World, controllers: &str, path: &str, recursive: i32) -> i32 {
    get(&world.root, "Remove", &(controllers, path, recursive))
}

fn create_says_whether_it_existed(world: &World) {
    for (path, existed) in
        [("a", -1), ("a", 1), ("/a", 1), ("a/", 1), ("a//b", -1), ("", -1), ("/", 1), (".", 1)]
    {
        assert_eq!(create(world, PIDS, path), existed, "{path:?}");
    }
    assert_eq!(world.cgroups.places("a/b"), [pids().label.as_str()]);
    for bad in ["..", "../a", "x/../y", "a..b", "a\nb", "cgroup.procs"] {
        refused(&world.root, "Create", &(PIDS, bad));
    }
    refused(&world.root, "Create", &("nosuch", "c"));
    refused(&world.root, "Create", &("", "c"));
    assert!(world.cgroups.is_nowhere("c"));
}

fn create_in_lists_and_all(world: &World) {
    assert_eq!(create(world, "all", "a"), -1);
    assert_eq!(world.cgroups.places("a").len(), hierarchies::all().len());
    assert_eq!(create(world, "all", "a"), 1);
    assert_eq!(create(world, "memory,", "b"), -1);
    assert_eq!(create(world, "memory,pids", "b"), 1, "it is there in one of them");
    assert_eq!(create(world, "memory,pids", "c"), -1);
    let memory = hierarchies::of("memory").expect("every kernel has it");
    assert!(world.cgroups.places("c").contains(&memory.label.as_str()));
    refused(&world.root, "Create", &("all,memory", "d"));
    for entry in get::<Vec<String>>(&world.root, "ListControllers", &()) {
        assert_eq!(create(world, &entry, "e"), -1, "{entry}");
    }
    assert_eq!(world.cgroups.places("e").len(), hierarchies::all().len());
}

fn create_fails_at_an_unknown_controller_after_the_ones_before_it(world: &World) {
    refused(&world.root, "Create", &("pids,nosuch,memory", "a"));
    assert_eq!(world.cgroups.places("a"), [pids().label.as_str()]);
}

fn remove_says_whether_it_existed(world: &World) {
    create(world, PIDS, "a");
    assert_eq!(remove(world, PIDS, "a", 0), 1);
    assert_eq!(remove(world, PIDS, "a", 0), -1);
    assert_eq!(remove(world, "memory,pids", "a", 0), 1, "a list is always 1");
    assert_eq!(remove(world, "all", "a", 0), 1);
    refused(&world.root, "Remove", &("nosuch", "a", 0));
}

fn remove_takes_children_when_told_to(world: &World) {
    create(world, "all", "a/b/c");
    refused(&world.root, "Remove", &("all", "a", 0));
    let sleeper = Sleeper::start(0);
    done(&world.root, "MovePid", &(PIDS, "a/b/c", sleeper.pid()));
    refused(&world.root, "Remove", &(PIDS, "a", 1));
    drop(sleeper);
    assert_eq!(remove(world, "all", "a", 1), 1);
    assert!(world.cgroups.is_nowhere("a"));
}

fn chown_and_chmod(world: &World) {
    create(world, PIDS, "a");
    done(&world.root, "Chown", &(PIDS, "a", 1000, 1001));
    for file in ["", "cgroup.procs"] {
        let (uid, gid, _) = world.cgroups.owner(pids(), "a", file);
        assert_eq!((uid, gid), (1000, 1001), "{file:?}");
    }
    let (uid, ..) = world.cgroups.owner(pids(), "a", key());
    assert_eq!(uid, 0, "a limit stays root's");
    done(&world.root, "Chmod", &(PIDS, "a", "", 0o775));
    done(&world.root, "Chmod", &(PIDS, "a", "cgroup.procs", 0o664));
    assert_eq!(world.cgroups.owner(pids(), "a", "").2 & 0o7777, 0o775);
    assert_eq!(world.cgroups.owner(pids(), "a", "cgroup.procs").2 & 0o7777, 0o664);
    refused(&world.root, "Chown", &(PIDS, "a", -1, 0));
    refused(&world.root, "Chmod", &(PIDS, "a", key(), 0o666));
    refused(&world.root, "Chmod", &(PIDS, "a", "nosuch", 0o644));
    refused(&world.root, "Chown", &(PIDS, "nowhere", 1, 1));
}

fn list_children_names_them(world: &World) {
    for path in ["a", "a/x", "a/y", "a/y/z"] {
        create(world, PIDS, path);
    }
    let mut children: Vec<String> = get(&world.root, "ListChildren", &(PIDS, "a"));
    children.sort();
    assert_eq!(children, ["x", "y"]);
    assert_eq!(get::<Vec<String>>(&world.root, "ListChildren", &(PIDS, "a/x")), [""; 0]);
    refused(&world.root, "ListChildren", &(PIDS, "nowhere"));
    refused(&world.root, "ListChildren", &("all", "a"));
}

fn wait_until_gone(world: &World, path: &str) {
    let end = Instant::now() + patience(Duration::from_secs(10));
    while !world.cgroups.is_nowhere(path) {
        assert!(Instant::now() < end, "{path} stays");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn what_is_marked_goes_when_it_is_left(world: &World) {
    create(world, PIDS, "a");
    done(&world.root, "RemoveOnEmpty", &(PIDS, "a"));
    let sleeper = Sleeper::start(0);
    done(&world.root, "MovePid", &(PIDS, "a", sleeper.pid()));
    assert!(!world.cgroups.is_nowhere("a"), "it is empty when it is marked, and stays");
    drop(sleeper);
    wait_until_gone(world, "a");
    refused(&world.root, "RemoveOnEmpty", &(PIDS, "a"));
}

fn prune_passes_over_what_is_not_the_callers(world: &World) {
    world.cgroups.make_for("u", 1000);
    for path in ["u/roots", "u/mine"] {
        world.cgroups.make(path);
    }
    world.cgroups.make("u/roots/x..y");
    world.cgroups.give("u/mine", 1000, 1000);
    let user = world.user_in(1000, "u");
    done(&user, "Prune", &(PIDS, ""));
    assert!(!world.cgroups.places("u/mine").contains(&pids().label.as_str()));
    assert!(world.cgroups.places("u/roots/x..y").contains(&pids().label.as_str()));
    done(&world.root, "Prune", &(PIDS, "u/roots"));
    assert!(!world.cgroups.places("u/roots").contains(&pids().label.as_str()));
}

/// The tests are in none of the daemon's cgroups: "its own" would be all there is.
fn prune_from_outside_needs_a_name(world: &World) {
    create(world, "all", "a/b");
    refused(&world.root, "Prune", &("all", ""));
    refused(&world.root, "Prune", &(PIDS, "/"));
    assert_eq!(world.cgroups.places("a/b").len(), hierarchies::all().len());
    done(&world.root, "Prune", &("all", "a"));
    assert!(world.cgroups.is_nowhere("a"));
}

fn prune_takes_what_is_empty_now_and_the_rest_later(world: &World) {
    for path in ["a/b/c", "a/d"] {
        create(world, "all", path);
    }
    let sleeper = Sleeper::start(0);
    done(&world.root, "MovePid", &("all", "a/d", sleeper.pid()));
    done(&world.root, "Prune", &("all", "a"));
    assert!(world.cgroups.is_nowhere("a/b"));
    assert!(!world.cgroups.is_nowhere("a/d"));
    drop(sleeper);
    wait_until_gone(world, "a/d");
    wait_until_gone(world, "a");
}
