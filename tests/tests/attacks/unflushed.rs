//! Descriptors that cannot be closed, beside any byte of any message (case 62): the daemon serves on,
//! stops in time, and the next one starts.

use std::time::{Duration, Instant};

use cgroupd_tests::cgroups::Cgroups;
use cgroupd_tests::daemon::Daemon;
use cgroupd_tests::need::{Need, patience, trial};
use cgroupd_tests::peer::unflushed::Unflushed;
use cgroupd_tests::peer::{ALICE, BOB};
use cgroupd_tests::world::{Sleeper, World};
use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    let needs = &[Need::Root, Need::Fuse];
    vec![
        trial("case_62_serves_on", needs, serves_on),
        trial("case_62_pidfds_are_taken_all_the_same", needs, pidfds_are_taken),
        trial("case_62_stops_in_time_and_the_next_one_starts", needs, stops),
        trial("case_62_the_next_one_starts_after_a_kill", needs, killed),
    ]
}

/// How long an honest call may take meanwhile.
const PROMPT: Duration = Duration::from_secs(1);

fn is_prompt(what: &str, work: impl FnOnce()) {
    let began = Instant::now();
    work();
    assert!(began.elapsed() < patience(PROMPT), "{what}: {:?}", began.elapsed());
}

fn others_are_served(world: &World) {
    is_prompt("root", || drop(world.root.list("").unwrap()));
    is_prompt("another user", || drop(world.user(BOB).who_am_i().unwrap()));
    let sleeper = Sleeper::start(0);
    world.root.create("/pidfds").unwrap();
    is_prompt("root's descriptors", || {
        world.root.attach("/pidfds", &[sleeper.pidfd()], &[]).unwrap();
    });
    assert!(world.cgroups.all_hold("pidfds", sleeper.pid()));
}

fn attack(daemon: &Daemon) -> Unflushed {
    Unflushed::start(&daemon.dir().join("file"), ALICE, &daemon.socket())
}

fn serves_on() {
    let world = World::new("attacks");
    let mut attacker = attack(&world.daemon);
    for _ in 0..5 {
        attacker.send();
    }
    others_are_served(&world);
    // Its user's calls are answered, too, but no descriptor is taken any more.
    let alice = world.user(ALICE);
    assert!(alice.who_am_i().is_ok());
    drop(alice);
    let files = world.daemon.open_files();
    assert!(!files.iter().any(|file| file.ends_with("file")), "{files:?}");
    attacker.end();
    world.finish();
}

/// The twin: descriptors that are meant to be sent.
fn pidfds_are_taken() {
    let world = World::new("attacks");
    world.cgroups.make_for("own", ALICE);
    let alice = world.user(ALICE);
    let sleeper = Sleeper::start(ALICE);
    world.cgroups.put("own", sleeper.pid());
    alice.create("/own/a").unwrap();
    alice.attach("/own/a", &[sleeper.pidfd()], &[]).unwrap();
    assert!(world.cgroups.all_hold("own/a", sleeper.pid()));
    drop((alice, sleeper));
    world.finish();
}

fn stops() {
    let cgroups = Cgroups::new("attacks");
    let daemon = Daemon::start(&cgroups.path());
    let mut attacker = attack(&daemon);
    attacker.send();
    assert!(daemon.connect().list("").is_ok());
    is_prompt("the stop", || daemon.stop());
    let next = Daemon::start(&cgroups.path());
    assert!(next.connect().list("").is_ok());
    next.stop();
    drop(attacker);
}

fn killed() {
    let cgroups = Cgroups::new("attacks");
    let daemon = Daemon::start(&cgroups.path());
    let mut attacker = attack(&daemon);
    attacker.send();
    assert!(daemon.connect().list("").is_ok());
    is_prompt("the end", || daemon.kill());
    let next = Daemon::start(&cgroups.path());
    assert!(next.connect().list("").is_ok());
    next.stop();
    drop(attacker);
}
