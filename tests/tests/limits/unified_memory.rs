//! Memory on v2: protections, and a limit below what is in use, which kills.

use cgroupd::cgroup::Version;
use cgroupd_proto::ErrorName;
use libtest_mimic::Trial;

use crate::cgroup::{Cgroup, wire};
use crate::victim::Victim;
use crate::{Prerequisite, has, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("v2_memory_has_five_limits", v2, five),
        test("v2_memory_below_use_is_busy_and_kills_nobody", v2, busy),
        test("v2_memory_forced_below_use_kills", v2, kills),
        test("v2_high_below_use_kills_nobody", v2, high),
        test("v2_swap_has_a_limit_of_its_own", swap, swap_alone),
    ]
}

fn v2() -> Prerequisite {
    has("memory", Version::V2)
}

fn swap() -> Prerequisite {
    v2()?;
    match Cgroup::new().dir_of("memory").stat_at("memory.swap.max") {
        Ok(_) => Ok(()),
        Err(_) => Err("needs swap accounting".to_owned()),
    }
}

fn five() {
    let cgroup = Cgroup::new();
    let limits = [
        ("memory.max", "128M"),
        ("memory.high", "10000001"),
        ("memory.low", "32M"),
        ("memory.min", "50%"),
    ];
    let expected = cgroup.expected(&limits);
    let set = cgroup.set(&limits).unwrap();
    assert_eq!(set, expected);
    assert_eq!(set["memory.high"], "9998336");
    assert_eq!(cgroup.all_set().len(), 4);
    let none =
        [("memory.max", "max"), ("memory.high", "max"), ("memory.low", "0"), ("memory.min", "0")];
    cgroup.set(&none).unwrap();
    assert!(cgroup.all_set().is_empty());
    assert_eq!(cgroup.refused(&[("memory.low", "1")]).name, ErrorName::InvalidLimit);
}

fn oom_kills(cgroup: &Cgroup) -> u64 {
    let events = cgroup.raw("memory", "memory.events");
    let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.expect("oom_kill").parse().expect("a number")
}

fn busy() {
    let cgroup = Cgroup::new();
    let victim = Victim::new(cgroup.dir_of("memory"), "anon:64");
    let error = cgroup.refused(&[("pids.max", "500"), ("memory.max", "16M")]);
    assert_eq!(error.name, ErrorName::Busy);
    assert!(error.hint.as_ref().unwrap().contains("kills what does not fit"), "{error}");
    assert_eq!((cgroup.get("memory.max"), cgroup.get("pids.max")), ("max".into(), "max".into()));
    assert_eq!(oom_kills(&cgroup), 0);
    drop(victim);
}

fn kills() {
    let cgroup = Cgroup::new();
    let _victim = Victim::new(cgroup.dir_of("memory"), "anon:64");
    let set = cgroup.force(&[("memory.max", "16M")]).expect("the kernel makes room");
    assert_eq!(set, wire(&[("memory.max", "16777216")]));
    assert_eq!(oom_kills(&cgroup), 1);
}

fn high() {
    let cgroup = Cgroup::new();
    let _victim = Victim::new(cgroup.dir_of("memory"), "anon:64");
    let set = cgroup.set(&[("memory.high", "16M")]).expect("without force");
    assert_eq!(set, wire(&[("memory.high", "16777216")]));
    assert_eq!(oom_kills(&cgroup), 0);
    cgroup.set(&[("memory.high", "max")]).expect("and back");
}

fn swap_alone() {
    let cgroup = Cgroup::new();
    assert_eq!(cgroup.set(&[("memory.swap.max", "16M")]).unwrap()["memory.swap.max"], "16777216");
    cgroup.set(&[("memory.max", "64M")]).unwrap();
    assert_eq!(cgroup.get("memory.swap.max"), "16777216");
}
