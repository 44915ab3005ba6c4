//! Clients in use, on the host and in a user namespace of their own, where they say a uid that
//! the host knows otherwise.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use libtest_mimic::Trial;

use crate::server::{Server, dispatcher, limits};
use crate::{Prerequisite, test, test_with};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("case_09_zbus", || zbus(&Server::start().path)),
        test("a_socket_pair_speaks_real_d_bus", socket_pair),
        test_with("case_09_busctl", "clients", || has("busctl"), || run(&busctl)),
        test_with("case_09_dbus_send", "clients", || has("dbus-send"), || run(&dbus_send)),
        test_with("case_09_gdbus", "clients", || has("gdbus"), || run(&gdbus)),
        test_with("case_09_busctl_in_a_user_namespace", "userns", userns, || inside(&busctl)),
        test_with("case_09_dbus_send_in_a_user_namespace", "userns", userns, || inside(&dbus_send)),
        test_with("case_09_gdbus_in_a_user_namespace", "userns", userns, || inside(&gdbus)),
    ]
}

fn has(program: &str) -> Prerequisite {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).exists()));
    if found { Ok(()) } else { Err(format!("needs {program}")) }
}

fn userns() -> Prerequisite {
    ["busctl", "dbus-send", "gdbus", "unshare"].into_iter().try_for_each(has)?;
    match Command::new("unshare").args(["-Ur", "true"]).status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err("needs user namespaces".to_owned()),
    }
}

type Client = dyn Fn(&str) -> Vec<String>;

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn busctl(address: &str) -> Vec<String> {
    words(&format!(
        "busctl --address={address} call org.cgroupd1 /org/cgroupd1 org.freedesktop.DBus.Peer Ping"
    ))
}

fn dbus_send(address: &str) -> Vec<String> {
    words(&format!(
        "dbus-send --peer={address} --print-reply --dest=org.cgroupd1 /org/cgroupd1 \
         org.freedesktop.DBus.Peer.Ping"
    ))
}

fn gdbus(address: &str) -> Vec<String> {
    words(&format!(
        "gdbus call --address {address} --dest org.cgroupd1 --object-path /org/cgroupd1 \
         --method org.freedesktop.DBus.Peer.Ping"
    ))
}

fn run(client: &Client) {
    play(client, &[]);
}

fn inside(client: &Client) {
    play(client, &["unshare", "-Ur", "--"]);
}

fn play(client: &Client, before: &[&str]) {
    let server = Server::start();
    let address = format!("unix:path={}", server.path.display());
    let line: Vec<String> =
        before.iter().map(ToString::to_string).chain(client(&address)).collect();
    let output = Command::new(&line[0]).args(&line[1..]).output().expect("start the client");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line:?}: {}: {said}", output.status);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn zbus(path: &Path) {
    let stream = UnixStream::connect(path).unwrap();
    runtime().block_on(zbus_ping(stream));
}

async fn zbus_ping(stream: UnixStream) {
    let connection = zbus::connection::Builder::unix_stream(stream).p2p().build().await.unwrap();
    for _ in 0..3 {
        let (path, interface) = ("/org/cgroupd1", "org.freedesktop.DBus.Peer");
        let reply = connection
            .call_method(Some("org.cgroupd1"), path, Some(interface), "Ping", &())
            .await
            .unwrap();
        assert_eq!(reply.body().len(), 0);
    }
}

fn socket_pair() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    runtime().block_on(async move {
        let (dispatcher, host) = dispatcher(limits());
        let serving = tokio::spawn(async move {
            cgroupd::transport::serve_stream(theirs, dispatcher, &host, limits()).await
        });
        zbus_ping(ours).await;
        serving.await.unwrap().unwrap();
    });
}
