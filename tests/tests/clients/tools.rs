//! busctl (sd-bus), dbus-send (libdbus) and gdbus (GLib) on the private socket.

use std::process::Command;

use cgroupd_proto::{METHODS, PROPERTIES};
use cgroupd_tests::hierarchies;
use cgroupd_tests::need::skip;
use cgroupd_tests::peer::{ALICE, Map, Peer, RANGE};
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

use crate::{Done, run};

pub(crate) const TESTS: &[Test] = &tests![needs DbusTools:
    busctl_calls,
    busctl_shows_errors,
    busctl_introspects,
    busctl_lists,
    dbus_send_calls,
    gdbus_calls,
];

pub(crate) const USER_NS_TESTS: &[Test] = &tests![needs UserNs:
    case_09_every_client_from_every_namespace,
];

const NAME: [&str; 3] = ["org.cgroupd1", "/org/cgroupd1", "org.cgroupd1.Manager"];

fn busctl(world: &World, arguments: &[&str]) -> Done {
    let mut command = Command::new("busctl");
    command.arg(format!("--address={}", world.daemon.address())).arg("--no-pager").args(arguments);
    run(command)
}

#[track_caller]
fn well(done: Done) -> String {
    assert_eq!(done.status, Some(0), "{done:?}");
    done.out
}

fn busctl_calls(world: &World) {
    let call = |arguments: &[&str]| busctl(world, &[&["call"], &NAME[..], arguments].concat());
    let out = well(call(&["Create", "sasa{ss}ahas", "a", "0", "0", "0", "1", "must-create"]));
    assert!(out.starts_with("sasb \"/a\" ") && out.trim_end().ends_with("true"), "{out}");
    assert!(world.cgroups.is_everywhere("a"));
    let sleeper = Sleeper::start(ALICE);
    let pid = sleeper.pid().to_string();
    well(call(&["AttachPids", "sauas", "a", "1", &pid, "0"]));
    assert!(world.cgroups.all_hold("a", sleeper.pid()));
    assert_eq!(well(call(&["Processes", "sas", "a", "0"])), format!("au 1 {pid}\n"));
    drop(sleeper);
    assert_eq!(well(call(&["Remove", "sas", "a", "0"])), "b true\n");
    assert!(world.cgroups.is_nowhere("a"));
}

fn busctl_shows_errors(world: &World) {
    let call = |arguments: &[&str]| busctl(world, &[&["call"], &NAME[..], arguments].concat());
    let done = call(&["Remove", "sas", "nowhere", "0"]);
    assert_eq!(done.status, Some(1));
    assert!(done.err.contains("cannot remove nowhere: no such cgroup"), "{done:?}");
    assert_ne!(call(&["Nonsense"]).status, Some(0));
    assert_ne!(call(&["Remove", "s", "a"]).status, Some(0));
}

fn busctl_introspects(world: &World) {
    let out = well(busctl(world, &["introspect", NAME[0], NAME[1]]));
    for name in METHODS.iter().map(|m| m.member).chain(PROPERTIES.iter().map(|p| p.name)) {
        assert!(out.contains(&format!(".{name} ")), "{name} is not in\n{out}");
    }
    let out = well(busctl(world, &[&["get-property"], &NAME[..], &["Version", "Layout"]].concat()));
    assert!(out.starts_with(&format!("s \"{}\"\n", env!("CARGO_PKG_VERSION"))), "{out}");
}

fn busctl_lists(world: &World) {
    let out = well(busctl(world, &["tree", NAME[0]]));
    assert!(out.contains("/org/cgroupd1"), "{out}");
    let out = well(busctl(world, &["list"]));
    assert!(out.contains("org.cgroupd1"), "{out}");
}

fn dbus_send_calls(world: &World) {
    world.root.create("a").unwrap();
    for option in ["--bus", "--peer", "--address"] {
        let send = |arguments: &[&str]| {
            let mut command = Command::new("dbus-send");
            command.arg(format!("{option}={}", world.daemon.address()));
            command.args(["--print-reply", "--dest=org.cgroupd1", "/org/cgroupd1"]);
            command.arg(format!("org.cgroupd1.Manager.{}", arguments[0])).args(&arguments[1..]);
            run(command)
        };
        assert!(well(send(&["WhoAmI"])).contains("host-root"), "{option}");
        let list = ["List", "string:", "uint32:0", "string:", "uint32:0", "array:string:"];
        assert!(well(send(&list)).contains("string \"/a\""), "{option}");
        let done = send(&["Remove", "string:nowhere", "array:string:"]);
        assert!(done.err.contains("org.cgroupd1.Error.NotFound"), "{option}: {done:?}");
    }
}

