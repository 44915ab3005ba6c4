//! How many cgroups one customer may have.

use std::fs;
use std::time::Duration;

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::{Client, refused};
use cgroupd_tests::hierarchies;
use cgroupd_tests::need::{Need, trial};
use cgroupd_tests::peer::{ALICE, BOB, Map, RANGE};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;
use libtest_mimic::Trial;

pub(crate) const TESTS: &[Test] = &tests![case_53_depth];

const FIVE: &str = "[quota]\ncgroups = 5\ndepth = 4\n";

pub(crate) fn trials() -> Vec<Trial> {
    let with = |name, needs: &[Need], test: fn(&World)| {
        trial(name, needs, move || {
            let world = World::configured("attacks", FIVE);
            test(&world);
            world.finish();
        })
    };
    vec![
        with("case_53_cgroups_of_a_user", &[Need::Root], of_a_user),
        with("case_53_levels_of_a_user", &[Need::Root], levels),
        with("case_53_cgroups_of_a_container", &[Need::Root, Need::UserNs], of_a_container),
    ]
}

/// Longer than a full account is believed without a look.
const A_LOOK: Duration = Duration::from_millis(1100);

/// A home that was given does not count.
fn fill(client: &Client, path: &str) {
    let made = (0..20).take_while(|n| client.create(&format!("{path}/{n}")).is_ok()).count();
    assert_eq!(made, 5);
}

fn of_a_user(world: &World) {
    world.cgroups.make_for("home", ALICE);
    world.cgroups.make_for("home2", BOB);
    let (alice, bob) = (world.user(ALICE), world.user(BOB));
    fill(&alice, "/home");
    unchanged(&world.cgroups, || {
        refused(alice.create("/home/more"), ErrorName::QuotaExceeded);
        refused(alice.create("/home/0/below"), ErrorName::QuotaExceeded);
    });
    bob.create("/home2/a").unwrap();
    world.root.create("/any").unwrap();
    alice.remove("/home/0", &[]).unwrap();
    alice.remove("/home/1", &[]).unwrap();
    alice.create("/home/more").unwrap();
    alice.create("/home/another").unwrap();
    // What somebody else removed is room again, once it is looked at.
    world.root.remove("/home/more", &[]).unwrap();
    for hierarchy in hierarchies::implied() {
        fs::remove_dir(world.cgroups.dir(hierarchy, "home/another")).unwrap();
    }
    std::thread::sleep(A_LOOK);
    alice.create("/home/a/b").unwrap();
    refused(alice.create("/home/c"), ErrorName::QuotaExceeded);
}

fn levels(world: &World) {
    world.cgroups.make_for("home", ALICE);
    let alice = world.user(ALICE);
    unchanged(&world.cgroups, || {
        refused(alice.create("/home/a/b/c/d"), ErrorName::QuotaExceeded);
    });
    alice.create("/home/a/b/c").unwrap();
}

/// Any of a container's ids is the same customer: what one made counts when another asks, who does
/// not own it.
fn of_a_container(world: &World) {
    world.cgroups.make_for("box", RANGE);
    let call = |uid| {
        let mut peer = world.peer_in("box");
        peer.user_ns(Map::Range(RANGE));
        peer.cgroup_ns();
        peer.ids(uid, uid, &[]);
        world.calls(peer)
    };
    let (root, other) = (call(0), call(1000));
    world.cgroups.make("box/shared");
    world.cgroups.give("box/shared", RANGE, RANGE);
    root.chown("/shared", 1000, 1000, &[]).unwrap();
    fill(&root, "/shared");
    unchanged(&world.cgroups, || {
        for client in [&root, &other, &root] {
            refused(client.create("/shared/more"), ErrorName::QuotaExceeded);
            std::thread::sleep(A_LOOK);
        }
    });
    root.remove("/shared/0", &[]).unwrap();
    root.remove("/shared/1", &[]).unwrap();
    other.create("/shared/more").unwrap();
}

/// The kernel's own limits of depth hold too.
fn case_53_depth(world: &World) {
    let deep = vec!["d"; 32].join("/");
    world.root.create(&deep).unwrap();
    unchanged(&world.cgroups, || {
        refused(world.root.create(&format!("{deep}/d")), ErrorName::InvalidPath)
    });
}
