//! Kill: SIGKILL until nobody is left, any other signal once; and Remove with the flag kill.

use std::collections::BTreeSet;

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies::{self, Version};
use cgroupd_tests::need::patience;
use cgroupd_tests::peer::misfit::state;
use cgroupd_tests::peer::{ALICE, BOB, Map, RANGE};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

pub(crate) const TESTS: &[Test] = &tests![
    nobody_is_left,
    those_below_go_along,
    an_empty_cgroup,
    many_processes,
    other_signals_are_sent_once,
    what_is_no_signal,
    a_user_kills_its_own,
    one_of_somebody_elses_stands_in_the_way,
    remove_with_kill,
    remove_with_kill_checks_first,
    remove_with_kill_of_children,
];

pub(crate) const USER_NS_TESTS: &[Test] = &tests![needs UserNs:
    a_container_kills_its_own,
    a_container_does_not_signal_strangers,
];

const TERM: u32 = 15;

/// Sleepers in `path`.
fn people(world: &World, path: &str, uid: u32, count: usize) -> Vec<Sleeper> {
    let people: Vec<Sleeper> = (0..count).map(|_| Sleeper::start(uid)).collect();
    people.iter().for_each(|sleeper| world.cgroups.put(path, sleeper.pid()));
    people
}

fn is_dead(sleeper: &Sleeper) -> bool {
    matches!(state(sleeper.pid()), None | Some('Z' | 'X'))
}

fn is_empty(world: &World, path: &str) -> bool {
    hierarchies::implied().all(|h| world.cgroups.procs(h, path).is_empty())
}

fn nobody_is_left(world: &World) {
    world.root.create("/a").unwrap();
    let other = Sleeper::start(0);
    let people = people(world, "a", ALICE, 3);
    assert_eq!(world.root.kill("/a", 9).unwrap(), 3);
    assert!(is_empty(world, "a") && people.iter().all(is_dead) && !is_dead(&other));
    world.root.remove("/a", &[]).unwrap();
}

fn those_below_go_along(world: &World) {
    world.root.create("/a/b/c").unwrap();
    world.root.create("/ab").unwrap();
    let deep = people(world, "a/b/c", ALICE, 2);
    let beside = people(world, "ab", ALICE, 1);
    assert_eq!(world.root.kill("/a/b", 9).unwrap(), 2);
    assert!(deep.iter().all(is_dead) && !is_dead(&beside[0]));
}

fn an_empty_cgroup(world: &World) {
    world.root.create("/a").unwrap();
    assert_eq!(world.root.kill("/a", 9).unwrap(), 0);
    assert_eq!(world.root.kill("/a", TERM).unwrap(), 0);
    refused(world.root.kill("/nowhere", 9), ErrorName::NotFound);
}

/// More than are pinned at a time.
fn many_processes(world: &World) {
    world.root.create("/a").unwrap();
    let mut peer = world.peer_in("a");
    let script = "for i in $(seq 150); do sleep 600 >/dev/null 2>&1 & done";
    assert_eq!(peer.run(&["sh", "-c", script]).status, 0);
    world.cgroups.put("", peer.pid());
    assert_eq!(world.root.kill("/a", 9).unwrap(), 150);
    assert!(is_empty(world, "a"));
}

/// Each counts what it gets, also where it is in several hierarchies.
fn other_signals_are_sent_once(world: &World) {
    world.root.create("/a").unwrap();
    let mut peer = world.peer_in("a");
    let count = world.daemon.dir().join("count");
    let script = format!(
        "exec 2>/dev/null; trap 'echo x >>{}' USR1; while :; do sleep 0.05; done",
        count.display()
    );
    // The sleeps have no handler and would end with a status that the shell passes over.
    let counter = peer.spawn(&["sh", "-c", &script]).outside;
    world.cgroups.put("", peer.pid());
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(world.root.kill("/a", 10).unwrap() >= 1);
    std::thread::sleep(std::time::Duration::from_millis(400));
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "x\n");
    assert!(world.cgroups.all_hold("a", counter), "it lives");
    world.root.kill("/a", 9).unwrap();
    let people = people(world, "a", ALICE, 2);
    assert_eq!(world.root.kill("/a", TERM).unwrap(), 2);
    let end = std::time::Instant::now() + patience(std::time::Duration::from_secs(5));
    while !people.iter().all(is_dead) {
        assert!(std::time::Instant::now() < end);
    }
}

fn what_is_no_signal(world: &World) {
    world.root.create("/a").unwrap();
    let people = people(world, "a", ALICE, 1);
    unchanged(&world.cgroups, || {
        for signal in [0, 65, 128, u32::MAX, 1 << 31] {
            refused(world.root.kill("/a", signal), ErrorName::InvalidArgument);
        }
        let flag = world.root.call("Kill", &("/a", 9_u32, ["odd"].as_slice()));
        refused(flag, ErrorName::InvalidArgument);
    });
    assert!(!is_dead(&people[0]));
    assert_eq!(world.root.kill("/a", 9).unwrap(), 1);
}

