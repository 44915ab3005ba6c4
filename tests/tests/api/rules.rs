//! `[[delegate]]`: what the administrator gives to users, at start, on their first call, and when the
//! configuration is read again.

use std::time::{Duration, Instant};

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::{denied, refused};
use cgroupd_tests::hierarchies;
use cgroupd_tests::need::{is_translated, patience};
use cgroupd_tests::peer::{ALICE, BOB, Map, Peer};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;

use crate::delegate::delegated;

pub(crate) const TESTS: &[Test] = &tests![
    it_is_made_on_the_first_call,
    it_is_made_for_a_group,
    what_is_there_stays_as_it_is,
    what_is_elsewhere_is_no_matter,
    the_path_is_where_paths_start,
    who_is_not_meant_gets_nothing,
    what_cannot_be_made_keeps_nobody_from_calling,
    what_has_failed_is_not_tried_on_every_call,
    case_53_each_has_its_own_quota,
    case_53_ten_thousand_cgroups,
];
pub(crate) const USER_NS_TESTS: &[Test] = &tests![needs UserNs:
    only_users_of_the_host_are_meant,
    case_53_a_quota_holds_in_namespaces,
];

const CAROL: u32 = 64_103;

fn home() -> String {
    format!("users/{ALICE}")
}

fn rule(lines: &str) -> String {
    format!("[[delegate]]\nusers = [\"{ALICE}\"]\n{lines}\n")
}

/// She has no entry in the user database, so nothing is made at start.
fn it_is_made_on_the_first_call(world: &World) {
    world.daemon.reconfigure(&rule("limits = { \"pids.max\" = \"50\" }"));
    assert!(world.cgroups.is_nowhere(&home()));
    let alice = world.user(ALICE);
    assert!(world.cgroups.is_nowhere(&home()));
    let told = alice.who_am_i().unwrap();
    let pids = hierarchies::of("pids").expect("every kernel has it");
    assert_eq!(told[&format!("home.{}", pids.label)], format!("/{}", home()));
    for hierarchy in delegated() {
        assert_eq!(world.cgroups.owner(hierarchy, &home(), "").0, ALICE);
    }
    assert_eq!(world.cgroups.owner(pids, &home(), "pids.max").0, 0);
    assert_eq!(world.cgroups.read(pids, &home(), "pids.max"), "50");
    assert_eq!(alice.create("job").unwrap().0, format!("/{}/job", home()));
    denied(alice.set_limits(&format!("/{}", home()), &[("pids.max", "60")], &[]));
    // Root may still say otherwise.
    world.root.delegate("", ALICE, &[("pids.max", "60")]).unwrap();
    assert_eq!(world.cgroups.read(pids, &home(), "pids.max"), "60");
}

/// The kernel says which groups a caller has.
fn it_is_made_for_a_group(world: &World) {
    let groups = "[[delegate]]\ngroups = [\"games\"]\n";
    world.daemon.reconfigure(groups);
    let games = nix::unistd::Group::from_name("games").unwrap().expect("base-files has it");
    let user = |groups: &[u32]| {
        let mut peer = Peer::start();
        peer.ids(BOB, BOB, groups);
        world.calls(peer).who_am_i().unwrap();
    };
    user(&[]);
    assert!(world.cgroups.is_nowhere(&format!("users/{BOB}")));
    user(&[games.gid.as_raw()]);
    let pids = hierarchies::of("pids").expect("every kernel has it");
    assert_eq!(world.cgroups.owner(pids, &format!("users/{BOB}"), "").0, BOB);
}

/// Neither a call nor another configuration touches it.
fn what_is_there_stays_as_it_is(world: &World) {
    let first = |limit: &str| {
        world.daemon.reconfigure(&rule(&format!("limits = {{ \"pids.max\" = \"{limit}\" }}")));
        world.user(ALICE).who_am_i().unwrap();
    };
    first("50");
    world.user(ALICE).create("job").unwrap();
    world.root.set_limits(&home(), &[("pids.max", "40")], &[]).unwrap();
    unchanged(&world.cgroups, || first("60"));
    // What a daemon that was killed has left half made is finished.
    world.user(ALICE).remove("job", &[]).unwrap();
    world.root.undelegate("", ALICE).unwrap();
    world.root.create(&home()).unwrap();
    first("60");
    let pids = hierarchies::of("pids").expect("every kernel has it");
    assert_eq!(world.cgroups.read(pids, &home(), "pids.max"), "60");
    assert_eq!(world.cgroups.owner(pids, &home(), "").0, ALICE);
}

