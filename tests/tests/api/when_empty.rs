//! Create and Remove with `when-empty`: the cgroup goes when the last process has left, not before
//! the first has come, and with the rights that whoever asked has then.

use std::fs;
use std::os::unix::fs::chown;
use std::time::{Duration, Instant};

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies::{self, Version};
use cgroupd_tests::peer::{ALICE, BOB};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

pub(crate) const TESTS: &[Test] = &tests![
    what_is_empty_is_removed_at_once,
    what_is_not_is_removed_when_the_last_has_left,
    a_new_one_waits_for_its_first_process,
    a_short_life_counts,
    children_go_first,
    who_is_marked_can_still_be_removed,
    somebody_elses_is_not_promised,
    a_right_that_is_lost_is_not_used,
    a_way_that_is_closed_is_not_walked,
    one_that_is_made_anew_is_another,
    contradictions_are_refused,
];

/// More than several looks at v1.
const PATIENCE: Duration = Duration::from_secs(20);
/// As long as to be sure that nothing happens, on v1 too.
const SILENCE: Duration = Duration::from_millis(2500);

fn goes(world: &World, name: &str) -> bool {
    let end = Instant::now() + PATIENCE;
    while !world.cgroups.is_nowhere(name) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    world.cgroups.is_nowhere(name)
}

fn stays(world: &World, name: &str) -> bool {
    std::thread::sleep(SILENCE);
    !world.cgroups.is_nowhere(name)
}

fn what_is_empty_is_removed_at_once(world: &World) {
    world.root.create("/a").unwrap();
    assert!(world.root.remove("/a", &["when-empty"]).unwrap());
    assert!(world.cgroups.is_nowhere("a"));
}

fn what_is_not_is_removed_when_the_last_has_left(world: &World) {
    world.root.create("/a").unwrap();
    let sleeper = Sleeper::start(0);
    world.root.move_pid("/a", sleeper.pid()).unwrap();
    assert!(!world.root.remove("/a", &["when-empty"]).unwrap());
    assert!(stays(world, "a"));
    drop(sleeper);
    assert!(goes(world, "a"));
}

fn a_new_one_waits_for_its_first_process(world: &World) {
    world.root.create_with("/a", &[], &["when-empty"]).unwrap();
    assert!(stays(world, "a"));
    let sleeper = Sleeper::start(0);
    world.root.move_pid("/a", sleeper.pid()).unwrap();
    assert!(stays(world, "a"));
    drop(sleeper);
    assert!(goes(world, "a"));
}

/// Shorter than anybody looks at v1; on v1 alone nothing else tells of it.
fn a_short_life_counts(world: &World) {
    let v1 = hierarchies::implied().find(|hierarchy| hierarchy.version == Version::V1);
    let alone = v1.map(|hierarchy| vec![hierarchy.controllers[0].as_str()]);
    for controllers in [Vec::new()].into_iter().chain(alone) {
        world.root.create_with("/a", &controllers, &["when-empty"]).unwrap();
        let sleeper = Sleeper::start(0);
        world.root.move_pid("/a", sleeper.pid()).unwrap();
        drop(sleeper);
        assert!(goes(world, "a"), "{controllers:?}");
    }
}

fn children_go_first(world: &World) {
    world.root.create("/a/child").unwrap();
    assert!(!world.root.remove("/a", &["when-empty"]).unwrap());
    assert!(stays(world, "a"));
    world.root.remove("/a/child", &[]).unwrap();
    assert!(goes(world, "a"));
}

fn who_is_marked_can_still_be_removed(world: &World) {
    world.root.create_with("/a", &[], &["when-empty"]).unwrap();
    world.root.remove("/a", &[]).unwrap();
    assert!(world.cgroups.is_nowhere("a"));
}

fn somebody_elses_is_not_promised(world: &World) {
    world.root.create("/own/a").unwrap();
    world.root.chown("/own", ALICE, ALICE, &[]).unwrap();
    let sleeper = Sleeper::start(0);
    world.root.move_pid("/own/a", sleeper.pid()).unwrap();
    let (alice, bob) = (world.user(ALICE), world.user(BOB));
    unchanged(&world.cgroups, || {
        refused(bob.remove("/own/a", &["when-empty"]), ErrorName::Denied);
        refused(bob.create_with("/own/a", &[], &["when-empty"]), ErrorName::Denied);
    });
    assert!(!alice.remove("/own/a", &["when-empty"]).unwrap());
    drop(sleeper);
    assert!(goes(world, "own/a"));
}

fn a_right_that_is_lost_is_not_used(world: &World) {
    world.root.create("/own/a").unwrap();
    world.root.create("/own/b").unwrap();
    world.root.chown("/own", ALICE, ALICE, &[]).unwrap();
    let alice = world.user(ALICE);
    let sleeper = Sleeper::start(0);
    world.root.move_pid("/own/a", sleeper.pid()).unwrap();
    assert!(!alice.remove("/own/a", &["when-empty"]).unwrap());
    for hierarchy in hierarchies::implied() {
        let own = world.cgroups.dir(hierarchy, "own");
        if own.is_dir() {
            chown(own, Some(0), Some(0)).unwrap();
        }
    }
    drop(sleeper);
    assert!(stays(world, "own/a"));
    // And it is forgotten: a right that comes back changes nothing.
    world.root.chown("/own", ALICE, ALICE, &[]).unwrap();
    let sleeper = Sleeper::start(0);
    world.root.move_pid("/own/a", sleeper.pid()).unwrap();
    drop(sleeper);
    assert!(stays(world, "own/a"));
}

fn a_way_that_is_closed_is_not_walked(world: &World) {
    world.root.create("/way/own/a").unwrap();
    world.root.chown("/way/own", ALICE, ALICE, &[]).unwrap();
    let alice = world.user(ALICE);
    let sleeper = Sleeper::start(0);
    world.root.move_pid("/way/own/a", sleeper.pid()).unwrap();
    assert!(!alice.remove("/way/own/a", &["when-empty"]).unwrap());
    world.cgroups.chmod("way", 0o700);
    drop(sleeper);
    assert!(stays(world, "way/own/a"));
}

fn one_that_is_made_anew_is_another(world: &World) {
    world.root.create_with("/a", &[], &["when-empty"]).unwrap();
    for hierarchy in hierarchies::implied() {
        let _ = fs::remove_dir(world.cgroups.dir(hierarchy, "a"));
    }
    assert!(world.root.create("/a").unwrap().2, "it is new");
    let sleeper = Sleeper::start(0);
    world.root.move_pid("/a", sleeper.pid()).unwrap();
    drop(sleeper);
    assert!(stays(world, "a"));
}

fn contradictions_are_refused(world: &World) {
    world.root.create("/a").unwrap();
    unchanged(&world.cgroups, || {
        for flag in ["recursive", "kill"] {
            let both = world.root.remove("/a", &["when-empty", flag]);
            refused(both, ErrorName::InvalidArgument);
        }
        refused(world.root.remove("/", &["when-empty"]), ErrorName::Denied);
    });
}
