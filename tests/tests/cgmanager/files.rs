//! Values, files and controllers.

use cgroupd_tests::hierarchies::{self, Version};
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;

use crate::old::{PIDS, done, get, key, pids, refused};

pub(crate) const TESTS: &[Test] = &tests![
    values_are_set_and_come_back_without_the_line_break,
    the_empty_value_writes_nothing,
    absolute_paths_below_the_own_cgroup_are_read,
    keys_with_owners_and_whole_modes,
    controllers_are_sorted_and_those_mounted_together_are_one,
    ping_answers_nothing,
];

type Key = (String, u32, u32, u32);

fn value(world: &World, path: &str, key: &str) -> String {
    get(&world.root, "GetValue", &(PIDS, path, key))
}

fn values_are_set_and_come_back_without_the_line_break(world: &World) {
    get::<i32>(&world.root, "Create", &(PIDS, "a"));
    done(&world.root, "SetValue", &(PIDS, "a", key(), "33"));
    assert_eq!(world.cgroups.read(pids(), "a", key()), "33");
    assert_eq!(value(world, "a", key()), "33");
    assert_eq!(value(world, "a", "cgroup.procs"), "", "an empty file");
    refused(&world.root, "SetValue", &(PIDS, "a", key(), "-7"));
    refused(&world.root, "SetValue", &(PIDS, "a", key(), "1\n2"));
    refused(&world.root, "SetValue", &("all", "a", key(), "1"));
    refused(&world.root, "GetValue", &("all", "a", key()));
    refused(&world.root, "GetValue", &(PIDS, "a", "nosuch.max"));
    refused(&world.root, "GetValue", &(PIDS, "nowhere", key()));
    assert_eq!(value(world, "a", key()), "33");
}

fn the_empty_value_writes_nothing(world: &World) {
    get::<i32>(&world.root, "Create", &(PIDS, "a"));
    done(&world.root, "SetValue", &(PIDS, "a", key(), "7"));
    done(&world.root, "SetValue", &(PIDS, "a", key(), ""));
    assert_eq!(value(world, "a", key()), "7");
}

fn absolute_paths_below_the_own_cgroup_are_read(world: &World) {
    world.cgroups.make("own");
    world.cgroups.make("other");
    let caller = world.calls(world.peer_in("own"));
    assert_eq!(get::<i32>(&caller, "Create", &(PIDS, "a")), -1);
    assert_eq!(world.cgroups.places("own/a"), [pids().label.as_str()]);
    done(&caller, "SetValue", &(PIDS, "/a", key(), "5"));
    for path in ["a", "/a", "/own/a"] {
        assert_eq!(get::<String>(&caller, "GetValue", &(PIDS, path, key())), "5", "{path}");
    }
    for path in ["/other", "/owna", "/own/b"] {
        refused(&caller, "GetValue", &(PIDS, path, key()));
    }
}

fn keys_with_owners_and_whole_modes(world: &World) {
    get::<i32>(&world.root, "Create", &(PIDS, "a"));
    world.cgroups.give("a", 1000, 1001);
    let keys: Vec<Key> = get(&world.root, "ListKeys", &(PIDS, "a"));
    let find = |name: &str| keys.iter().find(|key| key.0 == name).expect("it is there").clone();
    assert_eq!(find(key()), (key().to_owned(), 0, 0, 0o100_644));
    assert_eq!(find("cgroup.procs"), ("cgroup.procs".to_owned(), 1000, 1001, 33188));
    refused(&world.root, "ListKeys", &(PIDS, "nowhere"));
}

fn controllers_are_sorted_and_those_mounted_together_are_one(world: &World) {
    let listed: Vec<String> = get(&world.root, "ListControllers", &());
    let bare = |name: &String| name.trim_start_matches("name=").to_owned();
    assert!(listed.is_sorted_by_key(bare), "{listed:?}");
    assert_eq!(listed.len(), hierarchies::all().len());
    for hierarchy in hierarchies::all().iter().filter(|h| h.version == Version::V1) {
        assert!(listed.contains(&hierarchy.label), "{} is not in {listed:?}", hierarchy.label);
    }
}

fn ping_answers_nothing(world: &World) {
    done(&world.root, "Ping", &5);
}
