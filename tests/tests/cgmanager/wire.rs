//! Bytes as the original's clients send them: no Hello, no destination or anybody's, no interface,
//! either byte order, several calls behind `BEGIN` in one write; and a client over libdbus.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cgroupd_tests::bins;
use cgroupd_tests::cgroups::Cgroups;
use cgroupd_tests::hierarchies;
use cgroupd_tests::need::{Need, patience, trial};
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::wire::Wire;
use cgroupd_tests::world::World;
use libtest_mimic::Trial;

use crate::old::{key, pids};

pub(crate) const TESTS: &[Test] = &tests![
    calls_in_one_write_are_answered_in_order,
    what_is_wrong_is_said_in_the_old_words,
    a_conversation_byte_by_byte,
];

pub(crate) fn trials() -> Vec<Trial> {
    let root = [Need::Root];
    vec![
        trial("libdbus_over_the_old_socket", &[Need::Root, Need::DbusTools], libdbus),
        trial("the_old_socket_has_the_mode_of_the_private_one", &root, old_socket),
        trial("who_comes_by_both_sockets_is_counted_once", &root, counted_once),
        trial("a_socket_in_a_cgroup_is_refused_with_the_way_out", &root, in_a_cgroup),
        trial("a_socket_where_nothing_can_be_made", &root, on_a_read_only_file_system),
    ]
}

/// `Create("pids", "a")`, big-endian.
const CREATE: &[u8] = b"B\x01\0\x01\0\0\0\x12\0\0\0\x07\0\0\0p\x01\x01o\0\0\0\0\x1e\
    /org/linuxcontainers/cgmanager\0\0\x02\x01s\0\0\0\0 org.linuxcontainers.cgmanager0_0\
    \0\0\0\0\0\0\0\0\x03\x01s\0\0\0\0\x06Create\0\0\x08\x01g\0\x02ss\0\0\0\0\x04pids\0\0\0\0\0\0\0\
    \x01a\0";
/// The same again, little-endian and without an interface.
const AGAIN: &[u8] = b"l\x01\0\x01\x12\0\0\0\x08\0\0\0@\0\0\0\x01\x01o\0\x1e\0\0\0\
    /org/linuxcontainers/cgmanager\0\0\x03\x01s\0\x06\0\0\0Create\0\0\x08\x01g\0\x02ss\0\
    \x04\0\0\0pids\0\0\0\0\x01\0\0\0a\0";
/// `Ping(1)` to a destination that is nobody's.
const PING: &[u8] = b"l\x01\0\x01\x04\0\0\0\x09\0\0\0\x8f\0\0\0\x01\x01o\0\x1e\0\0\0\
    /org/linuxcontainers/cgmanager\0\0\x02\x01s\0 \0\0\0org.linuxcontainers.cgmanager0_0\
    \0\0\0\0\0\0\0\0\x06\x01s\0\x14\0\0\0org.example.Somebody\0\0\0\0\x03\x01s\0\x04\0\0\0Ping\
    \0\0\0\0\x08\x01g\0\x01i\0\0\x01\0\0\0";
/// `Properties.Get("", "api_version")`, big-endian.
const VERSION: &[u8] = b"B\x01\0\x01\0\0\0\x18\0\0\0\x0a\0\0\0h\x01\x01o\0\0\0\0\x1e\
    /org/linuxcontainers/cgmanager\0\0\x02\x01s\0\0\0\0\x1forg.freedesktop.DBus.Properties\0\
    \x03\x01s\0\0\0\0\x03Get\0\0\0\0\0\x08\x01g\0\x02ss\0\0\0\0\0\0\0\0\0\0\0\0\x0bapi_version\0";
/// `Frobnicate(1)`.
const UNKNOWN: &[u8] = b"l\x01\0\x01\x04\0\0\0\x0b\0\0\0w\0\0\0\x01\x01o\0\x1e\0\0\0\
    /org/linuxcontainers/cgmanager\0\0\x02\x01s\0 \0\0\0org.linuxcontainers.cgmanager0_0\
    \0\0\0\0\0\0\0\0\x03\x01s\0\x0a\0\0\0Frobnicate\0\0\0\0\0\0\x08\x01g\0\x01i\0\0\x01\0\0\0";
/// `Create(1)`.
const WRONG: &[u8] = b"l\x01\0\x01\x04\0\0\0\x0c\0\0\0o\0\0\0\x01\x01o\0\x1e\0\0\0\
    /org/linuxcontainers/cgmanager\0\0\x02\x01s\0 \0\0\0org.linuxcontainers.cgmanager0_0\
    \0\0\0\0\0\0\0\0\x03\x01s\0\x06\0\0\0Create\0\0\x08\x01g\0\x01i\0\0\x01\0\0\0";