fn gdbus_calls(world: &World) {
    world.root.create("a/b").unwrap();
    let gdbus = |arguments: &[&str]| {
        let mut command = Command::new("gdbus");
        command.arg(arguments[0]).args(["--address", &world.daemon.address()]);
        command.args(["--dest", NAME[0], "--object-path", NAME[1]]).args(&arguments[1..]);
        run(command)
    };
    let list = ["call", "--method", "org.cgroupd1.Manager.List", "", "0", "", "0", "[]"];
    let out = well(gdbus(&list));
    assert!(out.contains("'/a'") && out.contains("'/a/b'"), "{out}");
    let remove = ["call", "--method", "org.cgroupd1.Manager.Remove", "a", "['recursive']"];
    assert_eq!(well(gdbus(&remove)), "(true,)\n");
    assert!(world.cgroups.is_nowhere("a"));
    let done = gdbus(&remove);
    assert!(done.err.contains("org.cgroupd1.Error.NotFound"), "{done:?}");
    assert!(well(gdbus(&["introspect"])).contains("AttachPids"));
}

/// Each of them claims another uid in its handshake, or none; the class is the kernel's word.
fn case_09_every_client_from_every_namespace(world: &World) {
    if let Some(why) = cgroupd_tests::need::Need::DbusTools.missing() {
        return skip("bus", why);
    }
    world.cgroups.make_for("home", ALICE);
    let peer = |prepare: &dyn Fn(&mut Peer)| {
        let mut peer = world.peer_in("home");
        prepare(&mut peer);
        peer
    };
    let own = |peer: &mut Peer| {
        peer.ids(ALICE, ALICE, &[]);
        peer.user_ns(Map::Own);
    };
    let nested = |peer: &mut Peer| {
        peer.user_ns(Map::Range(RANGE));
        peer.ids(1000, 1000, &[]);
        peer.user_ns(Map::Own);
    };
    let unmapped = |peer: &mut Peer| {
        peer.ids(ALICE, ALICE, &[]);
        peer.user_ns(Map::Nothing);
    };
    let ordinary = |peer: &mut Peer| {
        peer.user_ns(Map::Range(RANGE));
        peer.ids(1000, 1000, &[]);
    };
    // With ids that have no number the kernel takes no credentials, which GLib insists to send.
    every_client(world, &mut peer(&unmapped), "user", &["busctl", "dbus-send"]);
    for (mut peer, class) in [
        (peer(&|_| {}), "host-root"),
        (peer(&|peer| peer.ids(ALICE, ALICE, &[])), "user"),
        (peer(&own), "namespace-root"),
        (peer(&|peer| peer.user_ns(Map::Range(RANGE))), "namespace-root"),
        (peer(&nested), "namespace-root"),
        (peer(&ordinary), "user"),
    ] {
        every_client(world, &mut peer, class, &["busctl", "dbus-send", "gdbus"]);
    }
}

fn every_client(world: &World, peer: &mut Peer, class: &str, programs: &[&str]) {
    let address = world.daemon.address();
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let [name, path, interface] = NAME;
    for command in [
        words(&format!("busctl --address={address} call {name} {path} {interface} WhoAmI")),
        words(&format!("dbus-send --peer={address} --print-reply {path} {interface}.WhoAmI")),
        words(&format!(
            "gdbus call --address {address} --dest {name} --object-path {path} --method {interface}.WhoAmI"
        )),
    ] {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        if !programs.contains(&command[0]) {
            continue;
        }
        let output = peer.run(&command);
        assert_eq!(output.status, 0, "{class} {command:?}: {}", output.text);
        assert!(output.text.contains(class), "{class} {command:?}: {}", output.text);
    }
    let first = hierarchies::implied().next().unwrap();
    assert!(world.cgroups.procs(first, "home").contains(&peer.pid()));
}
