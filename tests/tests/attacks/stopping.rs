//! Freezing and killing what one may not, or what does not let itself be stopped.

use std::time::{Duration, Instant};

use cgroupd_proto::ErrorName;
use cgroupd_proto::cgmanager::{INTERFACE, OBJECT_PATH};
use cgroupd_tests::cgroups::Cgroups;
use cgroupd_tests::client::{Client, refused};
use cgroupd_tests::daemon::Daemon;
use cgroupd_tests::hierarchies::{self, Hierarchy, Version};
use cgroupd_tests::need::{Need, patience, skip, trial};
use cgroupd_tests::peer::ALICE;
use cgroupd_tests::peer::misfit::{Misfit, state};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};
use libtest_mimic::Trial;

pub(crate) const TESTS: &[Test] = &tests![
    case_41_a_subtree_with_the_caller,
    case_42_the_top_and_what_lies_above,
    case_42_where_the_daemon_is,
    case_42_the_daemons_own_leaves,
    case_68_files_that_stop_the_daemon,
    case_43_a_frozen_fork_bomb,
    case_43_a_fork_bomb_in_a_frozen_child,
    case_43_a_fork_bomb_is_removed,
    case_43_frozen_from_above,
    case_43_frozen_by_root,
    case_45_a_kernel_thread,
];

pub(crate) const PYTHON_TESTS: &[Test] = &tests![needs Python: case_45_a_dead_leader];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("case_44_a_freeze_that_times_out", &[Need::Root, Need::Fuse], times_out),
        trial("case_44_killed_in_the_middle", &[Need::Root, Need::Fuse], killed_in_the_middle),
        trial("case_44_killing_what_does_not_freeze", &[Need::Root, Need::Fuse], kill_stuck),
    ]
}

/// The hierarchies that have a freezer.
fn freezers() -> impl Iterator<Item = &'static Hierarchy> {
    hierarchies::implied().filter(|h| h.version == Version::V2 || h.is_v1_of("freezer"))
}

/// Whether a freezer of `path` itself is set, in any hierarchy.
fn is_set(cgroups: &Cgroups, path: &str) -> bool {
    freezers().filter(|h| cgroups.dir(h, path).is_dir()).any(|hierarchy| {
        let file = match hierarchy.version {
            Version::V1 => "freezer.self_freezing",
            Version::V2 => "cgroup.freeze",
        };
        cgroups.read(hierarchy, path, file) == "1"
    })
}

/// Sets the freezers of `path` as root, behind the daemon's back.
fn set(cgroups: &Cgroups, path: &str, frozen: bool) {
    for hierarchy in freezers() {
        match (hierarchy.version, frozen) {
            (Version::V1, true) => cgroups.write(hierarchy, path, "freezer.state", "FROZEN"),
            (Version::V1, false) => cgroups.write(hierarchy, path, "freezer.state", "THAWED"),
            (Version::V2, true) => cgroups.write(hierarchy, path, "cgroup.freeze", "1"),
            (Version::V2, false) => cgroups.write(hierarchy, path, "cgroup.freeze", "0"),
        }
    }
}

fn is_empty(cgroups: &Cgroups, path: &str) -> bool {
    hierarchies::implied().all(|hierarchy| cgroups.procs(hierarchy, path).is_empty())
}

fn is_dead(pid: i32) -> bool {
    matches!(state(pid), None | Some('Z' | 'X'))
}

/// The reply is written and the daemon serves others; who asked reads it when thawed.
fn case_41_a_subtree_with_the_caller(world: &World) {
    world.cgroups.make_for("home", ALICE);
    world.cgroups.make_for("home/a", ALICE);
    for hierarchy in freezers() {
        for file in ["freezer.state", "cgroup.freeze"] {
            let file = world.cgroups.dir(hierarchy, "home/a").join(file);
            if file.exists() {
                std::os::unix::fs::chown(file, Some(ALICE), None).unwrap();
            }
        }
    }
    // Its connection is served here, its process is there.
    let alice = world.user_in(ALICE, "home/a");
    alice.freeze("/home/a").unwrap();
    assert!(is_set(&world.cgroups, "home/a"));
    let began = Instant::now();
    world.daemon.connect().create("/meanwhile").unwrap();
    assert!(began.elapsed() < patience(Duration::from_secs(5)));
    // It is as good as anybody while it is frozen: its facts can still be read.
    alice.thaw("/home/a").unwrap();
    assert!(!is_set(&world.cgroups, "home/a"));
}

