//! Clients that watch too much, or never take what they are told.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::{Client, Result, refused};
use cgroupd_tests::events::{next, next_in, watch};
use cgroupd_tests::need::{Need, patience, trial};
use cgroupd_tests::peer::{ALICE, BOB};
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{MOST_MEMORY, Sleeper, World};
use libtest_mimic::Trial;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use zbus::MessageStream;

pub(crate) const TESTS: &[Test] =
    &tests![case_56_more_watches_than_there_may_be, case_56_no_descriptors_for_a_while];

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("case_55_a_watcher_that_never_reads", &[Need::Root], || {
        let world = World::configured("attacks", "[limits]\nwrite-seconds = 2\n");
        never_reads(&world);
        world.finish();
    })]
}

/// More than anybody may have.
const TOO_MANY: usize = 1000;
/// So many of each of the two places of a storm: together fewer than one user may have.
const EACH: usize = 60;
const PLACES: [&str; 2] = ["/storm/a", "/storm/b"];
/// How long a storm may have to last, where each move brings one event to a watch.
const STORM: Duration = Duration::from_secs(20);
/// How late the others may be told or answered meanwhile.
const LATE: Duration = Duration::from_secs(4);
const BOUND: Duration = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });
/// Watches the whole storm, as somebody who will be told of each move.
fn watch_all(client: &Client) -> Result<()> {
    let mut places = PLACES.iter().flat_map(|place| [place; EACH]);
    places.try_for_each(|place| watch(client, place, &["populated", "empty"]).map(drop))
}

/// A process moves to and fro until `is_over`. It says how often.
fn storm(world: &World, (is_over, told): (&AtomicBool, &AtomicUsize)) -> usize {
    let sleeper = Sleeper::start(0);
    let end = Instant::now() + patience(STORM);
    let goes_on = || !is_over.load(Ordering::Relaxed) && Instant::now() < end;
    for (moves, place) in PLACES.iter().cycle().enumerate() {
        if !goes_on() {
            return moves;
        }
        world.cgroups.put(place, sleeper.pid());
        // v1 is looked at from time to time: who moves back before that has never moved. Each watch
        // of the place tells of it, and each of the place before.
        while told.load(Ordering::Relaxed) < (2 * moves + 1) * EACH && goes_on() {
            std::thread::sleep(Duration::from_millis(20));
        }
        // More of it would be a test of how much this machine can do.
        std::thread::sleep(Duration::from_millis(200));
    }
    0
}

