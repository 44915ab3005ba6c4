//! `cgctl enter`: a session, or a command, goes to a leaf of what is the user's; and the hook for login
//! shells.

use std::process::Command;
use std::time::{Duration, Instant};

use cgroupd_tests::bins;
use cgroupd_tests::hierarchies::{self, Hierarchy};
use cgroupd_tests::need::patience;
use cgroupd_tests::peer::{ALICE, BOB, Output, Peer};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;

pub(crate) const TESTS: &[Test] = &tests![
    the_shell_that_calls_it_goes_there,
    a_command_goes_there,
    who_has_nothing_is_told_so,
    root_says_where,
    only_ones_own_shell,
    a_login_shell_goes_there,
    a_session_starts_without_the_daemon,
];

fn home() -> String {
    format!("users/{ALICE}")
}

/// Alice's home, in every hierarchy and with no controllers enabled on the way, so that she can start
/// above it.
fn delegate(world: &World) {
    let classes =
        |hierarchy: &&Hierarchy| hierarchy.is_v1_of("net_cls") || hierarchy.is_v1_of("net_prio");
    let labels: Vec<&str> = hierarchies::implied()
        .filter(|hierarchy| !classes(hierarchy))
        .map(|hierarchy| hierarchy.label.as_str())
        .collect();
    world.root.delegate_to_enter("", ALICE, &labels).unwrap();
}

fn user(world: &World, uid: u32) -> Peer {
    let mut peer = world.peer_in("");
    peer.ids(uid, uid, &[]);
    peer
}

/// A script in which `cgctl` talks to the daemon.
fn shell(world: &World, peer: &mut Peer, script: &str) -> Output {
    let own = format!(
        "PATH=/usr/bin:/bin; cgctl() {{ {} --address {} \"$@\"; }}",
        bins::cgctl().display(),
        world.daemon.address()
    );
    peer.run(&["sh", "-c", &format!("{own}; {script}")])
}

/// How many lines of `/proc/PID/cgroup` are of this path.
fn lines(world: &World, text: &str, path: &str) -> usize {
    let place = format!(":{}/{path}", world.cgroups.path());
    text.lines().filter(|line| line.ends_with(&place)).count()
}

/// It is there, and nowhere else, where that exists.
#[track_caller]
fn assert_in(world: &World, text: &str, path: &str) {
    let exists = |hierarchy: &&Hierarchy| world.cgroups.dir(hierarchy, path).is_dir();
    let there = hierarchies::implied().filter(exists).count();
    assert!(there > 0, "there is no {path}: {text}");
    assert_eq!(lines(world, text, path), there, "{text}");
}

fn the_shell_that_calls_it_goes_there(world: &World) {
    delegate(world);
    let session = format!("{}/session", home());
    let done =
        shell(world, &mut user(world, ALICE), "cgctl enter && cat /proc/self/cgroup; echo $$");
    let pid = done.text.lines().last().unwrap();
    assert!(done.text.contains(&format!("/{session}  process {pid}\n")), "{}", done.text);
    assert_in(world, &done.text, &session);
    // Elsewhere, and once more from there.
    let script = "cgctl -q enter; cgctl -j enter other && cat /proc/self/cgroup";
    let done = shell(world, &mut user(world, ALICE), script);
    let other = format!("{}/other", home());
    assert!(done.text.contains(&format!("{{\"path\":\"/{other}\",\"pid\":")), "{}", done.text);
    assert_in(world, &done.text, &other);
}

fn a_command_goes_there(world: &World) {
    delegate(world);
    let session = format!("{}/session", home());
    let mut alice = user(world, ALICE);
    let done = shell(world, &mut alice, "cgctl enter -- cat /proc/self/cgroup");
    assert_in(world, &done.text, &session);
    let done = shell(world, &mut alice, "cat /proc/self/cgroup");
    assert_eq!(lines(world, &done.text, &session), 0, "the shell stays: {}", done.text);
    for (command, status) in [
        ("session -- sh -c \"exit 3\"", 3),
        ("-- no-such-command-anywhere", 127),
        ("-- /dev/null", 126),
        ("../x -- true", 125),
        ("--nonsense -- true", 125),
        ("--nonsense", 2),
        ("..", 8),
    ] {
        let done = shell(world, &mut alice, &format!("cgctl enter {command}"));
        assert_eq!(done.status, status, "{command}: {}", done.text);
    }
}