fn case_42_the_top_and_what_lies_above(world: &World) {
    world.cgroups.make_for("home", ALICE);
    let alice = world.user_in(ALICE, "home");
    alice.create("a").unwrap();
    let own = Sleeper::start(ALICE);
    world.cgroups.put("home/a", own.pid());
    unchanged(&world.cgroups, || {
        for client in [&world.root, &*alice] {
            for path in ["/", "", "/home"] {
                // Host root may stop what was handed over; its owner may not.
                if path == "/home" && std::ptr::eq(client, &world.root) {
                    continue;
                }
                if path.is_empty() && std::ptr::eq(client, &*alice) {
                    continue;
                }
                refused(client.freeze(path), ErrorName::Denied);
                refused(client.thaw(path), ErrorName::Denied);
            }
            refused(client.kill("/", 9), ErrorName::Denied);
            refused(client.kill("/", 15), ErrorName::Denied);
        }
        // By a relative path: her home.
        refused(alice.freeze("."), ErrorName::Denied);
    });
    alice.freeze("a").unwrap();
    alice.thaw("a").unwrap();
    assert_eq!(alice.kill("a", 9).unwrap(), 1);
}

fn case_42_where_the_daemon_is(world: &World) {
    for path in ["/d/daemon", "/d/other", "/e"] {
        world.root.create(path).unwrap();
    }
    let sleeper = Sleeper::start(0);
    world.cgroups.put("d/other", sleeper.pid());
    world.cgroups.put("d/daemon", world.daemon.pid());
    unchanged(&world.cgroups, || {
        for path in ["/d", "/d/daemon"] {
            for result in [
                world.root.freeze(path),
                world.root.thaw(path),
                world.root.kill(path, 9).map(drop),
                world.root.kill(path, 15).map(drop),
                world.root.remove(path, &["kill", "recursive"]).map(drop),
            ] {
                let text = refused(result, ErrorName::Denied);
                assert!(text.contains("daemon"), "{text}");
            }
        }
    });
    world.root.freeze("/d/other").unwrap();
    world.root.thaw("/d/other").unwrap();
    assert_eq!(world.root.kill("/d/other", 9).unwrap(), 1);
    world.cgroups.put("e", world.daemon.pid());
    world.root.freeze("/d").unwrap();
    world.root.remove("/d", &["kill", "recursive"]).unwrap();
    world.cgroups.put("", world.daemon.pid());
}

/// One guard for the effect, whatever causes it: WriteFile and cgmanager's SetValue stop and end
/// nothing that Freeze and Kill do not.
fn case_68_files_that_stop_the_daemon(world: &World) {
    for path in ["/d/daemon", "/d/other"] {
        world.root.create(path).unwrap();
    }
    world.cgroups.put("d/daemon", world.daemon.pid());
    let files = [("cgroup.freeze", "1"), ("cgroup.kill", "1"), ("freezer.state", "FROZEN")];
    let there = |(file, _): &&(&str, &str)| {
        freezers().any(|h| world.cgroups.dir(h, "d/other").join(file).exists())
    };
    let files: Vec<_> = files.iter().filter(there).collect();
    assert!(!files.is_empty());
    unchanged(&world.cgroups, || {
        for (file, value) in &files {
            for path in ["/d", "/d/daemon"] {
                let text = refused(world.root.write(path, file, value), ErrorName::Denied);
                assert!(text.contains("daemon"), "{text}");
                let controller = if *file == "freezer.state" { "freezer" } else { "unified" };
                let arguments = (controller, path.trim_start_matches('/'), *file, *value);
                world
                    .root
                    .call_at(OBJECT_PATH, Some(INTERFACE), "SetValue", &arguments)
                    .unwrap_err();
            }
        }
    });
    for (file, value) in &files {
        let mut sleeper = Sleeper::start(0);
        world.cgroups.put("d/other", sleeper.pid());
        world.root.write("/d/other", file, value).unwrap();
        world.root.thaw("/d/other").unwrap();
        if *file != "cgroup.kill" {
            sleeper.end();
        }
    }
    world.cgroups.put("", world.daemon.pid());
}

