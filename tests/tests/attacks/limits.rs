//! SetLimits: all or nothing, and nothing that others would feel.

use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies::{self, Version};
use cgroupd_tests::need::{is_translated, patience, skip};
use cgroupd_tests::peer::{ALICE, tied};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;

pub(crate) const TESTS: &[Test] = &tests![
    case_32_shrinking_what_is_in_use,
    case_33_a_bad_value_among_good_ones,
    case_33_a_limit_that_is_not_here,
    case_33_one_that_the_kernel_refuses,
    case_33_a_limit_of_somebody_elses_cgroup,
];

/// A shell with 64 MiB that nothing can be taken from, and twenty who try, again and again.
/// Somebody else's calls are answered meanwhile.
fn case_32_shrinking_what_is_in_use(world: &World) {
    // Each waits for a turn of the processor, which twenty others want: a slow one is asked less.
    let calls = if is_translated() { 25 } else { 200 };
    if hierarchies::v1_of("memory").is_none() {
        return skip("v1-memory", "no v1 hierarchy has memory");
    }
    world.root.create("/big").unwrap();
    let hog = Hog::start(world, "/big");
    let alice = world.user(ALICE);
    let clients: Vec<_> = (0..20).map(|_| world.daemon.connect()).collect();
    let done = AtomicBool::new(false);
    let mut waits: Vec<Duration> = std::thread::scope(|threads| {
        for client in &clients {
            threads.spawn(|| {
                while !done.load(Relaxed) {
                    let force = ["force"];
                    client.set_limits("/big", &[("memory.max", "1M")], &force).unwrap_err();
                }
            });
        }
        let mut waits = Vec::with_capacity(calls);
        for _ in 0..calls {
            let start = Instant::now();
            // Nothing in here may panic while the others run.
            let answer = alice.who_am_i();
            waits.push(if answer.is_ok() { start.elapsed() } else { Duration::MAX });
        }
        done.store(true, Relaxed);
        waits
    });
    waits.sort_unstable();
    let (median, p99) = (waits[calls / 2], waits[calls * 99 / 100]);
    // A tenth of that on an idle machine; one that is busy with other tests is not.
    assert!(p99 < patience(Duration::from_millis(250)), "median {median:?}, p99 {p99:?}");
    drop(hog);
}

/// Has 64 MiB until it is killed.
struct Hog(std::process::Child);

impl Hog {
    fn start(world: &World, path: &str) -> Self {
        let script = "x=$(head -c 67108864 /dev/zero | tr '\\0' x); echo full; read stop";
        let mut command = tied("sh");
        command.args(["-c", &format!("read go; {script}")]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut hog = Self(command.spawn().expect("sh is there"));
        world.root.move_pid(path, hog.0.id().cast_signed()).unwrap();
        writeln!(hog.0.stdin.as_mut().unwrap(), "go").unwrap();
        let mut said = [0; 5];
        hog.0.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        hog
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait().map(drop));
    }
}

fn case_33_a_bad_value_among_good_ones(world: &World) {
    if hierarchies::of("pids").is_none() {
        return skip("pids", "no hierarchy has pids");
    }
    world.root.create("/a").unwrap();
    let good = ("pids.max", "100");
    let bad = [
        ("memory.max", "64X"),
        ("memory.max", "-1"),
        ("memory.max", ""),
        ("cpu.max", "1 2 3"),
        ("cpu.weight", "0"),
        ("cpu.weight", "10001"),
        ("cpus", "0"),
        ("nonsense.max", "1"),
        ("pids.current", "1"),
        ("cgroup.procs", "1"),
    ];
    unchanged(&world.cgroups, || {
        for bad in bad {
            let text =
                refused(world.root.set_limits("/a", &[good, bad], &[]), ErrorName::InvalidLimit);
            assert!(text.contains(bad.0), "{text}");
        }
        let twice = [good, ("cpus", "1"), ("cpu.max", "max")];
        refused(world.root.set_limits("/a", &twice, &[]), ErrorName::InvalidLimit);
    });
    world.root.set_limits("/a", &[good], &[]).unwrap();
    assert_eq!(world.root.read("/a", "pids.max").unwrap().trim(), "100");
}

fn case_33_a_limit_that_is_not_here(world: &World) {
    if hierarchies::of("pids").is_none() || hierarchies::v1_of("memory").is_none() {
        return skip("v1-memory", "no v1 hierarchy has memory");
    }
    world.root.create("/a").unwrap();
    unchanged(&world.cgroups, || {
        for absent in [("memory.high", "1G"), ("memory.min", "1G")] {
            let limits = [("pids.max", "100"), absent];
            let text = refused(world.root.set_limits("/a", &limits, &[]), ErrorName::NotSupported);
            assert!(text.contains(absent.0), "{text}");
        }
    });
    world.root.set_limits("/a", &[("pids.max", "100"), ("memory.max", "1G")], &[]).unwrap();
}

/// A quota above the parent's is refused by v1 only when it is written.
fn case_33_one_that_the_kernel_refuses(world: &World) {
    let (Some(cpu), Some(_)) = (hierarchies::v1_of("cpu"), hierarchies::of("pids")) else {
        return skip("v1-cpu", "no v1 hierarchy has cpu");
    };
    if !world.cgroups.dir(cpu, "").join("cpu.cfs_quota_us").exists() {
        return skip("cfs", "this kernel's v1 cpu has no quota");
    }
    world.root.create("/a/b").unwrap();
    world.root.set_limits("/a", &[("cpu.max", "50000 100000")], &[]).unwrap();
    world.root.set_limits("/a/b", &[("pids.max", "7"), ("memory.max", "1G")], &[]).unwrap();
    unchanged(&world.cgroups, || {
        let limits = [("pids.max", "100"), ("memory.max", "2G"), ("cpu.max", "90000 100000")];
        let error = world.root.set_limits("/a/b", &limits, &[]).unwrap_err();
        assert!(error.service().is_some(), "{error}");
        for (name, _) in limits {
            assert!(error.text.contains(name), "{name} is not named: {error}");
        }
    });
    world
        .root
        .set_limits("/a/b", &[("pids.max", "100"), ("cpu.max", "40000 100000")], &[])
        .unwrap();
    assert_eq!(world.root.read("/a/b", "pids.max").unwrap().trim(), "100");
}

fn case_33_a_limit_of_somebody_elses_cgroup(world: &World) {
    let Some(pids) = hierarchies::of("pids") else {
        return skip("pids", "no hierarchy has pids");
    };
    world.cgroups.make_for("home", ALICE);
    if pids.version == Version::V2 {
        // Who hands a cgroup over gives it controllers: what lies above it is not Alice's.
        world.cgroups.write(pids, "", "cgroup.subtree_control", "+pids");
    }
    let alice = world.user(ALICE);
    alice.create("/home/a").unwrap();
    unchanged(&world.cgroups, || {
        for path in ["/home", "/"] {
            let result = alice.set_limits(path, &[("pids.max", "100")], &[]);
            refused(result, ErrorName::Denied);
        }
    });
    alice.set_limits("/home/a", &[("pids.max", "100")], &[]).unwrap();
}
