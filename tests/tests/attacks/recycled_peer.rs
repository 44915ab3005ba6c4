//! A process that connects and ends before the daemon accepts, and whose number another process
//! gets meanwhile. Since Linux 6.5 the kernel tells; before, the daemon must find out who holds the
//! peer's end of the connection.
//!
//! The daemon is stopped while a peer connects, so it accepts as late as a test wants.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use cgroupd_tests::client::{self, Client};
use cgroupd_tests::need::{Need, patience};
use cgroupd_tests::peer::misfit::state;
use cgroupd_tests::peer::{ALICE, Map, Peer, RANGE};
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::recycled::heir_that;

pub(crate) const NUMBER_TESTS: &[Test] = &tests![needs ChosenPids:
    case_71_a_recycled_number_of_host_roots,
    case_71_a_recycled_number_of_the_same_user,
    case_71_a_recycled_number_that_holds_the_end_with_other_ids,
];

pub(crate) const TESTS: &[Test] = &tests![
    case_71_a_process_that_lives,
    case_71_a_process_in_another_network_namespace,
    case_71_an_end_that_was_passed_on,
    case_71_ids_that_were_given_up_before_the_look,
];

pub(crate) const CONTAINER_TESTS: &[Test] = &tests![needs UserNs:
    case_71_a_process_in_a_container,
];

/// How often a number is tried to be recycled; somebody else's process may get it first.
const TIMES: usize = 10;

/// Does it while the daemon is stopped, which it must not need.
fn before_the_look<T>(world: &World, act: impl FnOnce() -> T) -> T {
    let daemon = Pid::from_raw(world.daemon.pid());
    kill(daemon, Signal::SIGSTOP).expect("it runs");
    wait_until_stopped(world.daemon.pid());
    let result = act();
    kill(daemon, Signal::SIGCONT).expect("it is stopped");
    result
}

/// A thread that runs on another CPU stops a moment after the signal was sent, and would accept
/// until then.
fn wait_until_stopped(pid: i32) {
    let end = Instant::now() + patience(Duration::from_secs(2));
    while !threads_of(pid).into_iter().all(|thread| state(thread) == Some('T')) {
        assert!(Instant::now() < end, "process {pid} does not stop");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn threads_of(pid: i32) -> Vec<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    let number = |name: std::ffi::OsString| name.to_str()?.parse().ok();
    tasks.map(|task| number(task.expect("it lives").file_name()).expect("a number")).collect()
}

/// What becomes of a connection whose maker ends before the daemon looks, and the process that has
/// its number then: `start` starts it, with the connection at hand.
fn recycled(
    world: &World,
    connector: impl Fn() -> Peer,
    start: impl Fn(&UnixStream) -> Sleeper,
) -> (client::Result<Client>, Sleeper) {
    for _ in 0..TIMES {
        let mut peer = connector();
        let (stream, heir) = before_the_look(world, || {
            let stream = peer.stream(&world.daemon.socket());
            let number = peer.pid();
            peer.kill();
            let heir = heir_that(number, || start(&stream));
            (stream, heir)
        });
        if let Some(heir) = heir {
            return (Client::try_over(stream), heir);
        }
    }
    panic!("no process got the number");
}

/// The daemon hung up, and says why.
fn is_refused(world: &World, result: &client::Result<Client>) {
    let client = result.as_ref().ok();
    assert!(client.is_none(), "served as {:?}", client.map(Client::who_am_i));
    let end = Instant::now() + patience(Duration::from_secs(2));
    while !world.daemon.log().contains("a connection was refused: ") {
        assert!(Instant::now() < end, "{result:?}\n{}", world.daemon.log());
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn is_served(client: &Client, class: &str) {
    assert_eq!(client.class(), class);
}

/// Whether the process that connected must hold the connection.
fn must_hold_its_end() -> bool {
    Need::PeerPidfd.missing().is_some()
}

/// Root in a container without a user namespace would become the host's.
fn confined(world: &World) -> Peer {
    let mut peer = world.peer_in("box");
    peer.cgroup_ns();
    peer
}

fn user() -> Peer {
    let mut peer = Peer::start();
    peer.ids(ALICE, ALICE, &[]);
    peer
}

fn case_71_a_recycled_number_of_host_roots(world: &World) {
    world.cgroups.make("box");
    let (result, _heir) = recycled(world, || confined(world), |_| Sleeper::start(0));
    is_refused(world, &result);
}

fn case_71_a_recycled_number_of_the_same_user(world: &World) {
    let (result, _heir) = recycled(world, user, |_| Sleeper::start(ALICE));
    is_refused(world, &result);
}

/// An accomplice on the host would lend a container's root its namespaces.
fn case_71_a_recycled_number_that_holds_the_end_with_other_ids(world: &World) {
    world.cgroups.make("box");
    let accomplice = |end: &UnixStream| {
        Sleeper::holding(ALICE, OwnedFd::from(end.try_clone().expect("descriptors are left")))
    };
    let (result, _heir) = recycled(world, || confined(world), accomplice);
    is_refused(world, &result);
}

/// The twins: they live. The peer holds a copy of the end, not the descriptor that it connected.
fn case_71_a_process_that_lives(world: &World) {
    world.cgroups.make("box");
    let root = Peer::start();
    for (mut peer, class) in [(root, "host-root"), (user(), "user"), (confined(world), "user")] {
        let stream = before_the_look(world, || peer.stream(&world.daemon.socket()));
        is_served(&Client::over(stream), class);
    }
}

fn case_71_a_process_in_another_network_namespace(world: &World) {
    let mut peer = Peer::start();
    peer.network_ns();
    peer.ids(ALICE, ALICE, &[]);
    is_served(&world.calls(peer), "user");
    // It may leave that namespace again.
    let mut peer = Peer::start();
    let stream = before_the_look(world, || {
        let stream = peer.stream(&world.daemon.socket());
        peer.network_ns();
        stream
    });
    is_served(&Client::over(stream), "host-root");
}

fn case_71_a_process_in_a_container(world: &World) {
    world.cgroups.make_for("box", RANGE);
    let mut peer = world.peer_in("box");
    peer.user_ns(Map::Range(RANGE));
    peer.cgroup_ns();
    peer.network_ns();
    peer.pid_ns();
    is_served(&world.calls(peer), "namespace-root");
}

/// Its maker lives, but does not hold it any more.
fn case_71_an_end_that_was_passed_on(world: &World) {
    let mut peer = user();
    let stream = before_the_look(world, || {
        let stream = peer.stream(&world.daemon.socket());
        peer.let_go();
        stream
    });
    if must_hold_its_end() {
        is_refused(world, &Client::try_over(stream));
    } else {
        is_served(&Client::over(stream), "user");
    }
}

/// The ids at connect count; but without the kernel's word this may be a recycled number.
fn case_71_ids_that_were_given_up_before_the_look(world: &World) {
    let mut peer = Peer::start();
    let stream = before_the_look(world, || {
        let stream = peer.stream(&world.daemon.socket());
        peer.ids(ALICE, ALICE, &[]);
        stream
    });
    if must_hold_its_end() {
        is_refused(world, &Client::try_over(stream));
    } else {
        Client::over(stream).who_am_i().unwrap();
    }
}