fn a_user_kills_its_own(world: &World) {
    world.cgroups.make_for("home", ALICE);
    world.cgroups.make("roots");
    let alice = world.user(ALICE);
    alice.create("/home/a").unwrap();
    let theirs = people(world, "roots", 0, 1);
    let own = people(world, "home/a", ALICE, 2);
    unchanged(&world.cgroups, || {
        refused(alice.kill("/roots", 9), ErrorName::Denied);
        refused(alice.kill("/roots", TERM), ErrorName::Denied);
        refused(alice.kill("/", 9), ErrorName::Denied);
    });
    assert!(!is_dead(&theirs[0]));
    assert_eq!(alice.kill("/home/a", 9).unwrap(), 2);
    assert!(own.iter().all(is_dead));
}

/// On v1, where each process is judged; cgroup.kill is its owner's to write.
fn one_of_somebody_elses_stands_in_the_way(world: &World) {
    world.cgroups.make_for("home", ALICE);
    let alice = world.user(ALICE);
    alice.create("/home/a").unwrap();
    let own = people(world, "home/a", ALICE, 2);
    let signals: &[u32] = match hierarchies::all().iter().any(|h| h.version == Version::V1) {
        true => &[9, TERM],
        false => &[TERM],
    };
    for uid in [0, BOB] {
        let theirs = people(world, "home/a", uid, 1);
        unchanged(&world.cgroups, || {
            for signal in signals {
                let text = refused(alice.kill("/home/a", *signal), ErrorName::Denied);
                assert!(text.contains("another user"), "{text}");
            }
        });
        assert!(!is_dead(&theirs[0]) && !own.iter().any(is_dead));
    }
    assert_eq!(alice.kill("/home/a", TERM).unwrap(), 2);
}

fn remove_with_kill(world: &World) {
    world.root.create("/a").unwrap();
    let people = people(world, "a", ALICE, 3);
    unchanged(&world.cgroups, || {
        let text = refused(world.root.remove("/a", &[]), ErrorName::Busy);
        assert!(text.contains("kill"), "{text}");
    });
    assert!(world.root.remove("/a", &["kill"]).unwrap());
    assert!(world.cgroups.is_nowhere("a") && people.iter().all(is_dead));
    world.root.create("/a").unwrap();
    world.root.remove("/a", &["kill"]).unwrap();
}

/// Nobody is killed for a cgroup that stays.
fn remove_with_kill_checks_first(world: &World) {
    world.root.create("/a/b").unwrap();
    let people = people(world, "a/b", ALICE, 1);
    let nobody = world.user(BOB);
    unchanged(&world.cgroups, || {
        let text = refused(world.root.remove("/a", &["kill"]), ErrorName::Busy);
        assert!(text.contains("children"), "{text}");
        refused(nobody.remove("/a/b", &["kill"]), ErrorName::Denied);
        refused(nobody.remove("/a", &["kill", "recursive"]), ErrorName::Denied);
        refused(world.root.remove("/", &["kill", "recursive"]), ErrorName::Denied);
    });
    assert!(!is_dead(&people[0]));
    world.root.remove("/a", &["kill", "recursive"]).unwrap();
    assert!(world.cgroups.is_nowhere("a") && is_dead(&people[0]));
}

fn remove_with_kill_of_children(world: &World) {
    world.cgroups.make_for("home", ALICE);
    let alice = world.user(ALICE);
    alice.create("/home/a/b/c").unwrap();
    let people = [people(world, "home/a/b", ALICE, 1), people(world, "home/a/b/c", ALICE, 2)];
    alice.remove("/home/a", &["kill", "recursive"]).unwrap();
    assert!(world.cgroups.is_nowhere("home/a") && people.iter().flatten().all(is_dead));
}

/// Grant G3: of any of the users that it maps.
fn a_container_kills_its_own(world: &World) {
    let mut caller = world.container("box", RANGE);
    caller.create("/a").unwrap();
    let pids: BTreeSet<i32> =
        [0, 1, 65_535].map(|uid| caller.peer.sleeper(uid).outside).into_iter().collect();
    pids.iter().for_each(|pid| world.cgroups.put("box/a", *pid));
    unchanged(&world.cgroups, || refused(caller.kill("/", 9), ErrorName::Denied));
    assert_eq!(caller.kill("/a", 9).unwrap(), 3);
    assert!(is_empty(world, "box/a"));
}

/// One that it does not see, one whose user is not its own, one of another user namespace.
fn a_container_does_not_signal_strangers(world: &World) {
    let caller = world.container("box", RANGE);
    caller.create("/a").unwrap();
    let hidden = people(world, "box/a", RANGE, 1);
    unchanged(&world.cgroups, || refused(caller.kill("/a", TERM), ErrorName::Denied));
    world.root.kill("/box/a", 9).unwrap();
    drop(hidden);
    world.cgroups.make_for("bag", RANGE);
    let mut peer = world.peer_in("bag");
    peer.user_ns(Map::Range(RANGE));
    peer.cgroup_ns();
    let mut seeing = world.calls(peer);
    seeing.create("/a").unwrap();
    for uid in [0, BOB, RANGE + 500] {
        let strangers = people(world, "bag/a", uid, 1);
        unchanged(&world.cgroups, || refused(seeing.kill("/a", TERM), ErrorName::Denied));
        assert!(!is_dead(&strangers[0]), "{uid}");
    }
    let own = seeing.peer.sleeper(500).outside;
    world.cgroups.put("bag/a", own);
    assert_eq!(seeing.kill("/a", TERM).unwrap(), 1);
}
