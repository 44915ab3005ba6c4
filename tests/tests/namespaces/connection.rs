//! A connection is the process that made it, as it was then.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::need::patience;
use cgroupd_tests::peer::{ALICE, Peer};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;

pub(crate) const TESTS: &[Test] = &tests![
    case_01_who_connected_and_not_who_calls,
    case_01_a_connection_dies_with_its_process,
    case_02_a_set_uid_program_in_the_same_process,
    case_02_ids_that_were_given_up_later,
    case_06_a_supplementary_group,
];

/// The harness itself is the attack: root calls on the connection that Alice made.
fn case_01_who_connected_and_not_who_calls(world: &World) {
    world.cgroups.make_for("home", ALICE);
    let alice = world.user(ALICE);
    assert_eq!(alice.class(), "user");
    unchanged(&world.cgroups, || refused(alice.create("/a"), ErrorName::Denied));
    alice.create("/home/a").unwrap();
    world.root.create("/a").unwrap();
}

fn case_01_a_connection_dies_with_its_process(world: &World) {
    let mut caller = world.user(0);
    caller.create("/a").unwrap();
    caller.peer.kill();
    unchanged(&world.cgroups, || {
        // The first may still find the connection there, and is refused then.
        let error = caller.create("/b").unwrap_err();
        assert!(error.name.is_empty() || error.service() == Some(ErrorName::Denied), "{error}");
        let error = caller.remove("/a", &[]).unwrap_err();
        assert!(error.name.is_empty() || error.service() == Some(ErrorName::Denied), "{error}");
    });
    let end = Instant::now() + patience(Duration::from_secs(5));
    while caller.who_am_i().is_ok() {
        assert!(Instant::now() < end, "it has a connection all the same");
    }
    world.root.remove("/a", &[]).unwrap();
}

fn case_02_a_set_uid_program_in_the_same_process(world: &World) {
    let sleep = world.daemon.dir().join("sleep");
    fs::copy("/bin/sleep", &sleep).unwrap();
    fs::set_permissions(&sleep, fs::Permissions::from_mode(0o4755)).unwrap();
    world.cgroups.make_for("home", ALICE);
    let mut alice = world.user(ALICE);
    alice.peer.exec(&[sleep.to_str().unwrap(), "60"]);
    let status = fs::read_to_string(format!("/proc/{}/status", alice.peer.pid())).unwrap();
    let uids = format!("Uid:\t{ALICE}\t0\t0\t0");
    assert!(status.contains(&uids), "the file system ignores set-uid bits: {status}");
    assert_eq!(alice.class(), "user");
    assert_eq!(alice.who_am_i().unwrap()["uid"], ALICE.to_string());
    unchanged(&world.cgroups, || refused(alice.create("/a"), ErrorName::Denied));
    alice.create("/home/a").unwrap();
    let (uid, ..) = world.cgroups.owner(first(), "home/a", "");
    assert_eq!(uid, ALICE);
}

fn first() -> &'static cgroupd_tests::hierarchies::Hierarchy {
    cgroupd_tests::hierarchies::implied().next().expect("some hierarchy")
}

/// The ids are those at connect; the capability that makes host root is read anew.
fn case_02_ids_that_were_given_up_later(world: &World) {
    let mut caller = world.user(0);
    assert_eq!(caller.class(), "host-root");
    caller.peer.ids(ALICE, ALICE, &[]);
    assert_eq!(caller.class(), "user");
    assert_eq!(caller.who_am_i().unwrap()["uid"], "0");
    let alice = caller.peer.connect(&world.daemon);
    assert_eq!(alice.who_am_i().unwrap()["uid"], ALICE.to_string());
}

fn case_06_a_supplementary_group(world: &World) {
    const GROUP: u32 = 64_500;
    world.cgroups.make("shared");
    world.cgroups.give("shared", 0, GROUP);
    world.cgroups.chmod("shared", 0o775);
    let call = |groups: &[u32]| {
        let mut peer = Peer::start();
        peer.ids(ALICE, ALICE, groups);
        world.calls(peer)
    };
    let (without, with) = (call(&[64_501]), call(&[64_501, GROUP]));
    unchanged(&world.cgroups, || refused(without.create("/shared/a"), ErrorName::Denied));
    with.create("/shared/a").unwrap();
    assert!(world.cgroups.is_everywhere("shared/a"));
    assert_eq!(world.cgroups.owner(first(), "shared/a", "").0, ALICE);
}
