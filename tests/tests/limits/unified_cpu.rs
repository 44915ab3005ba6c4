//! CPU on v2, where one file has quota and period, children may have more than their parents,
//! and empty cpusets inherit.

use cgroupd::cgroup::Version;
use cgroupd_proto::ErrorName;
use libtest_mimic::Trial;

use crate::cgroup::{Cgroup, wire};
use crate::{Prerequisite, has, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("v2_cpu_max", v2, cpu_max),
        test("v2_a_child_may_have_more_than_its_parent", v2, above_parent),
        test("v2_weight_and_idleness", v2_idle, idle),
        test("v2_idleness_is_restored_with_the_weight", v2_idle_io, restores_weight),
        test("v2_cpuset_empty_inherits", v2_cpuset, cpuset),
        test("v2_cpuset_of_what_there_is_not", v2_cpuset, no_such_cpu),
    ]
}

fn v2() -> Prerequisite {
    has("cpu", Version::V2)
}

fn v2_cpuset() -> Prerequisite {
    has("cpuset", Version::V2)
}

fn v2_idle() -> Prerequisite {
    v2()?;
    match Cgroup::new().dir_of("cpu").stat_at("cpu.idle") {
        Ok(_) => Ok(()),
        Err(_) => Err("needs cpu.idle".to_owned()),
    }
}

fn v2_idle_io() -> Prerequisite {
    v2_idle()?;
    has("io", Version::V2)
}

fn cpu_max() {
    let cgroup = Cgroup::new();
    for (name, given, read) in [
        ("cpu.max", "20000 50000", "20000 50000"),
        ("cpu.max", "30000", "30000 50000"),
        ("cpu.max", "max", "max 50000"),
        ("cpus", "1.5", "150000 100000"),
        ("cpu.max", "max 200000", "max 200000"),
        ("cpu.max", "1%", "1000 100000"),
    ] {
        let expected = wire(&[("cpu.max", read)]);
        assert_eq!(cgroup.expected(&[(name, given)]), expected, "{given}");
        assert_eq!(cgroup.set(&[(name, given)]).unwrap(), expected, "{given}");
    }
}

fn above_parent() {
    let parent = Cgroup::new();
    parent.set(&[("cpu.max", "50%")]).unwrap();
    parent.child("c").set(&[("cpu.max", "150%")]).expect("v2 takes it");
}

fn idle() {
    let cgroup = Cgroup::new();
    cgroup.set(&[("cpu.weight", "300")]).unwrap();
    assert_eq!(cgroup.all_set()["cpu.weight"], "300");
    cgroup.set(&[("cpu.idle", "1")]).unwrap();
    assert_eq!(cgroup.get("cpu.weight"), "0");
    let error = cgroup.refused(&[("cpu.weight", "50")]);
    assert_eq!(error.name, ErrorName::InvalidLimit);
    assert_eq!(error.hint.unwrap(), "set cpu.idle to 0 with it");
    let set = cgroup.set(&[("cpu.weight", "50"), ("cpu.idle", "0")]).unwrap();
    assert_eq!(set, wire(&[("cpu.idle", "0"), ("cpu.weight", "50")]));
}

/// No machine has this device.
const NOWHERE: (&str, &str) = ("io.max", "4000:9999 rbps=1M");

fn restores_weight() {
    let cgroup = Cgroup::new();
    cgroup.set(&[("cpu.weight", "300")]).unwrap();
    let error = cgroup.refused(&[("cpu.idle", "1"), NOWHERE, ("pids.max", "7")]);
    assert!(error.text.ends_with("; restored: cpu.idle; kept: io.max, pids.max"), "{error}");
    assert_eq!((cgroup.get("cpu.idle"), cgroup.get("cpu.weight")), ("0".into(), "300".into()));
    cgroup.set(&[("cpu.idle", "1")]).unwrap();
    let error = cgroup.refused(&[("cpu.idle", "0"), ("cpu.weight", "50"), NOWHERE]);
    assert!(error.text.ends_with("; restored: cpu.idle, cpu.weight; kept: io.max"), "{error}");
    assert_eq!((cgroup.get("cpu.idle"), cgroup.get("cpu.weight")), ("1".into(), "0".into()));
}

fn cpuset() {
    let cgroup = Cgroup::new();
    assert_eq!(cgroup.get("cpuset.cpus"), "");
    assert_eq!(cgroup.set(&[("cpuset.cpus", "0")]).unwrap()["cpuset.cpus"], "0");
    assert_eq!(cgroup.all_set()["cpuset.cpus"], "0");
    assert_eq!(cgroup.set(&[("cpuset.cpus", "")]).unwrap()["cpuset.cpus"], "");
    assert!(cgroup.all_set().is_empty());
}

fn no_such_cpu() {
    let cgroup = Cgroup::new();
    let error = cgroup.refused(&[("cpuset.cpus", "0"), ("cpuset.mems", "60000")]);
    assert_eq!(error.name, ErrorName::InvalidLimit, "{error}");
    assert!(error.text.ends_with("; restored: cpuset.cpus; kept: cpuset.mems"), "{error}");
    assert_eq!(cgroup.raw("cpuset", "cpuset.cpus"), "", "cleared with an empty line");
}
