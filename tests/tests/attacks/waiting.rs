//! Writes that the kernel holds up (case 67): whoever asks waits no longer than a change may take,
//! nobody else waits at all, and the daemon stops in time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cgroupd_proto::ErrorName;
use cgroupd_proto::cgmanager::{INTERFACE, OBJECT_PATH};
use cgroupd_tests::client::{Client, Result, refused};
use cgroupd_tests::faults::Fault;
use cgroupd_tests::hierarchies;
use cgroupd_tests::need::{Need, patience, skip, trial};
use cgroupd_tests::peer::ALICE;
use cgroupd_tests::peer::misfit::state;
use cgroupd_tests::world::{Sleeper, World};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A change may take a second.
const CONFIGURATION: &str =
    "[limits]\nchange-seconds = 1\n[compat.cgmanager]\nprivate-socket = true\n";
/// Longer than any change or stop may take.
const HELD_UP: Duration = Duration::from_secs(120);

pub(crate) fn trials() -> Vec<Trial> {
    let needs = &[Need::Root, Need::Strace];
    vec![
        trial("case_67_a_write_that_is_held_up", needs, held_up),
        trial("case_67_reclaim_that_finds_less", &[Need::Root], less_than_asked),
        trial("case_67_a_stop_while_a_write_is_held_up", needs, stopped_meanwhile),
        trial("case_67_a_stop_while_a_move_is_held_up", needs, stopped_while_moving),
    ]
}

/// The files of memory that can be held up, where they are, with values that are near enough to what is
/// in use.
fn files(world: &World) -> Vec<(&'static str, &'static str, PathBuf)> {
    let Some(memory) = hierarchies::of("memory") else { return Vec::new() };
    let known = [
        ("memory.reclaim", "4096"),
        ("memory.max", "16777216"),
        ("memory.high", "16777216"),
        ("memory.limit_in_bytes", "16777216"),
        ("memory.memsw.limit_in_bytes", "16777216"),
    ];
    let placed = known.map(|(file, value)| {
        let path = world.cgroups.dir(memory, "a").join(file);
        (file, value, std::fs::canonicalize(&path).unwrap_or(path))
    });
    placed.into_iter().filter(|(_, _, path)| path.exists()).collect()
}

/// Makes `/a` with the files of memory, which cgroup v2 has only where its controller is enabled.
fn make(world: &World) {
    let memory: &[&str] = if hierarchies::of("memory").is_some() { &["memory"] } else { &[] };
    world.root.create_with("/a", memory, &[]).unwrap();
}

/// cgmanager's SetValue, which writes the same file.
fn set_value(client: &Client, file: &str, value: &str) -> Result<()> {
    let arguments = ("memory", "a", file, value);
    client.call_at(OBJECT_PATH, Some(INTERFACE), "SetValue", &arguments).map(drop)
}

fn held_up() {
    let world = World::configured("waiting", CONFIGURATION);
    make(&world);
    let files = files(&world);
    if files.is_empty() {
        return skip("memory", "no hierarchy has memory");
    }
    let other = world.user(ALICE);
    for (file, value, path) in files {
        let fault = Fault::delay_writes(world.daemon.pid(), &path, HELD_UP);
        let began = Instant::now();
        std::thread::scope(|threads| {
            let write = threads.spawn(|| world.root.write("/a", file, value));
            for _ in 0..20 {
                let began = Instant::now();
                other.who_am_i().unwrap();
                assert!(began.elapsed() < patience(Duration::from_millis(500)), "{file}");
            }
            let text = refused(write.join().unwrap(), ErrorName::TimedOut);
            assert!(text.contains("still under way") && text.contains(file), "{text}");
        });
        set_value(&world.root, file, value).expect_err("cgmanager has one word for it");
        assert!(began.elapsed() < patience(Duration::from_secs(5)), "{file}");
        // Two threads of one user are out there: no more are started.
        refused(world.root.write("/a", file, value), ErrorName::QuotaExceeded);
        fault.release();
        let end = Instant::now() + patience(Duration::from_secs(5));
        while let Err(error) = world.root.write("/a", file, value) {
            let may_be = [Some(ErrorName::QuotaExceeded), Some(ErrorName::Busy)];
            assert!(may_be.contains(&error.service()), "{error}");
            if error.service() == Some(ErrorName::Busy) || Instant::now() > end {
                assert_eq!(file, "memory.reclaim", "{error}");
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    drop(other);
    world.finish();
}

/// EAGAIN of memory.reclaim is no quota.
fn less_than_asked() {
    let world = World::new("waiting");
    make(&world);
    if !files(&world).iter().any(|(file, ..)| *file == "memory.reclaim") {
        return skip("memory.reclaim", "no hierarchy has memory.reclaim");
    }
    let text = refused(world.root.write("/a", "memory.reclaim", "1G"), ErrorName::Busy);
    assert!(text.contains("less could be reclaimed"), "{text}");
    world.root.write("/a", "memory.reclaim", "0").unwrap();
    world.finish();
}

fn stopped_meanwhile() {
    let world = World::new("waiting");
    make(&world);
    let Some((file, value, path)) = files(&world).pop() else {
        return skip("memory", "no hierarchy has memory");
    };
    let fault = Fault::delay_writes(world.daemon.pid(), &path, HELD_UP);
    stops_in_time(world, fault, |client| client.write("/a", file, value));
}

/// What runs on no thread of its own is left behind as well.
fn stopped_while_moving() {
    let world = World::new("waiting");
    world.root.create("/a").unwrap();
    let sleeper = Sleeper::start(0);
    let hierarchy = hierarchies::implied().next().expect("root has one");
    let path = world.cgroups.dir(hierarchy, "a").join("cgroup.procs");
    let path = std::fs::canonicalize(path).expect("it was made");
    let fault = Fault::delay_writes(world.daemon.pid(), &path, HELD_UP);
    let pid = sleeper.pid();
    stops_in_time(world, fault, move |client| client.move_pid("/a", pid));
}

/// The stop waits ten seconds for the call, which never ends, and no longer for anything.
fn stops_in_time(
    world: World,
    fault: Fault,
    call: impl FnOnce(&Client) -> Result<()> + Send + 'static,
) {
    let World { root, daemon, cgroups, .. } = world;
    let client = daemon.connect();
    let call = std::thread::spawn(move || call(&client));
    std::thread::sleep(patience(Duration::from_millis(200)));
    drop(root);
    let began = Instant::now();
    kill(Pid::from_raw(daemon.pid()), Signal::SIGTERM).expect("it runs");
    // A zombie that is traced has ended, and cannot be waited for by its parent.
    while state(daemon.pid()).is_some_and(|state| state != 'Z') {
        assert!(began.elapsed() < patience(Duration::from_secs(13)), "it does not stop");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(began.elapsed() > Duration::from_secs(5), "the call was given time");
    fault.release();
    daemon.stop();
    call.join().unwrap().expect_err("nobody answers");
    drop(cgroups);
}