/// The twin has as many watches and reads.
fn never_reads(world: &World) {
    PLACES.iter().for_each(|place| drop(world.root.create(place).unwrap()));
    let mut peer = cgroupd_tests::peer::Peer::start();
    peer.ids(ALICE, ALICE, &[]);
    let stream = peer.stream(&world.daemon.socket());
    let seen = stream.try_clone().unwrap();
    let silent = Client::over(stream);
    peer.let_go();
    watch_all(&silent).unwrap();
    let reader = world.user(BOB);
    watch_all(&reader).unwrap();
    let caller = world.user(0);
    let (is_over, told) = (AtomicBool::new(false), AtomicUsize::new(0));
    let began = Instant::now();
    let (slowest, moves) = std::thread::scope(|threads| {
        let moving = threads.spawn(|| storm(world, (&is_over, &told)));
        let reading = threads.spawn(|| read(&reader, (&is_over, &told)));
        let mut slowest = Duration::ZERO;
        while !is_closed(&seen) && !moving.is_finished() {
            let start = Instant::now();
            caller.who_am_i().unwrap();
            slowest = slowest.max(start.elapsed());
            assert!(
                world.daemon.memory("VmRSS") < MOST_MEMORY,
                "{} KiB",
                world.daemon.memory("VmRSS")
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        let closed = is_closed(&seen);
        is_over.store(true, Ordering::Relaxed);
        let moves = moving.join().unwrap();
        reading.join().unwrap();
        assert!(closed, "after {moves} moves it is still connected");
        (slowest, moves)
    });
    println!(
        "disconnected after {:?}, {moves} moves; the reader was told {told:?} events; the slowest \
         answer took {slowest:?}; the daemon has {} KiB",
        began.elapsed(),
        world.daemon.memory("VmRSS")
    );
    assert!(slowest < patience(BOUND), "{slowest:?}");
    reader.who_am_i().expect("who reads stays");
}

/// Reads to the end of the storm, and counts the events, each of which comes in time.
fn read(reader: &Client, (is_over, told): (&AtomicBool, &AtomicUsize)) {
    let mut stream = MessageStream::from(reader.connection());
    while !is_over.load(Ordering::Relaxed) {
        let timed = async { Ok(tokio::time::timeout(patience(LATE), next_in(&mut stream)).await) };
        match reader.wait(timed).unwrap() {
            Ok(event) => {
                event.expect("it stays connected");
                told.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => assert!(is_over.load(Ordering::Relaxed), "not told in time"),
        }
    }
}

/// Whether the daemon has hung up; nothing is read for it.
fn is_closed(stream: &UnixStream) -> bool {
    let mut polled = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    let ready = poll(&mut polled, PollTimeout::ZERO);
    ready == Ok(1) && polled[0].revents().is_some_and(|it| it.contains(PollFlags::POLLHUP))
}

/// The inotify instances that the daemon has.
fn instances(world: &World) -> usize {
    let fds = std::fs::read_dir(format!("/proc/{}/fd", world.daemon.pid())).unwrap();
    let links = fds.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
    links.filter(|link| link.as_os_str() == "anon_inode:inotify").count()
}

/// However many connections one user has.
fn case_56_more_watches_than_there_may_be(world: &World) {
    world.root.create("/a").unwrap();
    let before = instances(world);
    let (alice, again) = (world.user(ALICE), world.user(ALICE));
    let mut ids = Vec::new();
    let full = loop {
        let client: &Client = if ids.len() % 2 == 0 { &alice } else { &again };
        match watch(client, "/a", &["empty", "removed"]) {
            Ok(id) if ids.len() < TOO_MANY => ids.push(id),
            result => break result,
        }
    };
    refused(full, ErrorName::QuotaExceeded);
    refused(watch(&again, "/a", &["empty"]), ErrorName::QuotaExceeded);
    assert!(ids.len() > 1 && instances(world) <= before + 1, "{} instances", instances(world));
    // Another user and host root have their own, and who leaves takes its watches along.
    watch(&world.user(BOB), "/a", &["empty"]).unwrap();
    watch(&world.root, "/a", &["empty"]).unwrap();
    drop(alice);
    let end = Instant::now() + Duration::from_secs(5);
    while let Err(error) = watch(&again, "/a", &["empty"]) {
        assert!(Instant::now() < end, "{error}");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(instances(world) <= before + 1);
}

/// Whoever takes the daemon's last descriptors ends nobody's watch, and breaks no promise.
fn case_56_no_descriptors_for_a_while(world: &World) {
    world.root.create("/a").unwrap();
    let mut first = MessageStream::from(world.root.connection());
    watch(&world.root, "/a", &["populated"]).unwrap();
    let user = world.user(BOB);
    let mut users = MessageStream::from(user.connection());
    watch(&user, "/a", &["populated"]).unwrap();
    world.root.create_with("/w", &[], &["when-empty"]).unwrap();
    let inside = Sleeper::start(0);
    world.root.move_pid("/w", inside.pid()).unwrap();
    let before = limit_open_files(world, 3);
    // v1 is looked at meanwhile, and v2 has something to tell.
    let sleeper = Sleeper::start(0);
    world.cgroups.put("/a", sleeper.pid());
    std::thread::sleep(Duration::from_millis(2500));
    drop((sleeper, inside));
    std::thread::sleep(Duration::from_millis(500));
    limit_open_files(world, before);
    let later = world.user(0);
    let mut stream = MessageStream::from(later.connection());
    watch(&later, "/a", &["populated"]).unwrap();
    let sleeper = Sleeper::start(0);
    world.cgroups.put("/a", sleeper.pid());
    assert!(next(&later, &mut stream, patience(Duration::from_secs(10))).is_some());
    assert!(next(&world.root, &mut first, patience(Duration::from_secs(10))).is_some());
    assert!(next(&user, &mut users, patience(Duration::from_secs(10))).is_some());
    let end = Instant::now() + patience(Duration::from_secs(10));
    while !world.cgroups.is_nowhere("w") {
        assert!(Instant::now() < end, "the promise is forgotten:\n{}", world.daemon.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sets how many files the daemon may have open, and says how many these were.
pub(crate) fn limit_open_files(world: &World, most: u64) -> u64 {
    let daemon = Pid::from_raw(world.daemon.pid());
    let before = open_files_of(daemon);
    prlimit(daemon, Resource::Nofile, Rlimit { current: Some(most), ..before }).unwrap();
    before.current.expect("a number")
}

fn open_files_of(process: Option<Pid>) -> Rlimit {
    let unchanged = std::fs::read_to_string(format!(
        "/proc/{}/limits",
        process.expect("a number").as_raw_nonzero()
    ));
    let text = unchanged.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut numbers = line.split_ascii_whitespace().map(|word| word.parse().ok());
    Rlimit { current: numbers.next().flatten(), maximum: numbers.next().flatten() }
}