fn the_path_is_where_paths_start(world: &World) {
    let alice = world.user(ALICE);
    // The connection is older than the rule.
    alice.who_am_i().unwrap();
    world.daemon.reconfigure(&rule("path = \"/people/u-{uid}\""));
    let path = format!("people/u-{ALICE}");
    assert_eq!(alice.create("job").unwrap().0, format!("/{path}/job"));
    let again = world.root.delegate("", ALICE, &[("pids.max", "9")]).unwrap().0;
    assert_eq!(again, format!("/{path}"), "where it is unless told otherwise");
    alice.remove("job", &[]).unwrap();
    world.root.undelegate("", ALICE).unwrap();
    assert!(world.cgroups.is_nowhere(&path));
}

fn who_is_not_meant_gets_nothing(world: &World) {
    world.daemon.reconfigure(&rule(""));
    unchanged(&world.cgroups, || {
        let bob = world.user(BOB);
        bob.who_am_i().unwrap();
        denied(bob.create("job"));
        world.root.who_am_i().unwrap();
    });
    world.user(ALICE).create("job").unwrap();
}

/// A user of that number in a container is another one.
fn only_users_of_the_host_are_meant(world: &World) {
    world.daemon.reconfigure(&rule(""));
    world.cgroups.make_for("box", ALICE);
    unchanged(&world.cgroups, || {
        let mut peer = world.peer_in("box");
        peer.ids(ALICE, ALICE, &[]);
        peer.user_ns(Map::Own);
        world.calls(peer).who_am_i().unwrap();
    });
    world.user(ALICE).who_am_i().unwrap();
    assert!(!world.cgroups.is_nowhere(&home()));
}

/// A user without a name, a path that is taken, a limit that is not to be had.
fn what_cannot_be_made_keeps_nobody_from_calling(world: &World) {
    world.root.delegate("taken-64102", BOB, &[]).unwrap();
    let alice = world.user(ALICE);
    for (lines, why) in [
        ("path = \"/by-name/{user}\"", "has no name"),
        ("path = \"/taken-64102/{uid}\"", "somebody else's"),
        ("limits = { \"hugetlb.64GB.max\" = \"64G\" }", "hugetlb.64GB.max"),
    ] {
        world.daemon.reconfigure(&rule(lines));
        unchanged(&world.cgroups, || {
            alice.who_am_i().unwrap();
            let log = world.daemon.log();
            assert!(log.contains(why), "{lines}: {log}");
        });
    }
    world.daemon.reconfigure(&rule(""));
    alice.who_am_i().unwrap();
    assert!(!world.cgroups.is_nowhere(&home()));
}

