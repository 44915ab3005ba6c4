//! The socket as a file: whose it is, who may open it, and when it goes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use cgroupd::transport::{BindError, PrivateSocket};
use libtest_mimic::Trial;

use crate::server::{Server, directory};
use crate::{root, test, test_with};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("the_mode_is_the_one_asked_for", mode),
        test_with("the_group_is_the_one_asked_for", "root", root, group),
        test("a_missing_directory_is_made_for_everybody", missing_directory),
        test("a_second_daemon_is_refused", second),
        test("one_of_many_daemons_started_at_once_serves", race),
        test("a_stale_socket_is_replaced", stale),
        test("a_listener_without_our_lock_is_left_alone", foreign),
        test("a_file_that_is_no_socket_is_left_alone", no_socket),
        test("the_socket_goes_with_the_daemon", gone),
        test("somebody_elses_socket_stays", stays),
    ]
}

/// A directory that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(directory())
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode() {
    let scratch = Scratch::new();
    for mode in [0o666, 0o660, 0o600] {
        let _socket = PrivateSocket::bind(&scratch.socket(), mode, None).unwrap();
        assert_eq!(fs::metadata(scratch.socket()).unwrap().mode() & 0o7777, mode);
    }
}

fn group() {
    let scratch = Scratch::new();
    let _socket = PrivateSocket::bind(&scratch.socket(), 0o660, Some(12345)).unwrap();
    assert_eq!(fs::metadata(scratch.socket()).unwrap().gid(), 12345);
}

fn missing_directory() {
    let scratch = Scratch::new();
    let path = scratch.0.join("a/b/socket");
    let _socket = PrivateSocket::bind(&path, 0o666, None).unwrap();
    assert_eq!(fs::metadata(scratch.0.join("a/b")).unwrap().mode() & 0o7777, 0o755);
    // One that is there keeps its mode.
    fs::set_permissions(scratch.0.join("a"), fs::Permissions::from_mode(0o700)).unwrap();
    let _other = PrivateSocket::bind(&scratch.0.join("a/socket"), 0o666, None).unwrap();
    assert_eq!(fs::metadata(scratch.0.join("a")).unwrap().mode() & 0o7777, 0o700);
}

fn second() {
    let server = Server::start();
    let error = PrivateSocket::bind(&server.path, 0o666, None).unwrap_err();
    assert!(matches!(&error, BindError::InUse(path) if *path == server.path), "{error}");
    assert!(error.to_string().starts_with(server.path.to_str().unwrap()));
    server.answers();
}

fn race() {
    let scratch = Scratch::new();
    drop(UnixListener::bind(scratch.socket()).unwrap());
    let sockets: Vec<_> = std::thread::scope(|threads| {
        let starts: Vec<_> = (0..16)
            .map(|_| threads.spawn(|| PrivateSocket::bind(&scratch.socket(), 0o666, None)))
            .collect();
        starts.into_iter().filter_map(|start| start.join().unwrap().ok()).collect()
    });
    assert_eq!(sockets.len(), 1);
}

fn stale() {
    let scratch = Scratch::new();
    drop(UnixListener::bind(scratch.socket()).unwrap());
    assert!(scratch.socket().exists());
    PrivateSocket::bind(&scratch.socket(), 0o666, None).unwrap();
}

fn foreign() {
    let scratch = Scratch::new();
    let _foreign = UnixListener::bind(scratch.socket()).unwrap();
    let error = PrivateSocket::bind(&scratch.socket(), 0o666, None).unwrap_err();
    assert!(matches!(error, BindError::InUse(_)), "{error}");
    assert!(scratch.socket().exists());
}

fn no_socket() {
    let scratch = Scratch::new();
    fs::File::create(scratch.socket()).unwrap().write_all(b"precious").unwrap();
    let error = PrivateSocket::bind(&scratch.socket(), 0o666, None).unwrap_err();
    assert!(matches!(error, BindError::NotASocket(_)), "{error}");
    assert_eq!(fs::read(scratch.socket()).unwrap(), b"precious");
}

fn gone() {
    let scratch = Scratch::new();
    let socket = PrivateSocket::bind(&scratch.socket(), 0o666, None).unwrap();
    assert_eq!(socket.path(), scratch.socket());
    drop(socket);
    assert!(!scratch.socket().exists());
    let _next = PrivateSocket::bind(&scratch.socket(), 0o666, None).unwrap();
}

fn stays() {
    let scratch = Scratch::new();
    let socket = PrivateSocket::bind(&scratch.socket(), 0o666, None).unwrap();
    fs::remove_file(scratch.socket()).unwrap();
    let _other = UnixListener::bind(scratch.socket()).unwrap();
    drop(socket);
    assert!(scratch.socket().exists());
}
