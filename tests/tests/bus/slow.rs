//! One connection carries the answers of all clients: neither a call that takes long nor an answer
//! that is long is anybody's but its caller's.

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use cgroupd::cgroup::Layout;
use cgroupd::transport::Limits;
use cgroupd_proto::{BUS_NAME, INTERFACE, OBJECT_PATH};
use cgroupd_tests::bus::{Bus, Strictness};
use cgroupd_tests::cgroups::Cgroups;
use cgroupd_tests::lingering::slow_to_close;
use cgroupd_tests::need::patience;
use cgroupd_tests::peer::misfit::Misfit;
use cgroupd_tests::wire::Wire;
use cgroupd_tests::world::Sleeper;
use zbus::{Connection, Fd, Message};

use crate::daemon::{Daemon, connect, ping, ping_call, who_am_i_call};

/// How long the slow call waits, in seconds, before it is told that it failed.
const SLOW: u64 = 3;

fn wire(bus: &Bus) -> Wire {
    let mut wire = Wire::connect(&bus.socket()).expect("the bus runs");
    wire.hello().expect("the bus answers");
    wire
}

/// A freeze that waits for a process which cannot be frozen, behind calls that are answered at once:
/// their answers are on their way when it begins.
pub(crate) fn case_65_a_slow_call_delays_its_sender_alone() {
    let bus = Bus::running(Strictness::System);
    let cgroups = Cgroups::new("bus");
    cgroups.make("a");
    let dir = tempfile::tempdir().expect("a directory of our own");
    let stuck = Misfit::stuck(&cgroups, "a", dir.path());
    let layout = Layout::detect(&cgroups.path()).expect("cgroup file systems");
    let limits = Limits { change_seconds: SLOW, ..Limits::default() };
    let daemon = Daemon::of(&bus, layout, limits, false);
    daemon.wait_joined(&bus, Duration::from_secs(5));
    let honest = daemon.block_on(connect(&bus));
    daemon.block_on(ping(&honest)).expect("joined");
    let mut hasty = wire(&bus);
    assert!(!hasty.call(&who_am_i_call()).expect("answered").is_error());

    let freeze = Message::method_call(OBJECT_PATH, "Freeze").destination(BUS_NAME);
    let freeze = freeze.interface(INTERFACE).build(&("/a", Vec::<&str>::new())).expect("valid");
    let (began, mut slowest) = (Instant::now(), Duration::ZERO);
    // As many as may wait: when the slow one is begun, the answer before is on its way.
    let pings: Vec<u8> = (0..14).flat_map(|_| ping_call().data().to_vec()).collect();
    hasty.send_bytes(&[&pings[..], freeze.data()].concat()).expect("sent");
    while began.elapsed() < Duration::from_secs(SLOW - 1) {
        let start = Instant::now();
        daemon.block_on(ping(&honest)).expect("answered all the same");
        slowest = slowest.max(start.elapsed());
    }
    assert!(slowest < patience(Duration::from_secs(1)), "{slowest:?}");
    assert!(!hasty.next_reply().expect("the ping is answered").is_error());
    let told = hasty.reply_to(freeze.primary_header().serial_num().get()).expect("answered");
    assert!(told.text().contains("TimedOut"), "{}", told.text());
    drop(stuck);
}

pub(crate) fn case_65_a_long_reply_is_an_error_to_its_caller_alone() {
    let bus = Bus::running(Strictness::System);
    let limits = Limits { message_out: 64, ..Limits::default() };
    let daemon = Daemon::with(&bus, limits, false);
    daemon.wait_joined(&bus, Duration::from_secs(5));
    let mut client = wire(&bus);
    let told = client.call(&who_am_i_call()).expect("answered");
    assert!(told.is_error() && told.text().contains("LimitsExceeded"), "{}", told.text());
    assert!(told.text().contains("the limit is 64"), "{}", told.text());
    assert!(!client.call(&ping_call()).expect("answered").is_error(), "a short one");
    assert_eq!(daemon.clients(), 1, "the connection to the bus was never lost");
}

/// Each pidfd arrives with its own call, however many calls come at once.
pub(crate) fn descriptors_come_with_their_own_call() {
    let bus = Bus::running(Strictness::System);
    let cgroups = Cgroups::new("bus");
    let sleepers: Vec<_> = (0..6).map(|_| Sleeper::start(0)).collect();
    (0..6).for_each(|n| cgroups.make(&format!("a{n}")));
    let daemon = Daemon::managing(&bus, &cgroups);
    daemon.wait_joined(&bus, Duration::from_secs(5));
    let client = daemon.block_on(connect(&bus));
    daemon.block_on(async {
        let attach = |n: usize| attach(&client, format!("/a{n}"), &sleepers[n]);
        let mut calls = tokio::task::JoinSet::new();
        for n in 0..6 {
            calls.spawn(attach(n));
            let client = client.clone();
            calls.spawn(async move { ping(&client).await });
        }
        while let Some(answer) = calls.join_next().await {
            answer.expect("no panic").expect("answered");
        }
    });
    for (n, sleeper) in sleepers.iter().enumerate() {
        assert!(cgroups.all_hold(&format!("a{n}"), sleeper.pid()), "{n}");
    }
}

fn attach(
    client: &Connection,
    path: String,
    sleeper: &Sleeper,
) -> impl Future<Output = zbus::Result<Message>> + use<> {
    let (client, pidfd) = (client.clone(), sleeper.pidfd().try_clone_to_owned());
    async move {
        let pidfds = [Fd::from(pidfd.expect("descriptors are left"))];
        let body = (path, &pidfds[..], Vec::<&str>::new());
        client.call_method(Some(BUS_NAME), OBJECT_PATH, Some(INTERFACE), "Attach", &body).await
    }
}

/// Sockets that take a minute to close, with calls that want none: others wait for none of them.
pub(crate) fn case_62_descriptors_that_linger_hold_up_nobody() {
    let bus = Bus::running(Strictness::System);
    let daemon = Daemon::joined(&bus);
    let honest = daemon.block_on(connect(&bus));
    daemon.block_on(ping(&honest)).expect("joined");
    let hostile = daemon.block_on(connect(&bus));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    for _ in 0..3 {
        let slow = slow_to_close(&listener);
        let call = Message::method_call(OBJECT_PATH, "WhoAmI").destination(BUS_NAME);
        let call = call.interface(INTERFACE).build(&(Fd::from(slow.as_fd()),)).expect("valid");
        daemon.block_on(hostile.send(&call)).expect("sent");
        // If the daemon was faster, this is the one that lingers.
        std::thread::spawn(move || drop((call, slow)));
        let began = Instant::now();
        daemon.block_on(ping(&honest)).expect("answered all the same");
        assert!(began.elapsed() < patience(Duration::from_secs(1)), "{:?}", began.elapsed());
    }
    assert_eq!(daemon.clients(), 2, "the connection to the bus was never lost");
}
