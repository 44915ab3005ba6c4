//! Where the interface is served: where the configuration says so, and nowhere else.

use std::os::unix::fs::symlink;
use std::process::Command;

use cgroupd_proto::cgmanager::{INTERFACE, METHODS, OBJECT_PATH, is_scm};
use cgroupd_tests::bins;
use cgroupd_tests::client::{Client, fault};
use cgroupd_tests::need::{Need, trial};
use cgroupd_tests::world::World;
use libtest_mimic::Trial;
use zbus::Fd;

use crate::old::{PIDS, call, get};

pub(crate) fn trials() -> Vec<Trial> {
    let root = [Need::Root];
    vec![
        trial("served_nowhere_by_default", &root, nowhere),
        trial("served_on_the_private_socket", &root, on_the_private_socket),
        trial("served_on_the_old_socket_alone", &root, on_the_old_socket_alone),
        trial("scm_forms_are_asked_for", &root, scm),
    ]
}

/// What is asked of an object before anything is called.
fn introspect(client: &Client, path: &str) -> cgroupd_tests::client::Result<String> {
    let interface = Some("org.freedesktop.DBus.Introspectable");
    let answer = client.call_at(path, interface, "Introspect", &())?;
    Ok(answer.body().deserialize().expect("a string"))
}

fn is_absent(world: &World, client: &Client) {
    let text = fault(call(client, "Create", &(PIDS, "a")), "UnknownObject");
    assert!(text.contains("write private-socket = true below [compat.cgmanager]"), "{text}");
    let interface = Some(INTERFACE);
    fault(client.call_at("/org/cgroupd1", interface, "Create", &(PIDS, "a")), "UnknownObject");
    let get = client.call_at(
        OBJECT_PATH,
        Some("org.freedesktop.DBus.Properties"),
        "Get",
        &("", "api_version"),
    );
    fault(get, "UnknownObject");
    fault(introspect(client, OBJECT_PATH), "UnknownObject");
    assert!(!introspect(client, "/org").unwrap().contains("linuxcontainers"));
    assert!(world.cgroups.is_nowhere("a"));
}

fn nowhere() {
    let world = World::new("cgmanager");
    is_absent(&world, &world.root);
    // The client of that name says which line is missing.
    let link = world.daemon.dir().join("cgm");
    symlink(bins::cgctl(), &link).unwrap();
    let mut cgm = Command::new(link);
    cgm.env("CGROUPD_ADDRESS", world.daemon.address()).args(["create", PIDS, "a"]);
    let output = cgm.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        said,
        "call to cgmanager_create_sync failed: cgmanager's interface is not served on this \
         socket\nhint: on the host, write private-socket = true below [compat.cgmanager] in \
         /etc/cgroupd/cgroupd.toml and restart cgroupd\n"
    );
    world.finish();
}

fn on_the_private_socket() {
    let configuration = "[compat.cgmanager]\nprivate-socket = true\n";
    let world = World::configured("cgmanager", configuration);
    assert_eq!(get::<i32>(&world.root, "Create", &(PIDS, "a")), -1);
    let xml = introspect(&world.root, OBJECT_PATH).unwrap();
    for method in METHODS {
        let is_listed = xml.contains(&format!("<method name=\"{}\"", method.member));
        assert_eq!(is_listed, !is_scm(method.member), "{}", method.member);
    }
    assert!(xml.contains("<property name=\"api_version\" type=\"i\""));
    assert!(introspect(&world.root, "/org").unwrap().contains("<node name=\"linuxcontainers\""));
    let above = introspect(&world.root, "/org/linuxcontainers").unwrap();
    assert!(above.contains("<node name=\"cgmanager\""), "{above}");
    world.finish();
}

fn on_the_old_socket_alone() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("sock");
    let configuration = format!("[compat.cgmanager]\nsocket = \"{}\"\n", socket.display());
    let world = World::configured("cgmanager", &configuration);
    is_absent(&world, &world.root);
    let old = Client::over(std::os::unix::net::UnixStream::connect(&socket).unwrap());
    assert_eq!(get::<i32>(&old, "Create", &(PIDS, "a")), -1);
    drop(old);
    world.finish();
}

fn scm() {
    let ask = |world: &World| {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        call(&world.root, "CreateScm", &(PIDS, "a", Fd::from(std::os::fd::OwnedFd::from(one))))
    };
    let without = World::configured("cgmanager", "[compat.cgmanager]\nprivate-socket = true\n");
    let text = fault(ask(&without), "UnknownMethod");
    assert!(text.contains("write scm = true below [compat.cgmanager]"), "{text}");
    without.finish();
    let with = World::configured("cgmanager", cgroupd_tests::world::CGMANAGER);
    assert!(ask(&with).is_ok());
    let xml = introspect(&with.root, OBJECT_PATH).unwrap();
    assert!(METHODS.iter().all(|method| xml.contains(&format!("\"{}\"", method.member))));
    with.finish();
}
