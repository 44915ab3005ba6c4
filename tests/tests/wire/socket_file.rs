//! The socket as a file: whose it is, who may open it, and when it goes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use cgroupd::transport::{BindError, PrivateSocket};
use libtest_mimic::Trial;
use nix::sys::stat::Mode;

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
        test("a_link_put_in_place_of_the_socket_is_not_followed", swapped),
        test("a_lock_file_that_is_no_regular_file_is_refused", odd_lock),
        test("a_link_to_the_directory_is_followed", linked_directory),
        test("the_socket_goes_with_the_daemon", gone),
        test("a_directory_put_in_place_of_ours_keeps_its_files", other_directory),
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
    drop(PrivateSocket::bind(&scratch.socket(), 0o666, None).unwrap());
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

/// Replaces the socket by a link to `victim`, as soon as it is there, until `done`.
fn swap(socket: &Path, victim: &Path, done: &AtomicBool) {
    let link = socket.with_extension("link");
    while !done.load(Ordering::Relaxed) {
        let _ = symlink(victim, &link);
        if fs::symlink_metadata(socket).is_ok_and(|file| file.file_type().is_socket()) {
            let _ = fs::rename(&link, socket);
        }
    }
}

fn swapped() {
    let scratch = Scratch::new();
    let (socket, victim) = (scratch.socket(), scratch.0.join("victim"));
    fs::File::create(&victim).unwrap();
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
    let (done, mut replaced) = (AtomicBool::new(false), 0);
    std::thread::scope(|threads| {
        threads.spawn(|| swap(&socket, &victim, &done));
        for _ in 0..3000 {
            let bound = PrivateSocket::bind(&socket, 0o666, None);
            replaced += u32::from(matches!(bound, Err(BindError::Replaced(_))));
            drop(bound);
            let _ = fs::remove_file(&socket);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::metadata(&victim).unwrap().mode() & 0o7777, 0o600, "{replaced} replaced");
    assert!(replaced > 0, "the attacker never came in time");
    // Nobody interferes: the same directory and file are good.
    let _ = fs::remove_file(socket.with_extension("link"));
    let _socket = PrivateSocket::bind(&socket, 0o666, None).unwrap();
    assert_eq!(fs::symlink_metadata(&socket).unwrap().mode() & 0o7777, 0o666);
}

fn odd_lock() {
    let scratch = Scratch::new();
    let lock = scratch.0.join("socket.lock");
    let target = scratch.0.join("target");
    let makes: [&dyn Fn(); 3] = [
        &|| nix::unistd::mkfifo(&lock, Mode::S_IRWXU).unwrap(),
        &|| symlink(&target, &lock).unwrap(),
        &|| drop(UnixListener::bind(&lock).unwrap()),
    ];
    for make in makes {
        make();
        let error = PrivateSocket::bind(&scratch.socket(), 0o666, None).unwrap_err();
        assert!(error.to_string().starts_with("cannot open "), "{error}");
        assert!(!scratch.socket().exists() && !target.exists());
        fs::remove_file(&lock).unwrap();
    }
    fs::File::create(&lock).unwrap();
    drop(PrivateSocket::bind(&scratch.socket(), 0o666, None).unwrap());
}

fn linked_directory() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.0.join("real")).unwrap();
    symlink("real", scratch.0.join("linked")).unwrap();
    let socket = PrivateSocket::bind(&scratch.0.join("linked/socket"), 0o666, None).unwrap();
    let there = scratch.0.join("real/socket");
    assert!(there.exists());
    drop(socket);
    assert!(!there.exists());
}

fn other_directory() {
    let scratch = Scratch::new();
    let (ours, theirs) = (scratch.0.join("a"), scratch.0.join("b"));
    let socket = PrivateSocket::bind(&ours.join("socket"), 0o666, None).unwrap();
    // Even with a hard link to the very socket.
    fs::create_dir(&theirs).unwrap();
    fs::hard_link(ours.join("socket"), theirs.join("socket")).unwrap();
    fs::rename(&ours, scratch.0.join("c")).unwrap();
    symlink(&theirs, &ours).unwrap();
    drop(socket);
    assert!(theirs.join("socket").exists(), "it was removed where the daemon had made none");
    assert!(!scratch.0.join("c/socket").exists(), "its own socket stays behind");
}

fn gone() {
    let scratch = Scratch::new();
    let (file, socket) = PrivateSocket::bind(&scratch.socket(), 0o666, None).unwrap();
    assert_eq!(file.path(), scratch.socket());
    drop((file, socket));
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
