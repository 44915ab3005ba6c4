//! Delegate and Undelegate: a user gets a cgroup with limits that it cannot change, and works in it.

use std::collections::HashMap;

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::{denied, refused};
use cgroupd_tests::hierarchies::{self, Hierarchy, Version};
use cgroupd_tests::need::{skip, times};
use cgroupd_tests::peer::{ALICE, BOB, Map, RANGE};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

pub(crate) const TESTS: &[Test] = &tests![
    a_user_works_in_its_own,
    twice_is_once,
    one_that_is_there_is_taken,
    case_38_one_that_is_not_free_is_not_taken,
    a_limit_that_does_not_bind_is_refused,
    case_29_network_classes_are_not_implied,
    caps_are_kept_and_bite,
    caps_of_a_part_that_is_new,
    a_limit_that_is_wrong_makes_nothing,
    case_37_users_delegate_nothing,
    case_38_nobody_raises_its_own,
    another_users_is_another_users,
    undelegate_waits_for_nobody,
    undelegate_in_a_race,
];
pub(crate) const USER_NS_TESTS: &[Test] =
    &tests![needs UserNs: a_container_delegates_to_its_own_users];

/// The hierarchies that a delegation implies.
pub(crate) fn delegated() -> impl Iterator<Item = &'static Hierarchy> {
    let classes =
        |hierarchy: &Hierarchy| hierarchy.is_v1_of("net_cls") || hierarchy.is_v1_of("net_prio");
    hierarchies::implied().filter(move |hierarchy| !classes(hierarchy))
}

fn home() -> String {
    format!("users/{ALICE}")
}

fn a_user_works_in_its_own(world: &World) {
    let (path, changed) = world.root.delegate("", ALICE, &[("pids.max", "50")]).unwrap();
    assert_eq!(path, format!("/{}", home()));
    assert_eq!(changed["pids.max"], "50");
    let pids = hierarchies::of("pids").expect("every kernel has it");
    let made = if pids.version == Version::V1 { "pids" } else { "unified" };
    assert!(changed["created"].split(' ').any(|name| name == made), "{changed:?}");
    if let Some(v2) = hierarchies::v2() {
        let controllers = |path, file| world.cgroups.read(v2, path, file);
        assert_eq!(
            controllers(&*home(), "cgroup.controllers"),
            controllers("", "cgroup.controllers")
        );
    }
    for hierarchy in delegated() {
        assert_eq!(world.cgroups.owner(hierarchy, "users", "").0, 0);
        for (file, owner) in [("", ALICE), ("cgroup.procs", ALICE)] {
            assert_eq!(world.cgroups.owner(hierarchy, &home(), file).0, owner, "{file}");
        }
    }
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
    let (path, changed) = world.root.delegate("a", ALICE, &[]).unwrap();
    assert_eq!((path.as_str(), changed["owner"].as_str()), ("/a", "0:0"));
    assert!(!changed.contains_key("created"));
    assert_eq!(world.user(ALICE).create("/a/b").unwrap().0, "/a/b");
    denied(world.user(BOB).create("/a/c"));
}

/// What somebody has, or could still write to, or is in, is not given to another.
fn case_38_one_that_is_not_free_is_not_taken(world: &World) {
    for path in ["made", "given", "open", "lived-in", "parent/child"] {
        world.root.create(path).unwrap();
    }
    world.cgroups.give("made", ALICE, ALICE);
    world.user(ALICE).create("/made/hers").unwrap();
    world.root.chown("made", 0, 0, &[]).unwrap();
    world.root.chown("given", BOB, BOB, &[]).unwrap();
    world.root.chmod("open", "cgroup.procs", 0o666).unwrap();
    let sleeper = Sleeper::start(0);
    world.cgroups.put("lived-in", sleeper.pid());
    for (path, name) in [
        ("made/hers", ErrorName::Exists),
        ("given", ErrorName::Exists),
        ("open", ErrorName::Exists),
        ("lived-in", ErrorName::Busy),
        ("parent", ErrorName::Busy),
    ] {
        let limits = [("pids.max", "50")];
        unchanged(&world.cgroups, || refused(world.root.delegate(path, ALICE, &limits), name));
    }
    // Who has the cgroup above could undo the limits.
    unchanged(&world.cgroups, || {
        refused(world.root.delegate("given/below", ALICE, &[]), ErrorName::Denied);
    });
    world.root.chmod("open", "cgroup.procs", 0o644).unwrap();
    world.root.delegate("open", ALICE, &[("pids.max", "50")]).unwrap();
}