/// What a rule gives is made by root: a user must not have that done by calling.
fn what_has_failed_is_not_tried_on_every_call(world: &World) {
    const TAKEN: &str = "taken-64102";
    world.root.delegate(TAKEN, BOB, &[]).unwrap();
    let path = format!("path = \"/{TAKEN}/{{uid}}\"");
    world.daemon.reconfigure(&rule(&path));
    let began = Instant::now();
    for _ in 0..5 {
        let alice = world.user(ALICE);
        (0..10).for_each(|_| drop(alice.who_am_i().unwrap()));
    }
    let tries = || world.daemon.log().matches("not delegated as configured").count();
    // After pauses of 1, 2, 4 seconds and so on.
    let most = (began.elapsed().as_secs() + 1).ilog2() as usize + 1;
    assert!((1..=most).contains(&tries()), "{} tries, at most {most}", tries());
    // Another user of the same rule is not kept waiting by them, and has a failure of its own.
    let both = format!("[[delegate]]\nusers = [\"{ALICE}\", \"{CAROL}\"]\n{path}\n");
    world.daemon.reconfigure(&both);
    let before = tries();
    world.user(CAROL).who_am_i().unwrap();
    world.user(ALICE).who_am_i().unwrap();
    assert_eq!(tries() - before, 2, "other rules, and another user, are tried at once");
    // The cause is gone: found when the pause is over, and not only with other rules.
    world.root.undelegate(TAKEN, BOB).unwrap();
    let home = format!("{TAKEN}/{ALICE}");
    let end = Instant::now() + patience(Duration::from_secs(10));
    let alice = world.user(ALICE);
    while world.cgroups.is_nowhere(&home) {
        assert!(Instant::now() < end, "not made after the pause");
        alice.who_am_i().unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(alice.create("job").unwrap().0, format!("/{home}/job"));
}

fn case_53_each_has_its_own_quota(world: &World) {
    let rules = format!(
        "[[delegate]]\nusers = [\"{ALICE}\"]\ncgroups = 3\n\
         [[delegate]]\nusers = [\"{BOB}\"]\ncgroups = 5\n"
    );
    world.daemon.reconfigure(&rules);
    for (uid, most) in [(ALICE, 3), (BOB, 5)] {
        let user = world.user(uid);
        let made = (0..10).take_while(|n| user.create(&format!("{n}")).is_ok()).count();
        assert_eq!(made, most);
        unchanged(&world.cgroups, || refused(user.create("more"), ErrorName::QuotaExceeded));
        user.remove("0", &[]).unwrap();
        user.create("more").unwrap();
    }
}

/// In a user namespace of her own she has her own account still, whoever called first.
fn case_53_a_quota_holds_in_namespaces(world: &World) {
    world.root.delegate("", ALICE, &[]).unwrap();
    world.daemon.reconfigure(&rule("cgroups = 3"));
    let mut peer = Peer::start();
    world.user(ALICE).create("session").unwrap();
    world.cgroups.put_where_it_is(&format!("{}/session", home()), peer.pid());
    peer.ids(ALICE, ALICE, &[]);
    peer.user_ns(Map::Own);
    let inside = world.calls(peer);
    let made = (0..10).take_while(|n| inside.create(&format!("/{n}")).is_ok()).count();
    assert_eq!(made, 2);
    refused(inside.create("/more"), ErrorName::QuotaExceeded);
    world.daemon.reconfigure(&rule("cgroups = 4"));
    inside.create("/more").unwrap();
}

/// A rule that wants one hierarchy is carried out once, whatever is in the others.
fn what_is_elsewhere_is_no_matter(world: &World) {
    let pids = hierarchies::of("pids").expect("every kernel has it");
    world.daemon.reconfigure(&rule("controllers = [\"pids\"]\nlimits = { \"pids.max\" = \"50\" }"));
    for hierarchy in delegated().filter(|hierarchy| hierarchy.label != pids.label) {
        world.cgroups.make_in(hierarchy, "users");
        world.cgroups.make_in(hierarchy, &home());
    }
    world.user(ALICE).who_am_i().unwrap();
    assert_eq!(world.cgroups.owner(pids, &home(), "").0, ALICE);
    world.root.set_limits(&home(), &[("pids.max", "40")], &[]).unwrap();
    unchanged(&world.cgroups, || world.user(ALICE).who_am_i().unwrap());
    assert_eq!(world.daemon.log().matches("as configured").count(), 1);
}

/// As many as she likes to ask for, beside somebody who asks for one.
fn case_53_ten_thousand_cgroups(world: &World) {
    world
        .daemon
        .reconfigure(&format!("[[delegate]]\nusers = [\"{ALICE}\", \"{BOB}\"]\ncgroups = 256\n"));
    let pids = hierarchies::of("pids").expect("every kernel has it");
    let only = [pids.label.as_str()];
    let (alice, bob) = (world.user(ALICE), world.user(BOB));
    // Other machines ask for all of them.
    let asked = if is_translated() { 600 } else { 10_000 };
    let made = (0..asked).filter(|n| alice.create_with(&format!("{n}"), &only, &[]).is_ok());
    assert_eq!(made.count(), 256);
    assert_eq!(alice.list("").unwrap().len(), 256);
    bob.create_with("job", &only, &[]).unwrap();
    alice.remove("0", &[]).unwrap();
    alice.create_with("more", &only, &[]).unwrap();
}
