//! Remove: in all hierarchies, nothing while anything stands in the way.

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies;
use cgroupd_tests::peer::{ALICE, BOB};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

pub(crate) const TESTS: &[Test] = &tests![
    removes_it_from_every_hierarchy,
    what_is_not_there_is_not_found,
    removes_it_where_it_is,
    children_stand_in_the_way,
    recursive_removes_the_children,
    a_process_stands_in_the_way,
    a_process_deep_below_stands_in_the_way,
    a_refusal_in_a_later_hierarchy_comes_first,
    a_user_removes_its_own_only,
    foreign_empty_descendants_go_with_their_parent,
    foreign_descendants_with_processes_stay,
];

fn removes_it_from_every_hierarchy(world: &World) {
    world.root.create("a").unwrap();
    assert!(world.root.remove("a", &[]).unwrap());
    assert!(world.cgroups.is_nowhere("a"));
}

fn what_is_not_there_is_not_found(world: &World) {
    world.root.create("a").unwrap();
    unchanged(&world.cgroups, || {
        refused(world.root.remove("b", &[]), ErrorName::NotFound);
        refused(world.root.remove("a/b", &["recursive"]), ErrorName::NotFound);
        refused(world.root.remove("cgroup.procs", &[]), ErrorName::NotFound);
    });
    world.root.remove("a", &[]).unwrap();
    refused(world.root.remove("a", &[]), ErrorName::NotFound);
}

fn removes_it_where_it_is(world: &World) {
    let only = hierarchies::implied().last().unwrap();
    world.cgroups.make_in(only, "a");
    world.root.remove("a", &[]).unwrap();
    assert!(world.cgroups.is_nowhere("a"));
}

fn children_stand_in_the_way(world: &World) {
    world.root.create("a").unwrap();
    let last = hierarchies::implied().last().unwrap();
    world.cgroups.make_in(last, "a/b");
    unchanged(&world.cgroups, || {
        let text = refused(world.root.remove("a", &[]), ErrorName::Busy);
        assert!(text.contains(&last.label) && text.contains("recursive"), "{text}");
    });
    world.root.remove("a/b", &[]).unwrap();
    world.root.remove("a", &[]).unwrap();
}

fn recursive_removes_the_children(world: &World) {
    for path in ["a/b/c", "a/b/d", "a/e", "b"] {
        world.root.create(path).unwrap();
    }
    world.root.remove("a", &["recursive"]).unwrap();
    assert!(world.cgroups.is_nowhere("a"));
    assert!(world.cgroups.is_everywhere("b"));
}

fn a_process_stands_in_the_way(world: &World) {
    world.root.create("a").unwrap();
    let sleeper = Sleeper::start(0);
    let last = hierarchies::implied().last().unwrap();
    world.cgroups.put_in(last, "a", sleeper.pid());
    unchanged(&world.cgroups, || {
        refused(world.root.remove("a", &[]), ErrorName::Busy);
        refused(world.root.remove("a", &["recursive"]), ErrorName::Busy);
    });
    drop(sleeper);
    world.root.remove("a", &[]).unwrap();
}

fn a_process_deep_below_stands_in_the_way(world: &World) {
    world.root.create("a/b/c").unwrap();
    let sleeper = Sleeper::start(0);
    world.cgroups.put("a/b/c", sleeper.pid());
    unchanged(&world.cgroups, || {
        refused(world.root.remove("a", &["recursive"]), ErrorName::Busy);
    });
    drop(sleeper);
    world.root.remove("a", &["recursive"]).unwrap();
}

fn a_refusal_in_a_later_hierarchy_comes_first(world: &World) {
    world.cgroups.make_for("home", ALICE);
    let alice = world.user(ALICE);
    alice.create("/home/a").unwrap();
    let last = hierarchies::implied().last().unwrap();
    cgroupd_tests::cgroups::give(&world.cgroups.dir(last, "home"), 0, 0);
    unchanged(&world.cgroups, || refused(alice.remove("/home/a", &[]), ErrorName::Denied));
    cgroupd_tests::cgroups::give(&world.cgroups.dir(last, "home"), ALICE, ALICE);
    alice.remove("/home/a", &[]).unwrap();
    assert!(world.cgroups.is_nowhere("home/a"));
}

fn a_user_removes_its_own_only(world: &World) {
    world.cgroups.make_for("home", ALICE);
    let (alice, bob) = (world.user(ALICE), world.user(BOB));
    alice.create("/home/a").unwrap();
    unchanged(&world.cgroups, || {
        refused(bob.remove("/home/a", &[]), ErrorName::Denied);
        refused(bob.remove("/home/a", &["recursive"]), ErrorName::Denied);
        refused(alice.remove("/home", &["recursive"]), ErrorName::Denied);
    });
    alice.remove("/home/a", &[]).unwrap();
}

/// Grant G4: the owner of a directory may empty it, whoever made what is below.
fn foreign_empty_descendants_go_with_their_parent(world: &World) {
    world.cgroups.make_for("home", ALICE);
    let alice = world.user(ALICE);
    alice.create("/home/a").unwrap();
    world.cgroups.make_for("home/a/theirs", BOB);
    world.cgroups.make_for("home/a/theirs/deep", BOB);
    unchanged(&world.cgroups, || {
        refused(alice.remove("/home/a/theirs/deep", &[]), ErrorName::Denied)
    });
    alice.remove("/home/a", &["recursive"]).unwrap();
    assert!(world.cgroups.is_nowhere("home/a"));
}

fn foreign_descendants_with_processes_stay(world: &World) {
    world.cgroups.make_for("home", ALICE);
    let alice = world.user(ALICE);
    alice.create("/home/a").unwrap();
    world.cgroups.make_for("home/a/theirs", BOB);
    let sleeper = Sleeper::start(BOB);
    world.cgroups.put("home/a/theirs", sleeper.pid());
    unchanged(&world.cgroups, || refused(alice.remove("/home/a", &["recursive"]), ErrorName::Busy));
    drop(sleeper);
    alice.remove("/home/a", &["recursive"]).unwrap();
}
