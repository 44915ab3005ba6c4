//! Coming to the bus, and coming back.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use cgroupd_proto::{BUS_NAME, OBJECT_PATH};
use cgroupd_tests::bus::{Bus, Strictness};

use crate::daemon::{Daemon, connect, ping};
use crate::role::{Actor, NOBODY, Role};

pub(crate) fn joins_and_answers() {
    let bus = Bus::running(Strictness::System);
    let _daemon = Daemon::joined(&bus);
    let sent = run(
        &bus,
        "dbus-send",
        &[
            "--system",
            "--print-reply",
            &format!("--dest={BUS_NAME}"),
            OBJECT_PATH,
            "org.freedesktop.DBus.Peer.Ping",
        ],
    );
    assert!(sent.status.success(), "{sent:?}");
    if Command::new("busctl").arg("--version").output().is_ok() {
        let called = run(
            &bus,
            "busctl",
            &["call", BUS_NAME, OBJECT_PATH, "org.freedesktop.DBus.Peer", "Ping"],
        );
        assert!(called.status.success(), "{called:?}");
    }
    let mut nobody = Actor::start(Role::Client, NOBODY, &bus);
    assert_eq!(nobody.say("ping"), "ok");
}

fn run(bus: &Bus, program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).env("DBUS_SYSTEM_BUS_ADDRESS", bus.address());
    command.output().expect("it comes with dbus-daemon, or was found")
}

pub(crate) fn starts_before_the_bus() {
    let mut bus = Bus::prepare(Strictness::System);
    let daemon = Daemon::start(&bus);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(daemon.clients(), 0);
    bus.start();
    daemon.wait_joined(&bus, Duration::from_secs(2));
}

pub(crate) fn survives_a_restart() {
    let mut bus = Bus::running(Strictness::System);
    let daemon = Daemon::joined(&bus);
    for _ in 0..3 {
        daemon.block_on(async { ping(&connect(&bus).await).await.expect("joined") });
        bus.stop();
        daemon.wait_clients(0);
        bus.start();
        let start = Instant::now();
        daemon.wait_joined(&bus, Duration::from_secs(2));
        println!("joined again after {:?}", start.elapsed());
    }
}

pub(crate) fn waits_for_the_name() {
    let bus = Bus::running(Strictness::System);
    let other = Daemon::joined(&bus);
    let daemon = Daemon::start(&bus);
    std::thread::sleep(Duration::from_millis(500));
    let client = daemon.block_on(connect(&bus));
    daemon.block_on(ping(&client)).expect("somebody owns it");
    assert_eq!((other.clients(), daemon.clients()), (1, 0), "the first one keeps it");
    drop(other);
    daemon.wait_joined(&bus, Duration::from_secs(3));
    daemon.block_on(ping(&client)).expect("the second one has it now");
    assert_eq!(daemon.clients(), 1);
}

/// Before anybody has called, and whichever process the bus is by now.
pub(crate) fn the_bus_is_stopped_by_nobody() {
    let mut bus = Bus::running(Strictness::System);
    let daemon = Daemon::joined(&bus);
    daemon.wait_guarded(bus.pid());
    bus.stop();
    bus.start();
    daemon.wait_guarded(bus.pid());
}