/// v1 throttles each cgroup by itself.
fn a_limit_that_does_not_bind_is_refused(world: &World) {
    if !hierarchies::all().iter().any(|hierarchy| hierarchy.is_v1_of("blkio")) {
        return skip("blkio", "there is none of v1");
    }
    let limits = [("io.max", "8:0 rbps=1000000")];
    unchanged(&world.cgroups, || {
        refused(world.root.delegate("a", ALICE, &limits), ErrorName::NotSupported)
    });
}

/// Whoever owns a cgroup of these sets what is host root's: they are not given by the way.
fn case_29_network_classes_are_not_implied(world: &World) {
    let Some(classes) = hierarchies::all().iter().find(|hierarchy| hierarchy.is_v1_of("net_cls"))
    else {
        return skip("net_cls", "there is none");
    };
    world.root.delegate("", ALICE, &[]).unwrap();
    assert!(!world.cgroups.dir(classes, &home()).exists());
}

fn caps_are_kept_and_bite(world: &World) {
    let caps = |uid, limits: &[(&str, &str)]| world.root.delegate("", uid, limits).unwrap().1;
    let changed = caps(ALICE, &[]);
    let has_v1 = hierarchies::implied().any(|hierarchy| hierarchy.version == Version::V1);
    assert_eq!(has_v1, changed.get("note").is_some_and(|note| note.contains("cgroup v1")));
    let Some(v2) = hierarchies::v2() else { return skip("caps", "cgroup v1 has none") };
    assert_eq!(changed["cgroup.max.descendants"], "256");
    assert_eq!(changed["cgroup.max.depth"], "8");
    caps(ALICE, &[("cgroup.max.descendants", "3")]);
    assert!(!caps(ALICE, &[]).contains_key("cgroup.max.descendants"), "what was said stays");
    assert_eq!(world.cgroups.read(v2, &home(), "cgroup.max.descendants"), "3");
    caps(ALICE, &[("cgroup.max.depth", "max")]);
    assert!(!caps(ALICE, &[("pids.max", "50")]).contains_key("cgroup.max.depth"), "max, too");
    assert_eq!(world.cgroups.read(v2, &home(), "cgroup.max.depth"), "max");
    let alice = world.user(ALICE);
    let home = format!("/{}", home());
    let made = (0..5).take_while(|n| alice.create(&format!("{home}/{n}")).is_ok()).count();
    assert_eq!(made, 3);
}

/// What is hers on v1 says nothing of what is made on v2.
fn caps_of_a_part_that_is_new(world: &World) {
    let Some((v1, v2)) = hierarchies::v1_of("memory").zip(hierarchies::v2()) else {
        return skip("caps", "there is no memory controller of v1 beside v2");
    };
    let none = HashMap::new();
    let memory = world.root.manager().delegate("", ALICE, ALICE, &["memory"], &none, &[]);
    world.root.wait(memory).unwrap();
    assert!(world.cgroups.dir(v1, &home()).exists() && !world.cgroups.dir(v2, &home()).exists());
    world.root.delegate("", ALICE, &[]).unwrap();
    assert_eq!(world.cgroups.read(v2, &home(), "cgroup.max.descendants"), "256");
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
    for (path, name) in [
        ("/", ErrorName::Denied),
        ("..", ErrorName::InvalidPath),
        ("users/a\n", ErrorName::InvalidPath),
        ("a/cgroup.x", ErrorName::InvalidPath),
    ] {
        unchanged(&world.cgroups, || refused(world.root.delegate(path, ALICE, &[]), name));
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
        denied(alice.undelegate(&format!("/{}", home()), ALICE));
        denied(alice.undelegate("a", ALICE));
    });
    world.root.undelegate("", ALICE).unwrap();
}

