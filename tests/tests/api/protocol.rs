//! The D-Bus side: properties, introspection, and calls that are not in the table.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use cgroupd_proto::{BUS_NAME, ErrorName, INTERFACE, METHODS, OBJECT_PATH, PROPERTIES, cgmanager};
use cgroupd_tests::client::{fault, refused};
use cgroupd_tests::hierarchies::{self, Version};
use cgroupd_tests::need::patience;
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;
use zbus::message::Flags;
use zbus::{Message, Variant};

pub(crate) const TESTS: &[Test] = &tests![
    properties_say_what_is_there,
    properties_one_by_one_and_all,
    properties_are_not_set,
    introspection_is_the_table,
    unknown_things_have_their_names,
    signatures_are_checked,
    unknown_flags_are_refused_by_every_method,
    an_interface_may_be_left_out,
    other_destinations_are_not_here,
    no_reply_is_no_reply,
    peer_and_driver,
    who_host_root_is,
];

const PROPERTIES_INTERFACE: Option<&str> = Some("org.freedesktop.DBus.Properties");

fn properties_say_what_is_there(world: &World) {
    let manager = world.root.manager();
    let version = |version| hierarchies::all().iter().any(|h| h.version == version);
    let layout = match (version(Version::V1), version(Version::V2)) {
        (true, true) => "hybrid",
        (true, false) => "legacy",
        _ => "unified",
    };
    assert_eq!(world.root.wait(manager.layout()).unwrap(), layout);
    assert_eq!(world.root.wait(manager.version()).unwrap(), env!("CARGO_PKG_VERSION"));
    let rows = world.root.wait(manager.controllers()).unwrap();
    for hierarchy in hierarchies::implied() {
        for controller in &hierarchy.controllers {
            let row = rows.iter().find(|(name, _)| name == controller);
            let (_, row) = row.unwrap_or_else(|| panic!("{controller} is not listed"));
            assert_eq!(row["hierarchy"], hierarchy.label);
            assert_eq!(row["mount"], hierarchy.mount.display().to_string());
            assert_eq!(row["version"], "1");
        }
    }
    assert_eq!(rows.iter().any(|(name, _)| name == "unified"), hierarchies::v2().is_some());
}

fn properties_one_by_one_and_all(world: &World) {
    for interface in [INTERFACE, ""] {
        let reply =
            world.root.call_at(OBJECT_PATH, PROPERTIES_INTERFACE, "GetAll", &(interface,)).unwrap();
        let body = reply.body();
        let all: HashMap<String, Variant<'_>> = body.deserialize().unwrap();
        assert_eq!(all.len(), PROPERTIES.len());
        for property in PROPERTIES {
            let get = (interface, property.name);
            let reply = world.root.call_at(OBJECT_PATH, PROPERTIES_INTERFACE, "Get", &get).unwrap();
            let body = reply.body();
            let value: Variant<'_> = body.deserialize().unwrap();
            assert_eq!(value, all[property.name]);
            assert_eq!(value.value_signature().to_string(), property.signature);
        }
    }
}

fn properties_are_not_set(world: &World) {
    let body = (INTERFACE, "Version", Variant::from("x"));
    let result = world.root.call_at(OBJECT_PATH, PROPERTIES_INTERFACE, "Set", &body);
    fault(result, "PropertyReadOnly");
}

fn introspection_is_the_table(world: &World) {
    let interface = Some("org.freedesktop.DBus.Introspectable");
    let read = |path: &str| -> String {
        let reply = world.root.call_at(path, interface, "Introspect", &()).unwrap();
        reply.body().deserialize().unwrap()
    };
    let xml = read(OBJECT_PATH);
    for method in METHODS {
        assert!(xml.contains(&format!("<method name=\"{}\"", method.member)), "{}", method.member);
    }
    for property in PROPERTIES {
        assert!(xml.contains(&format!("<property name=\"{}\"", property.name)));
    }
    assert!(read("/").contains("<node name=\"org\""));
    let org = read("/org");
    assert!(org.contains("<node name=\"cgroupd1\"") && !org.contains("linuxcontainers"), "{org}");
    for path in [cgmanager::OBJECT_PATH, "/org/linuxcontainers"] {
        fault(world.root.call_at(path, interface, "Introspect", &()), "UnknownObject");
    }
}

fn unknown_things_have_their_names(world: &World) {
    let call = |path, interface, member| world.root.call_at(path, interface, member, &());
    fault(call(OBJECT_PATH, Some(INTERFACE), "Nonsense"), "UnknownMethod");
    fault(call(OBJECT_PATH, None, "Nonsense"), "UnknownMethod");
    fault(call(OBJECT_PATH, Some("org.example.Nonsense"), "WhoAmI"), "UnknownInterface");
    fault(call("/org/nonsense", Some(INTERFACE), "WhoAmI"), "UnknownObject");
    fault(call("/org/cgroupd1/below", Some(INTERFACE), "WhoAmI"), "UnknownObject");
    fault(call("/org", Some(INTERFACE), "WhoAmI"), "UnknownMethod");
    let get = |interface, name| {
        world.root.call_at(OBJECT_PATH, PROPERTIES_INTERFACE, "Get", &(interface, name))
    };
    fault(get(INTERFACE, "Nonsense"), "UnknownProperty");
    fault(get("org.example.Nonsense", "Version"), "UnknownInterface");
    get(INTERFACE, "Version").unwrap();
}

