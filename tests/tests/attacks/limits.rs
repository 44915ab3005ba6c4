//! SetLimits: all or nothing, and nothing that others would feel.

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies;
use cgroupd_tests::peer::ALICE;
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;

pub(crate) const TESTS: &[Test] = &tests![
    case_33_a_bad_value_among_good_ones,
    case_33_a_limit_that_is_not_here,
    case_33_one_that_the_kernel_refuses,
    case_33_a_limit_of_somebody_elses_cgroup,
];

fn case_33_a_bad_value_among_good_ones(world: &World) {
    if hierarchies::v1_of("pids").is_none() {
        return;
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
    if hierarchies::v1_of("pids").is_none() || hierarchies::v1_of("memory").is_none() {
        return;
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
    let (Some(cpu), Some(_)) = (hierarchies::v1_of("cpu"), hierarchies::v1_of("pids")) else {
        return;
    };
    if !world.cgroups.dir(cpu, "").join("cpu.cfs_quota_us").exists() {
        return;
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
    if hierarchies::v1_of("pids").is_none() {
        return;
    }
    world.cgroups.make_for("home", ALICE);
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
