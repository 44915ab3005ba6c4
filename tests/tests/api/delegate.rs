//! Delegate and Undelegate: a user gets a cgroup with limits that it cannot change, and works in it.

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::{denied, refused};
use cgroupd_tests::hierarchies::{self, Version};
use cgroupd_tests::need::{skip, times};
use cgroupd_tests::peer::{ALICE, BOB, RANGE};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

pub(crate) const TESTS: &[Test] = &tests![
    a_user_works_in_its_own,
    twice_is_once,
    one_that_is_there_is_taken,
    caps_are_kept_and_bite,
    a_limit_that_is_wrong_makes_nothing,
    case_37_users_delegate_nothing,
    case_38_nobody_raises_its_own,
    another_users_is_another_users,
    undelegate_waits_for_nobody,
    undelegate_in_a_race,
];
pub(crate) const USER_NS_TESTS: &[Test] =
    &tests![needs UserNs: a_container_delegates_to_its_own_users];

fn home() -> String {
    format!("users/{ALICE}")
}

fn a_user_works_in_its_own(world: &World) {
    let (path, changed) = world.root.delegate("", ALICE, &[("pids.max", "50")]).unwrap();
    assert_eq!(path, format!("/{}", home()));
    assert_eq!(changed["pids.max"], "50");
    assert!(changed["created"].contains("pids") || hierarchies::v2().is_some(), "{changed:?}");
    for hierarchy in hierarchies::implied() {
        assert_eq!(world.cgroups.owner(hierarchy, "users", "").0, 0);
        for (file, owner) in [("", ALICE), ("cgroup.procs", ALICE)] {
            assert_eq!(world.cgroups.owner(hierarchy, &home(), file).0, owner, "{file}");
        }
    }
    let pids = hierarchies::of("pids").expect("every kernel has it");
    assert_eq!(world.cgroups.owner(pids, &home(), "pids.max").0, 0);
    // It need not be in it for that.
    let alice = world.user(ALICE);
    assert_eq!(
        alice.create_limited("job", &[], &[("pids.max", "9")]).unwrap().0,
        format!("/{}/job", home())
    );
    assert_eq!(world.cgroups.read(pids, &format!("{}/job", home()), "pids.max"), "9");
    assert_eq!(alice.list("").unwrap(), ["job"].map(|name| format!("/{}/{name}", home())));
    alice.remove("job", &[]).unwrap();
}

fn twice_is_once(world: &World) {
    let delegate = || world.root.delegate("", ALICE, &[("pids.max", "50")]).unwrap().1;
    delegate();
    let mut changed = unchanged(&world.cgroups, delegate);
    changed.remove("note");
    assert!(changed.is_empty(), "{changed:?}");
}

fn one_that_is_there_is_taken(world: &World) {
    world.root.create("a").unwrap();
    world.root.chown("a", BOB, BOB, &[]).unwrap();
    let (path, changed) = world.root.delegate("a", ALICE, &[]).unwrap();
    assert_eq!((path.as_str(), changed["owner"].as_str()), ("/a", &*format!("{BOB}:{BOB}")));
    assert!(!changed.contains_key("created"));
    assert_eq!(world.user(ALICE).create("/a/b").unwrap().0, "/a/b");
    denied(world.user(BOB).create("/a/c"));
}

fn caps_are_kept_and_bite(world: &World) {
    let caps = |uid, limits: &[(&str, &str)]| world.root.delegate("", uid, limits).unwrap().1;
    let changed = caps(ALICE, &[]);
    if hierarchies::v2().is_none() {
        assert!(changed["note"].contains("cgroup v1"), "{changed:?}");
        return skip("caps", "cgroup v1 has none");
    }
    assert_eq!(changed["cgroup.max.descendants"], "256");
    assert_eq!(changed["cgroup.max.depth"], "8");
    caps(ALICE, &[("cgroup.max.descendants", "3")]);
    assert!(!caps(ALICE, &[]).contains_key("cgroup.max.descendants"), "what was said stays");
    let v2 = hierarchies::v2().expect("it is there");
    assert_eq!(world.cgroups.read(v2, &home(), "cgroup.max.descendants"), "3");
    let alice = world.user(ALICE);
    let home = format!("/{}", home());
    let made = (0..5).take_while(|n| alice.create(&format!("{home}/{n}")).is_ok()).count();
    assert_eq!(made, 3);
}

fn a_limit_that_is_wrong_makes_nothing(world: &World) {
    for (limits, name) in [
        ([("pids.max", "50"), ("memory.max", "64X")], ErrorName::InvalidLimit),
        ([("pids.max", "50"), ("nosuch.max", "1")], ErrorName::InvalidLimit),
    ] {
        unchanged(&world.cgroups, || refused(world.root.delegate("", ALICE, &limits), name));
    }
    for uid in [65_534, u32::MAX, u32::MAX - 1] {
        unchanged(&world.cgroups, || {
            refused(world.root.delegate("a", uid, &[]), ErrorName::Denied)
        });
    }
    for path in ["/", "..", "users/a\n"] {
        unchanged(&world.cgroups, || world.root.delegate(path, ALICE, &[]).unwrap_err());
    }
}

