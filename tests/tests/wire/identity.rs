//! Who the daemon takes a peer for: whoever connected, as the kernel saw it, and nobody else.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;

use crate::message::{Draft, INTERFACE, MEMBER, RETURN, Value, ping};
use crate::peer::Peer;
use crate::server::Server;
use crate::{Prerequisite, root, test_with};

/// With this in its environment, this program calls on the connection it gets as its input, or
/// on one of its own when this names a socket.
pub(crate) const AS_HEIR: &str = "CGROUPD_TEST_HEIR";
/// With this in its environment, this program is a server until its input ends.
pub(crate) const AS_SERVER: &str = "CGROUPD_TEST_SERVER";

const NOBODY: u32 = 65534;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test_with("case_01_a_connection_is_its_makers", "root", root, inherited),
        test_with("case_03_a_claim_changes_nothing", "root", root, claimed),
        test_with("case_08_a_peer_the_daemon_cannot_see", "root", pid_namespace, invisible),
    ]
}

fn pid_namespace() -> Prerequisite {
    root()?;
    match Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err("needs unshare(1) and pid namespaces".to_owned()),
    }
}

/// `org.cgroupd1.Manager.WhoAmI`, and the dictionary it returns.
fn who_am_i(peer: &mut Peer) -> HashMap<String, String> {
    let mut call: Draft = ping(1);
    for (code, value) in &mut call.fields {
        match *code {
            INTERFACE => *value = Value::Text("org.cgroupd1.Manager"),
            MEMBER => *value = Value::Text("WhoAmI"),
            _ => {}
        }
    }
    peer.send(&call.bytes());
    let (reply, body) = peer.reply_with_body().expect("a reply");
    assert_eq!(reply.kind, RETURN);
    dictionary(&body)
}

/// An `a{ss}`, little-endian.
fn dictionary(body: &[u8]) -> HashMap<String, String> {
    let mut at = 8;
    let text = |at: &mut usize| {
        let length = u32::from_le_bytes(body[*at..*at + 4].try_into().unwrap()) as usize;
        let text = String::from_utf8(body[*at + 4..*at + 4 + length].to_vec()).unwrap();
        *at = (*at + 4 + length + 1).next_multiple_of(4);
        text
    };
    let mut entries = HashMap::new();
    while at < body.len() {
        let key = text(&mut at);
        entries.insert(key, text(&mut at));
        at = at.next_multiple_of(8);
    }
    entries
}

/// Prints the uid that the daemon knows a connection's maker by.
pub(crate) fn be_an_heir(socket: &Path) {
    let mut peer = if socket.exists() {
        let mut peer = Peer::connect(socket).expect("connect");
        peer.authenticate().expect("authenticate");
        peer
    } else {
        let stream = std::io::stdin().as_fd().try_clone_to_owned().expect("a connection");
        Peer::from(UnixStream::from(stream))
    };
    println!("{}", who_am_i(&mut peer)["uid"]);
}

/// What an unprivileged process hears that calls on `input`, or on a connection to `socket`.
fn heir(socket: &Path, input: Stdio) -> String {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .env_clear()
        .env(AS_HEIR, socket)
        .stdin(input)
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .expect("an heir");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn inherited() {
    let server = Server::start();
    let ours: OwnedFd = server.peer().stream.into();
    assert_eq!(heir(Path::new(""), ours.into()), "0");
    assert_eq!(heir(&server.path, Stdio::null()), NOBODY.to_string());
}

fn claimed() {
    let server = Server::start();
    for claim in ["", "3635353334", "30", "34323934393637323935", "no hexadecimal"] {
        let mut peer = server.connect();
        peer.send(format!("\0AUTH EXTERNAL {claim}\r\n").as_bytes());
        if claim.is_empty() {
            peer.line().unwrap();
            peer.send(b"DATA\r\n");
        }
        peer.line().unwrap();
        peer.send(b"BEGIN\r\n");
        assert_eq!(who_am_i(&mut peer)["uid"], "0", "{claim:?}");
    }
}

/// Prints where it serves, after a peer of its own was answered.
pub(crate) fn be_a_server() {
    let server = Server::start();
    server.answers();
    println!("{}", server.path.display());
    // Until the test lets go.
    let _ = std::io::stdin().lines().count();
}

fn invisible() {
    let mut inside = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "--"])
        .arg(std::env::current_exe().expect("this program"))
        .env(AS_SERVER, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare");
    let mut path = String::new();
    let said = inside.stdout.take().expect("a pipe");
    BufReader::new(said).read_line(&mut path).expect("the server's path");
    let path = Path::new(path.trim());
    // A peer in the server's namespace was answered; we are outside of it.
    for _ in 0..3 {
        let mut peer = Peer::connect(path).expect("connect");
        peer.send(b"\0AUTH EXTERNAL 30\r\n");
        peer.is_closed();
    }
    drop(inside.stdin.take());
    assert!(inside.wait().expect("the server").success());
}