/// By anybody, in any way; but they can be looked at.
fn case_42_the_daemons_own_leaves(world: &World) {
    let inside = Sleeper::start(0);
    let outside = Sleeper::start(0);
    for name in [".cgroupd", ".holder", ".other"] {
        world.cgroups.make(name);
        world.cgroups.put(name, inside.pid());
        let path = format!("/{name}");
        let changes = |client: &Client| {
            vec![
                client.freeze(&path),
                client.thaw(&path),
                client.kill(&path, 9).map(drop),
                client.move_pid(&path, outside.pid()),
                client.chmod(&path, "", 0o700),
                client.chown(&path, ALICE, ALICE, &[]),
                client.create(&format!("{path}/a")).map(drop),
                client.write(&path, "cgroup.max.depth", "3").or_else(|error| {
                    // Without cgroup2 there is no such file.
                    let (_, file, value) = crate::settings::writable();
                    drop(error);
                    client.write(&path, file, value)
                }),
                client.remove(&path, &["kill", "recursive"]).map(drop),
            ]
        };
        if name == ".other" {
            let done = changes(&world.root);
            assert!(done.iter().all(Result::is_ok), "{done:?}");
            continue;
        }
        unchanged(&world.cgroups, || {
            for result in changes(&world.root) {
                let text = refused(result, ErrorName::Denied);
                assert!(text.contains("daemon itself"), "{text}");
            }
            assert!(world.root.processes(&path, &[]).unwrap().len() == 1);
        });
        world.cgroups.put("", inside.pid());
    }
}

/// As many as `pids.max` lets them be, coming and going.
fn bomb(world: &World, path: &str) -> Misfit {
    let bomb = Misfit::bomb(&world.cgroups, path);
    let counting = hierarchies::v1_of("pids").or(hierarchies::v2()).unwrap();
    let end = Instant::now() + patience(Duration::from_secs(20));
    while world.cgroups.procs(counting, path).len() < 16 {
        assert!(Instant::now() < end, "the bomb does not go off");
        std::thread::sleep(Duration::from_millis(5));
    }
    bomb
}

const BOUND: &[(&str, &str)] = &[("pids.max", "32")];

fn case_43_a_frozen_fork_bomb(world: &World) {
    world.root.create_limited("/a", &[], BOUND).unwrap();
    for frozen in [true, false] {
        let bomb = bomb(world, "a");
        set(&world.cgroups, "a", frozen);
        let killed = world.root.kill("/a", 9).unwrap();
        assert!(killed >= 8, "{killed}");
        assert!(is_empty(&world.cgroups, "a") && !is_set(&world.cgroups, "a"));
        drop(bomb);
        // Nobody comes back.
        std::thread::sleep(Duration::from_millis(100));
        assert!(is_empty(&world.cgroups, "a"));
    }
    world.root.remove("/a", &[]).unwrap();
}

/// By the owner of the cgroup, who may thaw it.
fn case_43_a_fork_bomb_in_a_frozen_child(world: &World) {
    world.root.create_limited("/a", &[], BOUND).unwrap();
    world.root.create("/a/b/c").unwrap();
    let bomb = bomb_below(world);
    set(&world.cgroups, "a/b", true);
    set(&world.cgroups, "a/b/c", true);
    assert!(world.root.kill("/a/b", 9).unwrap() >= 8);
    assert!(is_empty(&world.cgroups, "a/b") && is_empty(&world.cgroups, "a/b/c"));
    assert!(!is_set(&world.cgroups, "a/b") && !is_set(&world.cgroups, "a/b/c"));
    drop(bomb);
}

fn bomb_below(world: &World) -> Misfit {
    bomb(world, "a/b/c")
}