fn case_37_users_delegate_nothing(world: &World) {
    world.root.delegate("", ALICE, &[]).unwrap();
    let alice = world.user(ALICE);
    alice.create("a").unwrap();
    unchanged(&world.cgroups, || {
        for path in ["a", "b", "", "/users"] {
            denied(alice.delegate(path, BOB, &[]));
            denied(alice.delegate(path, ALICE, &[]));
        }
        denied(alice.undelegate(&format!("/{}", home())));
        denied(alice.undelegate("a"));
    });
    world.root.undelegate(&home()).unwrap();
}

fn case_38_nobody_raises_its_own(world: &World) {
    let limits = [("pids.max", "50")];
    world.root.delegate("", ALICE, &limits).unwrap();
    let alice = world.user(ALICE);
    let home = format!("/{}", home());
    unchanged(&world.cgroups, || {
        denied(alice.set_limits(&home, &[("pids.max", "60")], &[]));
        denied(alice.set_limits(&home, &[("pids.max", "40")], &[]));
        denied(alice.write(&home, "pids.max", "max"));
        denied(alice.chmod(&home, "pids.max", 0o666));
        denied(alice.remove(&home, &[]));
        if hierarchies::v2().is_some() {
            denied(alice.set_limits(&home, &[("cgroup.max.descendants", "max")], &[]));
        }
    });
    world.root.set_limits(&home, &[("pids.max", "60")], &[]).unwrap();
}

fn another_users_is_another_users(world: &World) {
    world.root.delegate("", ALICE, &[]).unwrap();
    world.root.delegate("", BOB, &[]).unwrap();
    let (alice, bob) = (world.user(ALICE), world.user(BOB));
    let (roots, bobs) = (Sleeper::start(0), Sleeper::start(BOB));
    bob.create("b").unwrap();
    let theirs = format!("/users/{BOB}");
    unchanged(&world.cgroups, || {
        denied(alice.create(&format!("{theirs}/a")));
        denied(alice.remove(&format!("{theirs}/b"), &[]));
        denied(alice.move_pid(&theirs, bobs.pid()));
        denied(alice.move_pid(&format!("/{}", home()), bobs.pid()));
        denied(alice.move_pid(&format!("/{}", home()), roots.pid()));
    });
}

/// A container's root hands on what was handed to it, and no more.
fn a_container_delegates_to_its_own_users(world: &World) {
    let container = world.container("box", RANGE);
    let (path, _) = container.delegate("", 1000, &[("pids.max", "20")]).unwrap();
    assert_eq!(path, "/users/1000");
    for hierarchy in hierarchies::implied() {
        assert_eq!(world.cgroups.owner(hierarchy, "box/users/1000", "").0, RANGE + 1000);
        if hierarchy.version == Version::V1 {
            assert_eq!(world.cgroups.owner(hierarchy, "box/users", "").0, RANGE);
        }
    }
    unchanged(&world.cgroups, || {
        refused(container.delegate("a", 70_000, &[]), ErrorName::Denied);
        refused(container.delegate("/", 1000, &[]), ErrorName::Denied);
    });
    container.undelegate("users/1000").unwrap();
    assert!(world.cgroups.is_nowhere("box/users/1000"));
}

fn undelegate_waits_for_nobody(world: &World) {
    world.root.delegate("", ALICE, &[]).unwrap();
    let alice = world.user(ALICE);
    alice.create("a/b").unwrap();
    let sleeper = Sleeper::start(ALICE);
    world.cgroups.put(&format!("{}/a/b", home()), sleeper.pid());
    unchanged(&world.cgroups, || refused(world.root.undelegate(&home()), ErrorName::Busy));
    drop(sleeper);
    world.root.undelegate(&home()).unwrap();
    assert!(world.cgroups.is_nowhere(&home()));
    refused(world.root.undelegate(&home()), ErrorName::NotFound);
    denied(alice.create(&format!("/{}/c", home())));
}

/// Its owner moves in and out of it all the while: it is taken back or it is as it was.
fn undelegate_in_a_race(world: &World) {
    let alice = world.user(ALICE);
    let sleeper = Sleeper::start(ALICE);
    world.cgroups.make("elsewhere");
    let mut ends = [0; 2];
    for _ in 0..times(30) {
        world.root.delegate("", ALICE, &[]).unwrap();
        let homes = [format!("/{}", home()), format!("/{}/a", home())];
        alice.create(&homes[1]).unwrap();
        world.cgroups.put(&home(), sleeper.pid());
        let result = std::thread::scope(|threads| {
            threads.spawn(|| {
                for path in homes.iter().cycle().take(6) {
                    let _ = alice.move_pid(path, sleeper.pid());
                }
                world.cgroups.put("elsewhere", sleeper.pid());
            });
            world.root.undelegate(&home())
        });
        match result {
            Ok(()) => assert!(world.cgroups.is_nowhere(&home())),
            Err(_) => hierarchies::implied().for_each(|hierarchy| {
                if world.cgroups.dir(hierarchy, &home()).exists() {
                    assert_eq!(world.cgroups.owner(hierarchy, &home(), "").0, ALICE);
                }
            }),
        }
        ends[usize::from(world.cgroups.is_nowhere(&home()))] += 1;
        world.cgroups.put("elsewhere", sleeper.pid());
    }
    assert!(ends[0] > 0, "it was never in use: {ends:?}");
}
