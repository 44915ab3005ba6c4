//! Freeze and Thaw: done when they answer.

use std::fs;
use std::time::Duration;

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies::{self, Hierarchy, Version};
use cgroupd_tests::need::skip;
use cgroupd_tests::peer::{ALICE, RANGE};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

pub(crate) const TESTS: &[Test] = &tests![
    what_is_frozen_does_not_run,
    freezing_twice_and_thawing_twice,
    what_is_below_is_frozen_along,
    what_is_frozen_from_above_cannot_be_thawed,
    a_cgroup_without_freezer,
    a_user_freezes_its_own,
    what_is_not_there_is_not_frozen,
];

pub(crate) const USER_NS_TESTS: &[Test] = &tests![needs UserNs: a_container_freezes_what_is_below];

/// The hierarchies that have a freezer.
fn freezers() -> impl Iterator<Item = &'static Hierarchy> {
    hierarchies::implied().filter(|h| h.version == Version::V2 || h.is_v1_of("freezer"))
}

/// Whether the kernel says that `path` is frozen, in every hierarchy with a freezer.
fn is_frozen(world: &World, path: &str) -> bool {
    let mut all = freezers().filter(|h| world.cgroups.dir(h, path).is_dir()).peekable();
    assert!(all.peek().is_some(), "nothing could be frozen");
    all.all(|hierarchy| match hierarchy.version {
        Version::V1 => world.cgroups.read(hierarchy, path, "freezer.state") == "FROZEN",
        Version::V2 => world.cgroups.read(hierarchy, path, "cgroup.events").contains("frozen 1"),
    })
}

/// The ticks it has run for.
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn runs(pid: i32) -> bool {
    let before = ticks(pid);
    let end = std::time::Instant::now() + Duration::from_secs(5);
    while std::time::Instant::now() < end {
        if ticks(pid) != before {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

fn what_is_frozen_does_not_run(world: &World) {
    world.root.create("/a").unwrap();
    let mut peer = world.peer_in("a");
    let busy = peer.spawn(&["sh", "-c", "while :; do :; done"]).outside;
    world.root.move_pid("/a", busy).unwrap();
    assert!(runs(busy));
    world.root.freeze("/a").unwrap();
    assert!(is_frozen(world, "a"));
    let before = ticks(busy);
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(ticks(busy), before, "it runs");
    world.root.thaw("/a").unwrap();
    assert!(!is_frozen(world, "a") && runs(busy));
    world.root.kill("/a", 9).unwrap();
}

fn freezing_twice_and_thawing_twice(world: &World) {
    world.root.create("/a").unwrap();
    let sleeper = Sleeper::start(0);
    world.root.thaw("/a").unwrap();
    world.root.move_pid("/a", sleeper.pid()).unwrap();
    for _ in 0..2 {
        world.root.freeze("/a").unwrap();
        assert!(is_frozen(world, "a"));
    }
    for _ in 0..2 {
        world.root.thaw("/a").unwrap();
        assert!(!is_frozen(world, "a"));
    }
}

fn what_is_below_is_frozen_along(world: &World) {
    world.root.create("/a/b").unwrap();
    let sleeper = Sleeper::start(0);
    world.root.move_pid("/a/b", sleeper.pid()).unwrap();
    world.root.freeze("/a").unwrap();
    assert!(is_frozen(world, "a/b"));
    world.root.thaw("/a").unwrap();
    assert!(!is_frozen(world, "a/b"));
}

fn what_is_frozen_from_above_cannot_be_thawed(world: &World) {
    world.root.create("/a/b").unwrap();
    let sleeper = Sleeper::start(0);
    world.root.move_pid("/a/b", sleeper.pid()).unwrap();
    world.root.freeze("/a/b").unwrap();
    world.root.freeze("/a").unwrap();
    unchanged(&world.cgroups, || {
        let text = refused(world.root.thaw("/a/b"), ErrorName::Busy);
        assert!(text.contains("above"), "{text}");
    });
    // Its own freezer stays as it is, too.
    world.root.thaw("/a").unwrap();
    assert!(is_frozen(world, "a/b"));
    world.root.thaw("/a/b").unwrap();
    assert!(!is_frozen(world, "a/b"));
}

fn a_cgroup_without_freezer(world: &World) {
    let Some(other) = hierarchies::implied().find(|h| freezers().all(|f| f.label != h.label))
    else {
        return skip("no-freezer", "every hierarchy has a freezer");
    };
    world.cgroups.make_in(other, "a");
    unchanged(&world.cgroups, || {
        refused(world.root.freeze("/a"), ErrorName::NotSupported);
        refused(world.root.thaw("/a"), ErrorName::NotSupported);
    });
    world.cgroups.make_in(freezers().next().unwrap(), "a");
    world.root.freeze("/a").unwrap();
    assert!(is_frozen(world, "a"));
}

fn a_user_freezes_its_own(world: &World) {
    world.cgroups.make_for("home", ALICE);
    world.cgroups.make("roots");
    let alice = world.user(ALICE);
    alice.create("/home/a").unwrap();
    unchanged(&world.cgroups, || {
        refused(alice.freeze("/roots"), ErrorName::Denied);
        refused(alice.thaw("/roots"), ErrorName::Denied);
        // What was handed over: its freezer was not.
        let text = refused(alice.freeze("/home"), ErrorName::Denied);
        assert!(text.contains("hint: ") && text.contains("below"), "{text}");
    });
    alice.freeze("/home/a").unwrap();
    assert!(is_frozen(world, "home/a"));
    alice.thaw("/home/a").unwrap();
    assert!(!is_frozen(world, "home/a"));
}

fn a_container_freezes_what_is_below(world: &World) {
    let caller = world.container("box", RANGE);
    caller.create("/a").unwrap();
    unchanged(&world.cgroups, || {
        let text = refused(caller.freeze("/"), ErrorName::Denied);
        assert!(!text.contains("box"), "{text}");
        refused(caller.thaw("/"), ErrorName::Denied);
    });
    caller.freeze("/a").unwrap();
    assert!(is_frozen(world, "box/a"));
    caller.thaw("/a").unwrap();
    // What root put below, and did not give to it.
    world.cgroups.make("box/roots");
    unchanged(&world.cgroups, || refused(caller.freeze("/roots"), ErrorName::Denied));
}

fn what_is_not_there_is_not_frozen(world: &World) {
    for verb in ["Freeze", "Thaw"] {
        let call = |path: &str, flags: &[&str]| world.root.call(verb, &(path, flags)).map(drop);
        refused(call("/nowhere", &[]), ErrorName::NotFound);
        world.root.create("/a").unwrap();
        unchanged(&world.cgroups, || refused(call("/a", &["odd"]), ErrorName::InvalidArgument));
        call("/a", &[]).unwrap();
    }
}