fn signatures_are_checked(world: &World) {
    unchanged(&world.cgroups, || {
        for method in METHODS {
            let text = fault(world.root.call(method.member, &(7_u64,)), "InvalidArgs");
            assert!(text.contains(method.member) && text.contains(&method.signature()), "{text}");
            if !method.input.is_empty() {
                fault(world.root.call(method.member, &()), "InvalidArgs");
            }
        }
        fault(world.root.call("Remove", &("a", "recursive")), "InvalidArgs");
        fault(world.root.call("Remove", &("a", Vec::<&str>::new(), 1_u32)), "InvalidArgs");
    });
}

fn unknown_flags_are_refused_by_every_method(world: &World) {
    world.root.create("a").unwrap();
    let flags = &["nonsense"];
    let none = HashMap::new();
    let manager = world.root.manager();
    unchanged(&world.cgroups, || {
        let root = &world.root;
        let bad = ErrorName::InvalidArgument;
        refused(root.create_with("b", &[], flags), bad);
        refused(root.remove("a", flags), bad);
        refused(root.attach("a", &[], flags), bad);
        refused(root.attach_pids("a", &[2], flags), bad);
        refused(root.wait(manager.set_limits("a", &none, flags)), bad);
        refused(root.wait(manager.write_file("a", "pids.max", "1", flags)), bad);
        refused(root.wait(manager.list("a", 0, "", 0, flags)), bad);
        refused(root.processes("a", flags), bad);
        refused(root.cgroup_of(0, flags), bad);
        refused(root.chown("a", 1, 1, flags), bad);
        refused(root.wait(manager.chmod("a", "", 0o700, flags)), bad);
        refused(root.remove("a", &["recursive", "nonsense"]), bad);
        refused(root.remove("a", &["Recursive"]), bad);
        refused(root.remove("a", &[""]), bad);
    });
    world.root.remove("a", &["recursive", "recursive"]).unwrap();
}

fn an_interface_may_be_left_out(world: &World) {
    let reply = world.root.call_at(OBJECT_PATH, None, "Remove", &("a", Vec::<&str>::new()));
    refused(reply, ErrorName::NotFound);
    world.root.call_at(OBJECT_PATH, None, "WhoAmI", &()).unwrap();
    world.root.call_at(OBJECT_PATH, None, "GetAll", &(INTERFACE,)).unwrap();
}

fn other_destinations_are_not_here(world: &World) {
    let call = |destination| {
        let connection = world.root.connection();
        let interface = Some(INTERFACE);
        world.root.wait(connection.call_method(
            Some(destination),
            OBJECT_PATH,
            interface,
            "WhoAmI",
            &(),
        ))
    };
    fault(call("org.example.Nonsense"), "ServiceUnknown");
    call(BUS_NAME).unwrap();
    call(":1.1").unwrap();
}

/// The change is made, and the next reply on the connection is the next call's.
fn no_reply_is_no_reply(world: &World) {
    let silent = |member: &'static str, path: &'static str| {
        let call = Message::method_call(OBJECT_PATH, member).interface(INTERFACE);
        let call = call.with_flags(Flags::NO_REPLY_EXPECTED);
        let call = call.build(&(path, Vec::<&str>::new())).unwrap();
        world.root.wait(async { world.root.connection().send(&call).await }).unwrap();
    };
    world.root.create("a").unwrap();
    silent("Remove", "a");
    silent("Remove", "never-was");
    silent("Nonsense", "a");
    assert_eq!(world.root.list("").unwrap(), [""; 0]);
    let end = Instant::now() + patience(Duration::from_secs(5));
    while !world.cgroups.is_nowhere("a") {
        assert!(Instant::now() < end, "the call had no effect");
    }
}

fn peer_and_driver(world: &World) {
    let ask = |path: &str, interface: &str, member: &str| {
        world.root.call_at(path, Some(interface), member, &()).unwrap()
    };
    let peer = "org.freedesktop.DBus.Peer";
    for path in ["/", OBJECT_PATH, "/any/where"] {
        ask(path, peer, "Ping");
    }
    let id: String = ask("/", peer, "GetMachineId").body().deserialize().unwrap();
    assert!(id.is_empty() || id.len() == 32, "{id}");
    let driver = "org.freedesktop.DBus";
    let names = ask("/org/freedesktop/DBus", driver, "ListNames");
    let names: Vec<String> = names.body().deserialize().unwrap();
    assert!(names.contains(&BUS_NAME.to_owned()), "{names:?}");
}

fn who_host_root_is(world: &World) {
    let answer = world.root.who_am_i().unwrap();
    let said = |key: &str| answer.get(key).map(String::as_str);
    assert_eq!((said("class"), said("proven")), (Some("host-root"), Some("true")));
    assert_eq!((said("uid"), said("gid")), (Some("0"), Some("0")));
    for hierarchy in hierarchies::all() {
        assert_eq!(said(&format!("scope.{}", hierarchy.label)), Some("/"));
        assert_eq!(said(&format!("home.{}", hierarchy.label)), Some("/"));
    }
    assert_eq!(said("refused-because"), None);
}
