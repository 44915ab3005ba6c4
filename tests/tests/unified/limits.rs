//! Every limit of v2, over the wire, and what the kernel's own file says afterwards.

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::need::{Need, scratch_disk};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;

use crate::v2;

pub(crate) const TESTS: &[Test] = &tests![needs Unified:
    every_limit_is_the_kernels,
    cpusets,
    what_this_kernel_does_not_have,
];

pub(crate) const DISK_TESTS: &[Test] = &[Test {
    name: "limits_of_a_disk",
    needs: &[Need::Unified, Need::ScratchDisk],
    run: limits_of_a_disk,
}];

/// Given, answered, and as the kernel's file says it.
const LIMITS: &[(&str, &str, &str)] = &[
    ("memory.max", "64M", "67108864"),
    ("memory.high", "10000001", "9998336"),
    ("memory.low", "1M", "1048576"),
    ("memory.min", "1M", "1048576"),
    ("cpu.max", "50000 200000", "50000 200000"),
    ("cpu.weight", "250", "250"),
    ("cpuset.cpus", "0", "0"),
    ("cpuset.mems", "0", "0"),
    ("pids.max", "33", "33"),
    ("cgroup.max.depth", "4", "4"),
    ("cgroup.max.descendants", "7", "7"),
];

/// Those that kernels and machines have or have not.
const SOMETIMES: &[(&str, &str, &str)] =
    &[("memory.swap.max", "1M", "1048576"), ("hugetlb.2MB.max", "4M", "4194304")];

fn every_limit_is_the_kernels(world: &World) {
    // systemd keeps hugetlb for itself.
    let controllers = world.cgroups.read(v2(), "", "cgroup.controllers");
    let probed = ["hugetlb", "memory"].into_iter().filter(|name| controllers.contains(name));
    world.root.create_with("/probe", &probed.collect::<Vec<_>>(), &[]).unwrap();
    let there =
        |limit: &&(&str, &str, &str)| world.cgroups.dir(v2(), "probe").join(limit.0).exists();
    let limits: Vec<_> = LIMITS.iter().chain(SOMETIMES.iter().filter(there)).collect();
    let given: Vec<(&str, &str)> = limits.iter().map(|(name, given, _)| (*name, *given)).collect();
    world.root.create_limited("/all", &[], &given).unwrap();
    for (name, _, kernels) in &limits {
        assert_eq!(world.cgroups.read(v2(), "all", name), *kernels, "{name}");
    }
    let set = world.root.wait(world.root.manager().get_limits("/all", &[])).unwrap();
    for (name, _, kernels) in &limits {
        assert_eq!(set[*name], *kernels, "{name}");
    }
    assert_eq!(set.len(), limits.len(), "{set:?}");
    // `cpus` is another name; idle takes the weight away.
    world.root.create("/one").unwrap();
    world.root.set_limits("/one", &[("cpus", "1.5")], &[]).unwrap();
    assert_eq!(world.cgroups.read(v2(), "one", "cpu.max"), "150000 100000");
    world.root.set_limits("/one", &[("cpu.idle", "1")], &[]).unwrap();
    assert_eq!(world.cgroups.read(v2(), "one", "cpu.idle"), "1");
}

fn cpusets(world: &World) {
    world.root.create_limited("/a/b", &[], &[("cpuset.cpus", "0")]).unwrap();
    let read = |path: &str, file: &str| world.cgroups.read(v2(), path, file);
    assert_eq!(read("a", "cpuset.cpus"), "", "parents get none");
    assert_eq!(read("a/b", "cpuset.cpus.effective"), "0");
    // Empty inherits.
    world.root.set_limits("/a/b", &[("cpuset.cpus", "")], &[]).unwrap();
    assert_eq!(read("a/b", "cpuset.cpus"), "");
    assert_eq!(read("a/b", "cpuset.cpus.effective"), read("a", "cpuset.cpus.effective"));
    unchanged(&world.cgroups, || {
        for bad in [("cpuset.cpus", "x"), ("cpuset.cpus", "99999"), ("cpuset.mems", "999")] {
            refused(world.root.set_limits("/a/b", &[bad], &[]), ErrorName::InvalidLimit);
        }
    });
}

fn what_this_kernel_does_not_have(world: &World) {
    unchanged(&world.cgroups, || {
        let pages = world.root.create_limited("/a", &[], &[("hugetlb.512GB.max", "0")]);
        refused(pages, ErrorName::NotSupported);
    });
    world.root.create("/a").unwrap();
}

/// One that is written to is limited: by path, by name and by number.
fn limits_of_a_disk(world: &World) {
    let disk = scratch_disk().expect("it is needed");
    let number = std::fs::read_to_string(format!("/sys/block/{disk}/dev")).unwrap();
    let number = number.trim();
    world.root.create("/a").unwrap();
    for device in [format!("/dev/{disk}"), disk.clone(), number.to_owned()] {
        let limit = format!("{device} rbps=10M wiops=100");
        let expected = format!("{number} rbps=10485760 wbps=max riops=max wiops=100");
        let answer = world.root.set_limits("/a", &[("io.max", &limit)], &[]).unwrap();
        assert_eq!(answer["io.max"], expected);
        assert_eq!(world.cgroups.read(v2(), "a", "io.max"), expected);
        // Only the named keys change.
        let more = format!("{device} rbps=max");
        world.root.set_limits("/a", &[("io.max", &more)], &[]).unwrap();
        let file = world.cgroups.read(v2(), "a", "io.max");
        assert_eq!(file, format!("{number} rbps=max wbps=max riops=max wiops=100"));
        let none = format!("{device} wiops=max");
        world.root.set_limits("/a", &[("io.max", &none)], &[]).unwrap();
        assert_eq!(world.cgroups.read(v2(), "a", "io.max"), "");
    }
    weight(world);
    unchanged(&world.cgroups, || {
        let unknown = world.root.set_limits("/a", &[("io.max", "nonsense rbps=1M")], &[]);
        refused(unknown, ErrorName::InvalidLimit);
    });
}

/// Which file has it depends on the kernel's schedulers.
fn weight(world: &World) {
    let there = |file: &&str| world.cgroups.dir(v2(), "a").join(file).exists();
    let Some(file) = ["io.weight", "io.bfq.weight"].into_iter().find(|file| there(file)) else {
        let absent = world.root.set_limits("/a", &[("io.weight", "default 200")], &[]);
        refused(absent, ErrorName::NotSupported);
        return;
    };
    world.root.set_limits("/a", &[("io.weight", "200")], &[]).unwrap();
    assert!(world.cgroups.read(v2(), "a", file).starts_with("default 200"), "{file}");
}