/// `Create("nosuch", "a")`.
const NOWHERE: &[u8] = b"l\x01\0\x01\x12\0\0\0\x0d\0\0\0p\0\0\0\x01\x01o\0\x1e\0\0\0\
    /org/linuxcontainers/cgmanager\0\0\x02\x01s\0 \0\0\0org.linuxcontainers.cgmanager0_0\
    \0\0\0\0\0\0\0\0\x03\x01s\0\x06\0\0\0Create\0\0\x08\x01g\0\x02ss\0\x06\0\0\0nosuch\0\0\
    \x01\0\0\0a\0";

/// Sends the handshake and all calls in one write.
fn say(socket: &Path, calls: &[&[u8]]) -> Wire {
    Wire::connect_with(socket, &calls.concat()).expect("it listens")
}

fn calls_in_one_write_are_answered_in_order(world: &World) {
    let mut wire = say(&world.daemon.socket(), &[CREATE, AGAIN, PING, VERSION]);
    let ends: [(u32, &[u8]); 4] =
        [(7, &[255; 4]), (8, &[1, 0, 0, 0]), (9, &[]), (10, &[1, b'i', 0, 0, 0, 0, 0, 10])];
    for (serial, end) in ends {
        let answer = wire.receive().expect("an answer");
        assert!(!answer.is_error(), "{}", answer.text());
        assert_eq!((answer.reply_serial(), answer.body()), (Some(serial), end));
    }
    assert_eq!(world.cgroups.places("a"), [pids().label.as_str()]);
}

fn what_is_wrong_is_said_in_the_old_words(world: &World) {
    let mut wire = say(&world.daemon.socket(), &[UNKNOWN, WRONG, NOWHERE, CREATE]);
    let unknown = "Method \"Frobnicate\" with signature \"i\" on interface \
                   \"org.linuxcontainers.cgmanager0_0\" doesn't exist\n";
    for (serial, name, text) in [
        (11, "UnknownMethod", unknown),
        (12, "InvalidArgs", "Invalid arguments to Create method"),
        (13, "InvalidArgs", "invalid request"),
    ] {
        let answer = wire.receive().expect("an answer");
        assert!(answer.is_error(), "{serial}");
        assert_eq!(answer.reply_serial(), Some(serial));
        assert!(answer.text().contains(&format!("org.freedesktop.DBus.Error.{name}\0")), "{name}");
        let size = u32::try_from(text.len()).expect("short").to_le_bytes();
        let expected = [&size, text.as_bytes(), b"\0"].concat();
        assert_eq!(answer.body(), expected, "{}", answer.text());
    }
    assert!(!wire.receive().expect("an answer").is_error(), "the twin that is allowed");
}