fn who_has_nothing_is_told_so(world: &World) {
    delegate(world);
    unchanged(&world.cgroups, || {
        let mut bob = user(world, BOB);
        let done = shell(world, &mut bob, "cgctl enter 2>&1");
        assert_eq!(done.status, 4, "{}", done.text);
        assert!(done.text.contains("cgctl delegate"), "{}", done.text);
        let done = shell(world, &mut bob, &format!("cgctl enter /{}/session 2>&1", home()));
        assert_eq!(done.status, 4, "{}", done.text);
    });
}

/// Where it would go is beside all others' cgroups.
fn root_says_where(world: &World) {
    let mut root = world.peer_in("");
    unchanged(&world.cgroups, || {
        let done = shell(world, &mut root, "cgctl enter 2>&1");
        assert!(done.status == 2 && done.text.contains("cgctl enter PATH"), "{}", done.text);
        assert_eq!(shell(world, &mut root, "cgctl enter -- true").status, 125);
        let done = shell(world, &mut root, "export SUDO_UID=1; cgctl enter /a 2>&1");
        assert!(done.status == 1 && done.text.contains("it is sudo"), "{}", done.text);
    });
    let done = shell(world, &mut root, "cgctl -q enter /a -- cat /proc/self/cgroup");
    assert_in(world, &done.text, "a");
}

/// cgctl runs as somebody else than what has called it.
fn only_ones_own_shell(world: &World) {
    delegate(world);
    let as_alice = format!(
        "setpriv --reuid={ALICE} --regid={ALICE} --clear-groups {} --address {} enter 2>&1; exit $?",
        bins::cgctl().display(),
        world.daemon.address()
    );
    let mut root = world.peer_in("");
    // One that forks for it.
    let done = root.run(&["sh", "-c", &as_alice]);
    assert!(done.status == 1 && done.text.contains("another user's"), "{}", done.text);
    assert!(world.cgroups.is_nowhere(&format!("{}/session", home())));
}

const HOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/profile.d/cgroupd.sh");

/// A shell that reads the hook, with a `cgctl` in its path that knows where the daemon is.
fn login(world: &World, peer: &mut Peer, address: &str) -> Output {
    let bin = world.daemon.dir().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let cgctl = bin.join("cgctl");
    if !cgctl.exists() {
        std::os::unix::fs::symlink(bins::cgctl(), cgctl).unwrap();
    }
    let script = format!(
        "set -eu; export CGROUPD_ADDRESS={address} PATH={}:$PATH; . {HOOK}; echo started; \
         cat /proc/self/cgroup",
        bin.display()
    );
    peer.run(&["sh", "-c", &script])
}

fn a_login_shell_goes_there(world: &World) {
    delegate(world);
    let session = format!("{}/session", home());
    let address = world.daemon.address();
    let done = login(world, &mut user(world, ALICE), &address);
    assert!(done.status == 0 && done.text.starts_with("started\n"), "{}", done.text);
    assert_in(world, &done.text, &session);
    // Whoever has nothing, and root, stay where they are, and hear nothing of it.
    unchanged(&world.cgroups, || {
        for uid in [BOB, 0] {
            let done = login(world, &mut user(world, uid), &address);
            assert!(done.status == 0 && done.text.starts_with("started\n"), "{}", done.text);
        }
    });
}

/// None that listens, none that answers, and none at all.
fn a_session_starts_without_the_daemon(world: &World) {
    delegate(world);
    let dir = world.daemon.dir();
    let silent = std::os::unix::net::UnixListener::bind(dir.join("silent")).unwrap();
    let dead = std::os::unix::net::UnixListener::bind(dir.join("dead")).unwrap();
    drop(dead);
    for name in ["silent", "dead", "not-there"] {
        Command::new("chmod").arg("0666").arg(dir.join(name)).output().unwrap();
        let address = format!("unix:path={}", dir.join(name).display());
        let began = Instant::now();
        let done = login(world, &mut user(world, ALICE), &address);
        assert!(done.status == 0 && done.text.starts_with("started\n"), "{name}: {}", done.text);
        assert!(began.elapsed() < patience(Duration::from_secs(8)), "{name}: nobody waits so long");
    }
    drop(silent);
    let missing = format!("set -eu; PATH=/usr/bin:/bin; . {HOOK}; echo started");
    let done = user(world, ALICE).run(&["sh", "-c", &missing]);
    assert_eq!((done.status, done.text.as_str()), (0, "started\n"));
}