fn case_43_a_fork_bomb_is_removed(world: &World) {
    world.root.create_limited("/a", &[], BOUND).unwrap();
    let bomb = bomb(world, "a");
    world.root.remove("/a", &["kill"]).unwrap();
    assert!(world.cgroups.is_nowhere("a") && is_dead(bomb.pid()));
}

/// v1 lets nobody die there: so nobody is signalled.
fn case_43_frozen_from_above(world: &World) {
    world.root.create("/a/b").unwrap();
    let sleeper = Sleeper::start(0);
    world.cgroups.put("a/b", sleeper.pid());
    set(&world.cgroups, "a", true);
    if hierarchies::v1_of("freezer").is_some() {
        unchanged(&world.cgroups, || {
            let text = refused(world.root.kill("/a/b", 9), ErrorName::Busy);
            assert!(text.contains("above"), "{text}");
        });
        set(&world.cgroups, "a", false);
        std::thread::sleep(Duration::from_millis(50));
        assert!(!is_dead(sleeper.pid()), "it had the signal");
    }
    assert_eq!(world.root.kill("/a/b", 9).unwrap(), 1);
    assert!(is_empty(&world.cgroups, "a/b"));
}

/// Her own processes, frozen by root: on v1 she cannot have them die, on v2 she may kill those of
/// a cgroup of hers.
fn case_43_frozen_by_root(world: &World) {
    world.cgroups.make_for("home", ALICE);
    let alice = world.user(ALICE);
    alice.create("/home/a").unwrap();
    for hierarchy in freezers().filter(|h| h.version == Version::V1) {
        let file = world.cgroups.dir(hierarchy, "home/a").join("freezer.state");
        std::os::unix::fs::chown(file, Some(0), Some(0)).unwrap();
    }
    let sleeper = Sleeper::start(ALICE);
    world.cgroups.put("home/a", sleeper.pid());
    set(&world.cgroups, "home/a", true);
    if hierarchies::v1_of("freezer").is_some() {
        unchanged(&world.cgroups, || {
            let text = refused(alice.kill("/home/a", 9), ErrorName::Busy);
            assert!(text.contains("frozen"), "{text}");
        });
        set(&world.cgroups, "home/a", false);
    }
    assert_eq!(alice.kill("/home/a", 9).unwrap(), 1);
}

/// What it does not let itself be moved into is passed over: some hierarchy takes it.
fn case_45_a_kernel_thread(world: &World) {
    world.root.create("/a").unwrap();
    let kernel = cgroupd_tests::peer::children(2).into_iter().find(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|name| name == "rcu_preempt\n")
    });
    let Some(kernel) = kernel else {
        return skip("kernel-threads", "this kernel, or pid namespace, has no rcu_preempt");
    };
    let Some(hierarchy) = freezers().next() else {
        return skip("freezer", "no hierarchy has a freezer");
    };
    let procs = |dir: std::path::PathBuf| dir.join("cgroup.procs");
    std::fs::write(procs(world.cgroups.dir(hierarchy, "a")), kernel.to_string()).unwrap();
    let back = Back(procs(hierarchy.mount.clone()), kernel);
    let sleeper = Sleeper::start(0);
    world.cgroups.put("a", sleeper.pid());
    for signal in [9, 15] {
        let began = Instant::now();
        let killed = world.root.kill("/a", signal).unwrap();
        assert_eq!(killed, u32::from(signal == 9));
        assert!(began.elapsed() < patience(Duration::from_secs(5)));
    }
    assert_eq!(world.cgroups.procs(hierarchy, "a"), [kernel]);
    drop(back);
}

/// A kernel thread that goes back to where it was, also when the test fails.
struct Back(std::path::PathBuf, i32);

impl Drop for Back {
    fn drop(&mut self) {
        let _ = std::fs::write(&self.0, self.1.to_string());
    }
}

fn case_45_a_dead_leader(world: &World) {
    world.root.create("/a").unwrap();
    for signal in [9, 15] {
        let headless = Misfit::headless(&world.cgroups, "a");
        world.root.freeze("/a").unwrap();
        world.root.thaw("/a").unwrap();
        assert_eq!(world.root.kill("/a", signal).unwrap(), 1);
        let end = Instant::now() + patience(Duration::from_secs(5));
        while !is_empty(&world.cgroups, "a") {
            assert!(Instant::now() < end && signal == 15, "its other thread lives");
        }
        drop(headless);
    }
}

