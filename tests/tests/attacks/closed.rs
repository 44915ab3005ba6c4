//! Cgroups that are closed to the caller: what is in them is not told, and what lies above is not
//! changed by way of them.

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::{Client, refused};
use cgroupd_tests::hierarchies::{self, Version};
use cgroupd_tests::need::skip;
use cgroupd_tests::peer::{ALICE, BOB, RANGE};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};
use nix::unistd::{Gid, Uid, chown};

pub(crate) const TESTS: &[Test] = &tests![
    a_closed_cgroup_does_not_say_whether_it_is_populated,
    kill_says_nothing_of_a_closed_cgroup,
    case_72_threaded_below_somebody_elses_cgroup,
];

pub(crate) const USER_NS_TESTS: &[Test] = &tests![needs UserNs:
    the_root_of_a_container_sees_what_it_maps,
];

/// What List says of it; `None` where it does not say.
fn populated(client: &Client, path: &str) -> Option<String> {
    let rows = client.rows("/open", 0).unwrap();
    let row = rows.into_iter().find(|(shown, _)| shown == path).expect("it is listed");
    row.1.get("populated").cloned()
}

fn a_closed_cgroup_does_not_say_whether_it_is_populated(world: &World) {
    world.cgroups.make("open");
    world.cgroups.make("open/middle");
    world.cgroups.make_for("open/middle/secret", BOB);
    let sleeper = Sleeper::start(BOB);
    world.cgroups.put("open/middle/secret", sleeper.pid());
    world.cgroups.chmod("open/middle/secret", 0o700);
    let (alice, bob) = (world.user(ALICE), world.user(BOB));
    assert_eq!(populated(&alice, "/open/middle/secret"), None);
    assert_eq!(populated(&bob, "/open/middle/secret").as_deref(), Some("1"));
    // On v1 it is the walk that tells; v2 tells it of each cgroup above in that one's own file.
    let above = populated(&alice, "/open/middle");
    let v1 = hierarchies::implied().any(|hierarchy| hierarchy.version == Version::V1);
    let v2 = hierarchies::implied().any(|hierarchy| hierarchy.version == Version::V2);
    assert_eq!(above.as_deref(), if v1 && !v2 { None } else { Some("1") });
    world.cgroups.chmod("open/middle/secret", 0o755);
    assert_eq!(populated(&alice, "/open/middle/secret").as_deref(), Some("1"));
}

/// Where processes are signalled one by one, each of them must be the caller's to see.
fn kill_says_nothing_of_a_closed_cgroup(world: &World) {
    world.cgroups.make_for("home", ALICE);
    world.cgroups.make_for("home/k", ALICE);
    world.cgroups.make_for("home/k/secret", BOB);
    if let Some(v2) = hierarchies::v2() {
        let file = world.cgroups.dir(v2, "home/k/cgroup.kill");
        std::os::unix::fs::chown(file, Some(ALICE), None).unwrap();
    }
    let (alice, own) = (world.user(ALICE), Sleeper::start(ALICE));
    world.cgroups.put("home/k", own.pid());
    world.cgroups.chmod("home/k/secret", 0o700);
    let bobs = Sleeper::start(BOB);
    let mut texts = Vec::new();
    for path in ["", "home/k/secret"] {
        world.cgroups.put(path, bobs.pid());
        unchanged(&world.cgroups, || {
            let text = refused(alice.kill("/home/k", 15), ErrorName::Denied);
            assert!(!text.contains(&bobs.pid().to_string()), "{text}");
            texts.push(text);
        });
    }
    assert_eq!(texts[0], texts[1], "empty or not, it says the same");
    world.cgroups.put("", bobs.pid());
    world.cgroups.chmod("home/k/secret", 0o755);
    assert_eq!(alice.kill("/home/k", 15).unwrap(), 1);
}

/// Its capabilities count for what its user namespace maps, closed or not.
fn the_root_of_a_container_sees_what_it_maps(world: &World) {
    let mut container = world.container("box", RANGE);
    container.create("/k/closed").unwrap();
    let sleeper = container.peer.sleeper(500);
    world.cgroups.put("box/k/closed", sleeper.outside);
    world.cgroups.give("box/k/closed", RANGE + 500, RANGE + 500);
    world.cgroups.chmod("box/k/closed", 0o700);
    let rows = container.rows("/k", 0).unwrap();
    assert_eq!(rows[0].1.get("populated").map(String::as_str), Some("1"), "{rows:?}");
    assert_eq!(container.kill("/k", 9).unwrap(), 1);
    // One fact differs: an owner that is not mapped.
    world.cgroups.give("box/k/closed", BOB, BOB);
    let rows = container.rows("/k", 0).unwrap();
    assert_eq!(rows[0].1.get("populated"), None, "{rows:?}");
}

/// It makes the parent the root of a threaded subtree, which is the parent's owner's to decide.
fn case_72_threaded_below_somebody_elses_cgroup(world: &World) {
    let Some(v2) = hierarchies::v2() else {
        return skip("v2", "cgroup2 is not mounted");
    };
    world.cgroups.make_in(v2, "p");
    world.cgroups.make_in(v2, "p/c");
    let own = |path: &str| chown(path, Some(Uid::from_raw(ALICE)), Some(Gid::from_raw(ALICE)));
    let child = world.cgroups.dir(v2, "p/c");
    for file in [child.clone(), child.join("cgroup.type")] {
        own(file.to_str().unwrap()).unwrap();
    }
    let alice = world.user(ALICE);
    unchanged(&world.cgroups, || {
        let text = refused(alice.write("/p/c", "cgroup.type", "threaded"), ErrorName::Denied);
        assert!(text.contains("parent"), "{text}");
    });
    own(world.cgroups.dir(v2, "p").to_str().unwrap()).unwrap();
    alice.write("/p/c", "cgroup.type", "threaded").unwrap();
    assert_eq!(world.cgroups.read(v2, "p", "cgroup.type"), "domain threaded");
}
