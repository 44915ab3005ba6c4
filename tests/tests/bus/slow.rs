//! One connection carries the answers of all clients: neither a call that takes long nor an answer
//! that is long is anybody's but its caller's.

use std::time::{Duration, Instant};

use cgroupd::cgroup::Layout;
use cgroupd::transport::Limits;
use cgroupd_proto::{BUS_NAME, INTERFACE, OBJECT_PATH};
use cgroupd_tests::bus::{Bus, Strictness};
use cgroupd_tests::cgroups::Cgroups;
use cgroupd_tests::need::patience;
use cgroupd_tests::peer::misfit::Misfit;
use cgroupd_tests::wire::Wire;
use zbus::Message;

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
