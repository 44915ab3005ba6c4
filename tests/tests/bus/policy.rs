//! What the packaged policy file lets through.

use cgroupd_proto::{BUS_NAME, OBJECT_PATH};
use cgroupd_tests::bus::{Bus, Strictness};
use zbus::Message;

use crate::daemon::{Daemon, connect};

const DRIVER: &str = "org.freedesktop.DBus";
const DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";

pub(crate) fn only_root_may_own_the_name() {
    let bus = Bus::running(Strictness::System);
    let claim = |uid: u32| {
        let address = format!("--bus={}", bus.address());
        let mut command = std::process::Command::new("setpriv");
        command.args([&format!("--reuid={uid}"), "--clear-groups", "dbus-send", &address]);
        command.args(["--print-reply", &format!("--dest={DRIVER}"), "/org/freedesktop/DBus"]);
        command.args(["org.freedesktop.DBus.RequestName", &format!("string:{BUS_NAME}")]);
        command.arg("uint32:4").output().expect("it comes with dbus-daemon")
    };
    let refused = claim(65534);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains(DENIED), "{refused:?}");
    let owned = claim(0);
    assert!(owned.status.success(), "{owned:?}");
}

pub(crate) fn only_known_calls_pass() {
    let bus = Bus::running(Strictness::System);
    let daemon = Daemon::joined(&bus);
    let client = daemon.block_on(connect(&bus));
    let answer = |interface: &str, member: &str, body: &(&str,)| {
        let call = async {
            let method =
                client.call_method(Some(BUS_NAME), OBJECT_PATH, Some(interface), member, body);
            method.await.map(drop)
        };
        daemon.block_on(call).map_err(|error| error.to_string())
    };
    let standard = "org.freedesktop.DBus";
    answer(&format!("{standard}.Properties"), "GetAll", &(cgroupd_proto::INTERFACE,))
        .expect("allowed");
    let refused = answer("org.example.Other", "Do", &("",)).expect_err("not ours");
    assert!(refused.contains("AccessDenied") || refused.contains(DENIED), "{refused}");
    let refused =
        answer("org.linuxcontainers.cgmanager0_0", "Create", &("",)).expect_err("not here");
    assert!(refused.contains("Rejected send message"), "the bus itself refuses: {refused}");

    let signal = Message::signal(OBJECT_PATH, cgroupd_proto::INTERFACE, "Made");
    let signal = signal.destination(BUS_NAME).build(&()).expect("valid");
    daemon.block_on(client.send(&signal)).expect("sent");
    answer(&format!("{standard}.Properties"), "GetAll", &(cgroupd_proto::INTERFACE,))
        .expect("still there");
}