/// A daemon that waits for a second, and a process that cannot be stopped in `/a`.
fn impatient(cgroups: &Cgroups) -> (Daemon, Client, Misfit) {
    let daemon = Daemon::configured(&cgroups.path(), "[limits]\nchange-seconds = 1\n");
    let client = daemon.connect();
    client.create("/a/b").unwrap();
    let dir = daemon.dir().join("unserved");
    std::fs::create_dir(&dir).unwrap();
    let stuck = Misfit::stuck(cgroups, "a/b", &dir);
    (daemon, client, stuck)
}

fn times_out() {
    let cgroups = Cgroups::new("timeout");
    let (daemon, client, stuck) = impatient(&cgroups);
    let sleeper = Sleeper::start(0);
    cgroups.put("a", sleeper.pid());
    for path in ["/a", "/a/b"] {
        unchanged(&cgroups, || {
            let text = refused(client.freeze(path), ErrorName::TimedOut);
            assert!(text.contains("nothing is left frozen"), "{text}");
        });
        assert!(!is_set(&cgroups, path));
    }
    // The same once it is gone.
    assert_eq!(client.kill("/a/b", 9).unwrap(), 1);
    drop(stuck);
    client.freeze("/a").unwrap();
    assert!(is_set(&cgroups, "a"));
    // What was frozen before stays so when it cannot be frozen again.
    client.thaw("/a").unwrap();
    drop(client);
    daemon.stop();
}

/// Thawed by the next one, which touches nobody else's.
fn killed_in_the_middle() {
    let cgroups = Cgroups::new("middle");
    let daemon = Daemon::start(&cgroups.path());
    let client = daemon.connect();
    client.create("/a/b").unwrap();
    client.create("/frozen").unwrap();
    client.freeze("/frozen").unwrap();
    let dir = tempfile_dir(&cgroups);
    let stuck = Misfit::stuck(&cgroups, "a/b", dir.path());
    std::thread::scope(|threads| {
        threads.spawn(|| client.freeze("/a").expect_err("it ends with the daemon"));
        let end = Instant::now() + patience(Duration::from_secs(10));
        while !is_set(&cgroups, "a") {
            assert!(Instant::now() < end);
            std::thread::sleep(Duration::from_millis(1));
        }
        daemon.kill();
    });
    assert!(is_set(&cgroups, "a"), "nobody could thaw it");
    let daemon = Daemon::start(&cgroups.path());
    let end = Instant::now() + patience(Duration::from_secs(10));
    while is_set(&cgroups, "a") {
        assert!(Instant::now() < end, "it stays half frozen:\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(2));
    }
    while !daemon.log().contains("an earlier daemon was killed") {
        assert!(Instant::now() < end, "{}", daemon.log());
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(is_set(&cgroups, "frozen"), "that one was complete");
    drop(stuck);
    daemon.connect().freeze("/a").unwrap();
    daemon.connect().thaw("/a").unwrap();
    daemon.stop();
}

fn tempfile_dir(cgroups: &Cgroups) -> tempfile::TempDir {
    let path = cgroups.path();
    let name = path.rsplit('/').next().unwrap_or_default();
    tempfile::TempDir::with_prefix(format!("{name}-")).unwrap()
}

/// It is signalled all the same, and ends: its wait is a killable one.
fn kill_stuck() {
    let cgroups = Cgroups::new("stuck");
    let (daemon, client, stuck) = impatient(&cgroups);
    let began = Instant::now();
    assert_eq!(client.kill("/a", 9).unwrap(), 1);
    assert!(began.elapsed() < patience(Duration::from_secs(5)));
    assert!(is_empty(&cgroups, "a/b") && !is_set(&cgroups, "a"));
    drop(stuck);
    client.remove("/a", &["recursive"]).unwrap();
    drop(client);
    daemon.stop();
}
