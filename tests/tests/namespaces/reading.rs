//! What a container reads: its own processes by its own numbers, its own ids, its own paths.

use std::collections::HashMap;

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies;
use cgroupd_tests::peer::{ALICE, Map, OTHER_RANGE, RANGE};
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

pub(crate) const TESTS: &[Test] = &tests![needs UserNs:
    case_46_processes_outside_the_pid_namespace,
    case_47_processes_of_others,
    case_47_oneself,
    case_48_owners_are_mapped,
];

fn case_46_processes_outside_the_pid_namespace(world: &World) {
    let mut caller = world.container("box", RANGE);
    caller.create("/a").unwrap();
    let own = caller.peer.sleeper(500);
    let hosts = Sleeper::start(RANGE + 500);
    for pid in [own.outside, hosts.pid()] {
        world.root.move_pid("/box/a", pid).unwrap();
    }
    assert_eq!(world.root.processes("/box/a", &[]).unwrap().len(), 2);
    assert_eq!(caller.processes("/a", &[]).unwrap(), [own.inside]);
    assert_eq!(caller.processes("/a", &["threads"]).unwrap(), [own.inside]);
    assert_eq!(caller.processes("/", &["recursive"]).unwrap(), [1, own.inside]);
    let expected = format!("{}\n", own.inside);
    for hierarchy in hierarchies::implied() {
        for file in ["cgroup.procs", "cgroup.threads", "tasks"] {
            if world.cgroups.dir(hierarchy, "box/a").join(file).exists() {
                assert_eq!(caller.read("/a", file).unwrap(), expected, "{file}");
            }
        }
    }
}

fn case_47_processes_of_others(world: &World) {
    world.cgroups.make_for("box", RANGE);
    let mut peer = world.peer_in("box");
    peer.user_ns(Map::Range(RANGE));
    peer.cgroup_ns();
    let caller = world.calls(peer);
    let mut sibling = world.container("other", OTHER_RANGE);
    let theirs = sibling.peer.sleeper(500).outside;
    for pid in [1, world.daemon.pid(), sibling.peer.pid(), theirs] {
        refused(caller.cgroup_of(pid.cast_unsigned(), &[]), ErrorName::NoSuchProcess);
    }
    let sleeper = Sleeper::start(ALICE);
    refused(caller.cgroup_of(sleeper.pid().cast_unsigned(), &[]), ErrorName::NoSuchProcess);
    // Whoever is in its scope is its business, whatever the user.
    world.cgroups.put("box", sleeper.pid());
    let rows = caller.cgroup_of(sleeper.pid().cast_unsigned(), &[]).unwrap();
    assert!(rows.values().all(|path| path == "/"), "{rows:?}");
}

fn case_47_oneself(world: &World) {
    let caller = world.container("box", RANGE);
    caller.create("/a").unwrap();
    let whole: HashMap<String, String> =
        hierarchies::implied().map(|h| (h.label.clone(), "/".to_owned())).collect();
    assert_eq!(caller.cgroup_of(0, &["caller"]).unwrap(), whole);
    assert_eq!(caller.cgroup_of(1, &[]).unwrap(), whole, "it is the first process there");
    caller.attach("/a", &[], &["caller"]).unwrap();
    assert!(caller.cgroup_of(1, &[]).unwrap().values().all(|path| path == "/a"));
    let sibling = world.container("other", OTHER_RANGE);
    assert_eq!(sibling.cgroup_of(1, &[]).unwrap(), whole, "and this one's is another");
}

fn case_48_owners_are_mapped(world: &World) {
    let caller = world.container("box", RANGE);
    caller.create("/a").unwrap();
    world.cgroups.make("box/b");
    world.cgroups.give("box/b", ALICE, RANGE + 7);
    let rows: HashMap<_, _> = caller.rows("/", 0).unwrap().into_iter().collect();
    let ids = |path: &str| (rows[path]["uid"].as_str(), rows[path]["gid"].as_str());
    assert_eq!(ids("/a"), ("0", "0"));
    assert_eq!(ids("/b"), ("65534", "7"));
    let files: HashMap<_, _> = caller.files("/").unwrap().into_iter().collect();
    assert_eq!(files["cgroup.procs"]["uid"], "0");
    let limits = files.iter().filter(|(name, _)| name.ends_with(".max") || name.ends_with("bytes"));
    assert!(
        limits.clone().all(|(_, row)| row["uid"] == "65534"),
        "{:?}",
        limits.collect::<Vec<_>>()
    );
}