/// All is asked in one write, and each answer is what the transcript has.
fn a_conversation_byte_by_byte(world: &World) {
    let transcript = include_str!("transcript.txt");
    let lines = |mark| transcript.lines().filter_map(move |line| line.strip_prefix(mark));
    let asked: Vec<Vec<u8>> = lines("> ").map(bytes_of).collect();
    let asked: Vec<&[u8]> = asked.iter().map(Vec::as_slice).collect();
    let mut wire = say(&world.daemon.socket(), &asked);
    assert_eq!((lines("< ").count(), lines("# ").count()), (asked.len(), asked.len()));
    for (title, answer) in lines("# ").zip(lines("< ")) {
        let received = wire.receive().expect("an answer").without_serial();
        assert_eq!(received, bytes_of(answer), "{title}: {}", String::from_utf8_lossy(&received));
    }
    assert!(world.cgroups.is_nowhere("a"));
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = |at| hex.get(at..at + 2).expect("two digits a byte");
    let byte = |at| u8::from_str_radix(digits(at), 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// A daemon that is also where the old clients look.
fn with_old_socket(work: impl FnOnce(&World, &Path)) {
    with_old_socket_and("", work);
}

fn with_old_socket_and(more: &str, work: impl FnOnce(&World, &Path)) {
    let dir = tempfile::tempdir().expect("a directory of our own");
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("ours");
    let socket = dir.path().join("cgmanager/sock");
    let world = World::configured(
        "cgmanager",
        &format!("[compat.cgmanager]\nscm = true\nsocket = \"{}\"\n{more}", socket.display()),
    );
    work(&world, &socket);
    world.finish();
    assert!(!socket.exists(), "it stays behind");
}

fn libdbus() {
    with_old_socket(|world, socket| {
        let send = |member: &str, arguments: &[&str]| {
            let mut command = Command::new("dbus-send");
            command.arg(format!("--peer=unix:path={}", socket.display()));
            command.args(["--print-reply=literal", "/org/linuxcontainers/cgmanager", member]);
            let output = command.args(arguments).output().expect("it is installed");
            let text = |bytes| String::from_utf8(bytes).expect("text").trim().to_owned();
            (output.status.code(), text(output.stdout), text(output.stderr))
        };
        let old = |member: &str| format!("org.linuxcontainers.cgmanager0_0.{member}");
        let said = |text: &str| (Some(0), text.to_owned(), String::new());
        let get = "org.freedesktop.DBus.Properties.Get";
        assert_eq!(send(get, &["string:", "string:api_version"]), said("variant       int32 10"));
        let a = ["string:pids", "string:a"];
        assert_eq!(send(&old("Create"), &a), said("int32 -1"));
        assert_eq!(send(&old("Create"), &a), said("int32 1"));
        let key_word = format!("string:{}", key());
        let set = [&a[..], &[&key_word, "string:44"]].concat();
        assert_eq!(send(&old("SetValue"), &set), said(""));
        assert_eq!(send(&old("GetValue"), &[&a[..], &[key_word.as_str()]].concat()), said("44"));
        assert_eq!(world.cgroups.read(pids(), "a", key()), "44");
        assert_eq!(send(&old("Remove"), &[&a[..], &["int32:0"]].concat()), said("int32 1"));
        let (status, _, err) = send(&old("GetTasks"), &a);
        assert_eq!(status, Some(1));
        assert_eq!(err, "Error org.freedesktop.DBus.Error.InvalidArgs: invalid request");
    });
}

fn old_socket() {
    with_old_socket(|world, socket| {
        let mode = std::fs::metadata(socket).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
        let mut wire = say(socket, &[CREATE]);
        assert!(!wire.receive().expect("an answer").is_error());
        assert_eq!(world.cgroups.places("a"), [pids().label.as_str()]);
    });
}

fn counted_once() {
    let few = "[limits]\nconnections-per-key = 3\nhalf-open-per-key = 3\n";
    with_old_socket_and(few, |world, socket| {
        // The world's own client is the first.
        let held = [say(socket, &[]), say(&world.daemon.socket(), &[])];
        for path in [socket, &world.daemon.socket()] {
            assert!(Wire::connect(path).is_err(), "{} takes a fourth", path.display());
        }
        drop(held);
        let end = Instant::now() + patience(Duration::from_secs(10));
        while Wire::connect(socket).is_err() {
            assert!(Instant::now() < end, "nobody is let in");
        }
    });
}

fn in_a_cgroup() {
    let cgroups = Cgroups::new("cgmanager");
    let inside = cgroups.dir(&hierarchies::all()[0], "cgmanager/sock");
    let dir = tempfile::tempdir().expect("a directory of our own");
    let config = dir.path().join("cgroupd.toml");
    let text = format!("[compat.cgmanager]\nsocket = \"{}\"\n", inside.display());
    std::fs::write(&config, text).expect("ours");
    let mut command = Command::new(bins::cgroupd());
    command.arg("--config").arg(&config).args(["--root", &cgroups.path(), "--no-system-bus"]);
    let err = why_it_ends(command.arg("--socket").arg(dir.path().join("socket")));
    let way_out = format!(
        "mount -t tmpfs -o mode=0755,size=64k none {}",
        inside.parent().expect("it has one").display()
    );
    assert!(err.contains("no socket can be made in a cgroup") && err.contains(&way_out), "{err}");
    assert!(cgroups.is_nowhere("cgmanager"), "nothing is made");
}

fn why_it_ends(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{err}");
    err
}

/// As `/sys/fs/cgroup` is on many hosts; first as it is, then after what the hint says.
fn on_a_read_only_file_system() {
    let cgroups = Cgroups::new("cgmanager");
    let dir = tempfile::tempdir().expect("a directory of our own");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (top, own) = (path("top"), path("top/cgmanager"));
    let config = format!("[compat.cgmanager]\nsocket = \"{own}/sock\"\n");
    std::fs::write(dir.path().join("cgroupd.toml"), config).expect("ours");
    let start = |before: &str| {
        let daemon = format!(
            "exec timeout --preserve-status 2 {} --config {} --root {} --no-system-bus --socket {}",
            bins::cgroupd().display(),
            path("cgroupd.toml"),
            cgroups.path(),
            path("socket")
        );
        let script = format!(
            "mkdir -p {top} && mount -t tmpfs none {top} && mount -o remount,ro {top} && {before} {daemon}"
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
        command.output().expect("it is installed")
    };
    let output = start("");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{err}");
    let steps = format!("mkdir -p {own}; mount -t tmpfs -o mode=0755,size=64k none {own}");
    assert!(err.contains("the file system is read-only") && err.contains(&steps), "{err}");
    let remount = |how: &str| format!("mount -o remount,{how} {top} &&");
    let after =
        start(&format!("{} {} && {}", remount("rw"), steps.replace(';', " &&"), remount("ro")));
    let err = String::from_utf8_lossy(&after.stderr);
    assert!(after.status.success() && err.contains("serving on"), "{err}");
}
