//! How many cgroups one account may have.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::{Client, refused};
use cgroupd_tests::hierarchies;
use cgroupd_tests::need::{Need, times, trial};
use cgroupd_tests::peer::{ALICE, BOB, Map, OTHER_RANGE, RANGE};
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
        with("case_53_containers_are_accounts", &[Need::Root, Need::UserNs], of_two_containers),
        with("case_53_a_number_inside_is_nobodys_outside", &[Need::Root], of_a_shared_namespace),
        with("case_53_what_is_wrapped_in_a_container", &[Need::Root, Need::UserNs], of_a_wrapped),
        with("case_53_what_is_closed_while_it_is_made", &[Need::Root], closed_meanwhile),
    ]
}

/// Longer than a full account is believed without a look.
const A_LOOK: Duration = Duration::from_millis(1100);

/// A home that was given does not count.
fn fill(client: &Client, path: &str) {
    let made = (0..20).take_while(|n| client.create(&format!("{path}/{n}")).is_ok()).count();
    assert_eq!(made, 5);
}

/// As [`fill`], where some were made before.
fn fill_up(client: &Client, path: &str) {
    let made = (0..20).take_while(|n| client.create(&format!("{path}/{n}")).is_ok()).count();
    assert!((1..=4).contains(&made), "{made}");
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

/// Any of a container's ids is the same account: what one made counts when another asks, who does
/// not own it.
fn of_a_container(world: &World) {
    world.cgroups.make_for("box", RANGE);
    let mut root = world.peer_in("box");
    root.user_ns(Map::Range(RANGE));
    root.cgroup_ns();
    let mut other = world.peer_in("box");
    other.join_user_ns(root.pid());
    other.cgroup_ns();
    other.ids(1000, 1000, &[]);
    let (root, other) = (world.calls(root), world.calls(other));
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

/// What one of root's containers has is missing for none of the others.
fn of_two_containers(world: &World) {
    let [one, other] = [("one", RANGE), ("other", OTHER_RANGE)].map(|(path, base)| {
        let container = world.container(path, base);
        container.create("/a").unwrap();
        container
    });
    fill_up(&one, "/a");
    refused(one.create("/more"), ErrorName::QuotaExceeded);
    other.create("/a/b").unwrap();
    fill_up(&other, "/a");
    refused(other.create("/more"), ErrorName::QuotaExceeded);
}

/// Whoever is root in a container that shares the host's ids can be any of them there.
fn of_a_shared_namespace(world: &World) {
    world.cgroups.make_for("home", ALICE);
    world.cgroups.make("box");
    world.cgroups.make_for("box/home", ALICE);
    let mut peer = world.peer_in("box");
    peer.cgroup_ns();
    peer.ids(ALICE, ALICE, &[]);
    let (inside, alice) = (world.calls(peer), world.user(ALICE));
    fill(&inside, "/home");
    refused(inside.create("/home/more"), ErrorName::QuotaExceeded);
    fill(&alice, "/home");
    refused(alice.create("/home/more"), ErrorName::QuotaExceeded);
}

/// Neither by a user namespace of one's own, made as that user.
fn of_a_wrapped(world: &World) {
    world.cgroups.make_for("home", ALICE);
    world.cgroups.make("box");
    world.cgroups.make_for("box/home", ALICE);
    let mut peer = world.peer_in("box");
    peer.cgroup_ns();
    peer.pid_ns();
    peer.ids(ALICE, ALICE, &[]);
    peer.user_ns(Map::Own);
    let (inside, alice) = (world.calls(peer), world.user(ALICE));
    fill(&inside, "/home");
    refused(inside.create("/home/more"), ErrorName::QuotaExceeded);
    fill(&alice, "/home");
}

/// A cgroup whose parent is closed to its maker before the maker could open it is there, too.
fn closed_meanwhile(world: &World) {
    world.cgroups.make_for("home", ALICE);
    world.cgroups.make_for("home/p", ALICE);
    let alice = world.user(ALICE);
    let dirs: Vec<_> = hierarchies::implied().map(|h| world.cgroups.dir(h, "home/p")).collect();
    let (is_over, hierarchies) = (AtomicBool::new(false), dirs.len());
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for mode in [0o600, 0o755].iter().cycle().take_while(|_| !is_over.load(Relaxed)) {
                for dir in &dirs {
                    fs::set_permissions(dir, fs::Permissions::from_mode(*mode)).unwrap();
                }
            }
        });
        for n in 0..times(300) {
            let _ = alice.create(&format!("/home/p/{n}"));
        }
        is_over.store(true, Relaxed);
    });
    let made = |dir: &PathBuf| fs::read_dir(dir).unwrap().flatten().filter(|e| e.path().is_dir());
    let most = dirs.iter().map(|dir| made(dir).count()).max();
    assert!(most.is_some_and(|most| (1..=5).contains(&most)), "{most:?} of {hierarchies}");
}

/// The kernel's own limits of depth hold too.
fn case_53_depth(world: &World) {
    let deep = vec!["d"; 32].join("/");
    world.root.create(&deep).unwrap();
    unchanged(&world.cgroups, || {
        refused(world.root.create(&format!("{deep}/d")), ErrorName::InvalidPath)
    });
}