fn case_38_nobody_raises_its_own(world: &World) {
    let limits = [("pids.max", "50")];
    world.root.delegate("", ALICE, &limits).unwrap();
    let alice = world.user(ALICE);
    let home = format!("/{}", home());
    unchanged(&world.cgroups, || {
        let text = denied(alice.set_limits(&home, &[("pids.max", "60")], &[]));
        assert!(text.contains("\nhint: "), "{text}");
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
    world.cgroups.make("box");
    world.root.delegate("box", RANGE, &[]).unwrap();
    let mut peer = world.peer_in("box");
    peer.user_ns(Map::Range(RANGE));
    peer.cgroup_ns();
    peer.pid_ns();
    let container = world.calls(peer);
    let (path, _) = container.delegate("", 1000, &[("pids.max", "20")]).unwrap();
    assert_eq!(path, "/users/1000");
    let (_, changed) = container.delegate("", 1000, &[("pids.max", "21")]).unwrap();
    assert_eq!((changed["pids.max"].as_str(), changed.get("owner")), ("21", None));
    container.create("a").unwrap();
    let (_, changed) = container.delegate("a", 1001, &[]).unwrap();
    assert_eq!(changed["owner"], "0:0", "in its own numbers");
    refused(container.delegate("a", 1000, &[]), ErrorName::Exists);
    for hierarchy in delegated() {
        assert_eq!(world.cgroups.owner(hierarchy, "box/users/1000", "").0, RANGE + 1000);
        if hierarchy.version == Version::V1 {
            assert_eq!(world.cgroups.owner(hierarchy, "box/users", "").0, RANGE);
        }
    }
    unchanged(&world.cgroups, || {
        refused(container.delegate("a", 70_000, &[]), ErrorName::Denied);
        refused(container.delegate("/", 1000, &[]), ErrorName::Denied);
    });
    container.undelegate("users/1000", 1000).unwrap();
    assert!(world.cgroups.is_nowhere("box/users/1000"));
}

fn undelegate_waits_for_nobody(world: &World) {
    world.root.delegate("", ALICE, &[]).unwrap();
    let alice = world.user(ALICE);
    alice.create("a/b").unwrap();
    let sleeper = Sleeper::start(ALICE);
    world.cgroups.put_where_it_is(&format!("{}/a/b", home()), sleeper.pid());
    unchanged(&world.cgroups, || refused(world.root.undelegate("", ALICE), ErrorName::Busy));
    drop(sleeper);
    unchanged(&world.cgroups, || {
        refused(world.root.undelegate(&home(), BOB), ErrorName::NotFound);
    });
    // What she has opened for others is closed again before it is removed, or stays hers and open.
    alice.chmod(&format!("/{}/a", home()), "", 0o777).unwrap();
    world.root.undelegate("", ALICE).unwrap();
    assert!(world.cgroups.is_nowhere(&home()));
    refused(world.root.undelegate("", ALICE), ErrorName::NotFound);
    denied(alice.create(&format!("/{}/c", home())));
}

/// Its owner moves in and out of it all the while: it is taken back, or what is there is its own.
fn undelegate_in_a_race(world: &World) {
    let alice = world.user(ALICE);
    let sleeper = Sleeper::start(ALICE);
    world.cgroups.make("elsewhere");
    let mut ends = [0; 2];
    for _ in 0..times(30) {
        world.root.delegate("", ALICE, &[]).unwrap();
        let homes = [format!("/{}", home()), format!("/{}/a", home())];
        alice.create(&homes[1]).unwrap();
        world.cgroups.put_where_it_is(&home(), sleeper.pid());
        let result = std::thread::scope(|threads| {
            threads.spawn(|| {
                for path in homes.iter().cycle().take(6) {
                    let _ = alice.move_pid(path, sleeper.pid());
                }
                world.cgroups.put("elsewhere", sleeper.pid());
            });
            world.root.undelegate("", ALICE)
        });
        match result {
            Ok(()) => assert!(world.cgroups.is_nowhere(&home())),
            Err(error) => {
                assert_eq!(error.service(), Some(ErrorName::Busy), "{error}");
                for hierarchy in delegated() {
                    if world.cgroups.dir(hierarchy, &home()).exists() {
                        assert_eq!(world.cgroups.owner(hierarchy, &home(), "").0, ALICE);
                    }
                }
            }
        }
        ends[usize::from(world.cgroups.is_nowhere(&home()))] += 1;
        world.cgroups.put("elsewhere", sleeper.pid());
    }
    assert!(ends[0] > 0, "it was never in use: {ends:?}");
}
