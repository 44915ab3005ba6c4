//! What somebody can make the daemon write into its log.

use std::time::{Duration, Instant};

use cgroupd_tests::client::Client;
use cgroupd_tests::need::{patience, times};
use cgroupd_tests::peer::{ALICE, BOB};
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;

pub(crate) const TESTS: &[Test] = &tests![
    case_69_changes_are_logged_up_to_a_rate,
    case_69_so_are_kills_of_nobody,
    case_69_so_are_refusals,
    case_69_long_and_bidirectional_names,
];

/// More lines than this follow each other only when time passes.
const CHANGES: u64 = 500;
const A_SECOND: u64 = 5;
/// The same of refusals, one of which is earned in six seconds.
const REFUSALS: u64 = 10;
/// What a line has at most.
const BYTES: usize = 2000;

/// Lines of the log that contain all of these.
fn lines(world: &World, words: &[&str]) -> u64 {
    let log = world.daemon.log();
    let is_one = |line: &&str| words.iter().all(|word| line.contains(word));
    log.lines().filter(is_one).count() as u64
}

/// The numbers behind `suppressed=` in the lines that contain all of these, added up.
fn left_out(world: &World, words: &[&str]) -> u64 {
    let log = world.daemon.log();
    let is_one = |line: &&str| words.iter().all(|word| line.contains(word));
    let number = |line: &str| {
        let digits = line.split("suppressed=").nth(1)?.split(' ').next()?;
        digits.parse::<u64>().ok()
    };
    log.lines().filter(is_one).filter_map(number).sum()
}

/// Waits until each of `count` events of `uid` is a line or was counted. What an account may log at
/// once is more than `most` only by what it earns meanwhile.
fn all_told(world: &World, (uid, kind, sums): (u32, &str, &str), count: u64, most: u64) {
    let (uid, account) = (format!("uid={uid} "), format!("account=uid:{uid} "));
    let end = Instant::now() + patience(Duration::from_secs(15));
    loop {
        let logged = lines(world, &[&uid, kind]);
        let counted = left_out(world, &[&uid, kind]) + left_out(world, &[&account, sums]);
        assert!(logged <= most, "{logged} lines of {count}");
        if logged + counted == count {
            break;
        }
        assert!(Instant::now() < end, "{logged} lines and {counted} counted of {count}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn repeat(client: &Client, count: u64, call: impl Fn(&Client)) -> u64 {
    let began = Instant::now();
    (0..count).for_each(|_| call(client));
    began.elapsed().as_secs() + 1
}

fn case_69_changes_are_logged_up_to_a_rate(world: &World) {
    world.cgroups.make_for("a", ALICE);
    let (alice, pairs) = (world.user(ALICE), u64::from(times(3000)));
    let seconds = repeat(&alice, pairs, |alice| {
        alice.create("/a/x").unwrap();
        alice.remove("/a/x", &[]).unwrap();
    });
    // Nobody else's line is missing.
    world.root.create("/of-root").unwrap();
    assert_eq!(lines(world, &["verb=\"Create\"", "/of-root"]), 1);
    let most = CHANGES + A_SECOND * seconds + A_SECOND * 15;
    all_told(world, (ALICE, "result=\"done\"", "changes were counted"), 2 * pairs, most);
    assert!(world.daemon.log().contains("many changes: further ones are counted"));
    world.root.remove("/of-root", &[]).unwrap();
}

/// Whoever may do nothing to a cgroup may kill all of its processes when there are none.
fn case_69_so_are_kills_of_nobody(world: &World) {
    world.root.create("/a").unwrap();
    let (bob, count) = (world.user(BOB), u64::from(times(3000)));
    let seconds = repeat(&bob, count, |bob| drop(bob.kill("/a", 9)));
    let most = CHANGES + REFUSALS + A_SECOND * seconds;
    let logged = lines(world, &[&format!("uid={BOB} "), "verb=\"Kill\""]);
    assert!(0 < logged && logged <= most, "{logged} lines of {count}");
}

fn case_69_so_are_refusals(world: &World) {
    let (bob, count) = (world.user(BOB), u64::from(times(3000)));
    let seconds = repeat(&bob, count, |bob| drop(bob.remove("/missing", &[]).unwrap_err()));
    let most = REFUSALS + seconds / 6 + 4;
    all_told(world, (BOB, "refused", "refusals were counted"), count, most);
}

fn case_69_long_and_bidirectional_names(world: &World) {
    world.cgroups.make_for("a", ALICE);
    let alice = world.user(ALICE);
    let odd = "/a/gpj.\u{202e}exe\u{2066}";
    alice.create(odd).unwrap();
    alice.remove(odd, &[]).unwrap();
    let error = alice.remove(odd, &[]).unwrap_err().to_string();
    assert!(error.contains("gpj.\\u{202e}exe\\u{2066}"), "{error}");
    let long = format!("/a{}", format!("/{}", "n".repeat(250)).repeat(15));
    alice.create(&long).unwrap();
    alice.write("/a", "memory.max", &"9".repeat(4000)).unwrap_err();
    let log = world.daemon.log();
    assert!(log.contains("/a/gpj.\\u{202e}exe\\u{2066}"), "{log}");
    assert!(!log.contains('\u{202e}') && !log.contains('\u{2066}'), "{log}");
    assert_eq!(log.lines().find(|line| line.len() > BYTES), None);
    // What is short is whole.
    alice.create("/a/short").unwrap();
    assert_eq!(lines(world, &["path=\"/a/short\""]), 1);
    alice.remove("/a/short", &[]).unwrap();
}
