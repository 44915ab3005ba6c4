//! Many calls and many clients: who sends them pays for them.

use std::time::{Duration, Instant};

use cgroupd::transport::Limits;
use cgroupd_tests::bus::{Bus, Strictness};
use cgroupd_tests::need::{is_translated, patience};
use cgroupd_tests::wire::Wire;
use zbus::Connection;

use crate::daemon::{Daemon, connect, ping, ping_call, who_am_i_call};
use crate::role::{Actor, NOBODY, Role};

/// How many calls a flood has. The bus queues all of them: the more, the longer others wait for
/// it, whoever reads.
fn flood_of() -> usize {
    if is_translated() { 1000 } else { 5000 }
}

/// How long an honest call may take meanwhile. It queues behind the flood in the bus itself, so
/// this measures how fast the daemon reads, which without optimisation is ten times slower.
const BOUND: Duration = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });

pub(crate) fn a_flood_delays_its_sender_alone() {
    let bus = Bus::running(Strictness::System);
    let daemon = Daemon::joined(&bus);
    let honest = acquainted(&bus, &daemon);
    let mut flood = wire(&bus);
    let calls = flood_of();
    let mut replies = flood.try_clone().expect("descriptors are left");
    let sender = std::thread::spawn(move || {
        (0..calls).for_each(|_| flood.send(&who_am_i_call()).expect("the bus takes it"));
    });
    // Some the bus itself refuses: it forwards only so many calls that wait for an answer.
    let reader = std::thread::spawn(move || {
        let answers = (0..calls).map(|_| replies.next_reply().expect("every call is answered"));
        answers.filter(|answer| answer.text().contains("too many calls of this connection")).count()
    });
    let slowest = slowest_ping(&honest, &daemon, || reader.is_finished());
    sender.join().expect("sent");
    let refused = reader.join().expect("read");
    println!("{refused} of {calls} refused; slowest of the honest pings {slowest:?}");
    assert!(refused > 0 && refused < calls);
    assert!(slowest < patience(BOUND), "{slowest:?}");
}

/// Calls that wait for no answer are held back by nothing on the way.
pub(crate) fn a_silent_flood_delays_its_sender_alone() {
    let bus = Bus::running(Strictness::System);
    let daemon = Daemon::joined(&bus);
    let honest = acquainted(&bus, &daemon);
    let mut flood = wire(&bus);
    let mut call = who_am_i_call().data().to_vec();
    call[2] |= 1;
    let sender = std::thread::spawn(move || {
        (0..flood_of()).for_each(|_| flood.send_bytes(&call).expect("the bus takes it"));
        flood
    });
    let slowest = slowest_ping(&honest, &daemon, || sender.is_finished());
    println!("slowest of the honest pings {slowest:?}");
    assert!(slowest < patience(BOUND), "{slowest:?}");
    assert_eq!(daemon.clients(), 2);
}

fn slowest_ping(honest: &Connection, daemon: &Daemon, is_over: impl Fn() -> bool) -> Duration {
    let mut slowest = Duration::ZERO;
    while !is_over() {
        let start = Instant::now();
        daemon.block_on(ping(honest)).expect("answered all the same");
        slowest = slowest.max(start.elapsed());
    }
    slowest
}

/// A client that the daemon knows already.
fn acquainted(bus: &Bus, daemon: &Daemon) -> Connection {
    let honest = daemon.block_on(connect(bus));
    daemon.block_on(ping(&honest)).expect("joined");
    honest
}

pub(crate) fn calls_are_answered_in_order() {
    let bus = Bus::running(Strictness::System);
    let _daemon = Daemon::joined(&bus);
    let mut client = wire(&bus);
    // The slow one is first; as many as may wait follow.
    let calls: Vec<_> =
        std::iter::once(who_am_i_call()).chain((0..15).map(|_| ping_call())).collect();
    let bytes: Vec<u8> = calls.iter().flat_map(|call| call.data().to_vec()).collect();
    client.send_bytes(&bytes).expect("sent");
    for call in &calls {
        let answer = client.next_reply().expect("answered");
        assert_eq!(answer.reply_serial(), Some(call.primary_header().serial_num().get()));
        assert!(!answer.is_error(), "{}", answer.text());
    }
}

pub(crate) fn clients_are_freed() {
    let bus = Bus::running(Strictness::System);
    let daemon = Daemon::joined(&bus);
    let mut wires: Vec<Wire> = (0..20).map(|_| wire(&bus)).collect();
    for wire in &mut wires {
        assert!(!wire.call(&ping_call()).expect("answered").is_error());
    }
    assert_eq!(daemon.clients(), 20);
    wires.truncate(5);
    daemon.wait_clients(5);
    wires.clear();
    daemon.wait_clients(0);
    // Calls that nobody waits for leave nothing behind, either.
    for _ in 0..20 {
        let mut hasty = wire(&bus);
        for _ in 0..10 {
            hasty.send(&who_am_i_call()).expect("sent");
        }
    }
    daemon.wait_clients(0);
}

pub(crate) fn one_user_has_its_share() {
    let bus = Bus::running(Strictness::System);
    let limits = Limits { connections_per_key: 3, ..Limits::default() };
    let daemon = Daemon::with(&bus, limits, false);
    daemon.wait_joined(&bus, Duration::from_secs(5));
    let mut actors: Vec<Actor> = (0..4).map(|_| Actor::start(Role::Client, NOBODY, &bus)).collect();
    let answers: Vec<String> = actors.iter_mut().map(|actor| actor.say("ping")).collect();
    let refused = "error org.freedesktop.DBus.Error.LimitsExceeded";
    assert_eq!(answers, ["ok", "ok", "ok", refused]);
    let mut other = wire(&bus);
    assert!(!other.call(&ping_call()).expect("answered").is_error(), "root has its own share");
    actors.remove(0);
    daemon.wait_clients(3);
    assert_eq!(actors[2].say("ping"), "ok", "room again");
}

fn wire(bus: &Bus) -> Wire {
    let mut wire = Wire::connect(&bus.socket()).expect("the bus runs");
    wire.hello().expect("the bus answers");
    wire
}
