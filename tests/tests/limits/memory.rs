//! Memory limits: pages, shares of the parent, swap in v1's way.

use cgroupd::cgroup::Version;
use cgroupd_proto::ErrorName;
use libtest_mimic::Trial;

use crate::cgroup::{Cgroup, version_of, wire};
use crate::{Prerequisite, has, root, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("memory_rounds_down_to_pages", memory, pages),
        test("memory_that_would_round_to_nothing", memory, less_than_a_page),
        test("percent_of_the_nearest_limited_ancestor", memory, percent),
        test("v1_has_no_high_and_no_min", v1, v2_only),
        test("v1_low_is_the_soft_limit", v1, low),
        test("v1_swap_is_memsw_without_memory", swap, memsw),
        test("v1_memory_alone_keeps_swap", swap, keeps_swap),
        test("v1_memsw_is_never_below_the_limit", swap, every_way),
        test("v1_swap_alone_needs_a_limit", swap, swap_alone),
    ]
}

fn memory() -> Prerequisite {
    root()?;
    version_of("memory").map(drop).ok_or_else(|| "needs the memory controller".to_owned())
}

fn v1() -> Prerequisite {
    has("memory", Version::V1)
}

fn swap() -> Prerequisite {
    v1()?;
    match Cgroup::new().dir_of("memory").stat_at("memory.memsw.limit_in_bytes") {
        Ok(_) => Ok(()),
        Err(_) => Err("needs swap accounting".to_owned()),
    }
}

fn pages() {
    let cgroup = Cgroup::new();
    for (given, read) in [
        ("10000001", "9998336"),
        ("512M", "536870912"),
        ("1.5G", "1610612736"),
        ("0", "0"),
        ("18446744073709551615", "max"),
        ("9223372036854771712", "max"),
        ("max", "max"),
    ] {
        assert_eq!(cgroup.expected(&[("memory.max", given)]), wire(&[("memory.max", read)]));
        assert_eq!(cgroup.set(&[("memory.max", given)]).unwrap(), wire(&[("memory.max", read)]));
    }
    assert!(cgroup.all_set().is_empty());
}

fn less_than_a_page() {
    let cgroup = Cgroup::new();
    let error = cgroup.refused(&[("pids.max", "5"), ("memory.max", "1")]);
    assert_eq!(error.name, ErrorName::InvalidLimit);
    assert!(error.text.starts_with("memory.max: 1 would round to 0"), "{error}");
    assert_eq!((cgroup.get("memory.max"), cgroup.get("pids.max")), ("max".into(), "max".into()));
}

fn percent() {
    let parent = Cgroup::new();
    let child = parent.child("c");
    let grandchild = child.child("d");
    let whole = |limit: &str| limit.parse::<u64>().unwrap();
    let half_of_ram = whole(&grandchild.set(&[("memory.max", "50%")]).unwrap()["memory.max"]);
    assert!(half_of_ram > 16 << 20, "{half_of_ram}");
    parent.set(&[("memory.max", "64M")]).unwrap();
    assert_eq!(grandchild.set(&[("memory.max", "50%")]).unwrap()["memory.max"], "33554432");
    child.set(&[("memory.max", "32M")]).unwrap();
    assert_eq!(grandchild.set(&[("memory.max", "12.5%")]).unwrap()["memory.max"], "4194304");
    assert_eq!(grandchild.set(&[("memory.max", "0%")]).unwrap()["memory.max"], "0");
    let error = grandchild.refused(&[("memory.max", "0.0001%")]);
    assert_eq!(error.name, ErrorName::InvalidLimit);
}

fn v2_only() {
    let cgroup = Cgroup::new();
    for name in ["memory.high", "memory.min"] {
        let error = cgroup.refused(&[(name, "64M")]);
        assert_eq!(error.name, ErrorName::NotSupported);
        assert_eq!(
            error.text,
            format!("{name}: the memory controller is held by cgroup v1, which has no such limit")
        );
    }
    cgroup.set(&[("memory.low", "64M")]).expect("the twin");
}

fn low() {
    let cgroup = Cgroup::new();
    assert_eq!(cgroup.get("memory.low"), "max");
    cgroup.set(&[("memory.low", "64M")]).unwrap();
    assert_eq!(cgroup.raw("memory", "memory.soft_limit_in_bytes"), "67108864");
    assert_eq!(cgroup.all_set()["memory.low"], "67108864");
    cgroup.set(&[("memory.low", "max")]).unwrap();
    assert!(cgroup.all_set().is_empty());
}

fn memsw() {
    let cgroup = Cgroup::new();
    let set = cgroup.set(&[("memory.max", "64M"), ("memory.swap.max", "16M")]).unwrap();
    assert_eq!(set, wire(&[("memory.max", "67108864"), ("memory.swap.max", "16777216")]));
    assert_eq!(cgroup.raw("memory", "memory.memsw.limit_in_bytes"), "83886080");
    cgroup.set(&[("memory.swap.max", "0")]).unwrap();
    assert_eq!(cgroup.raw("memory", "memory.memsw.limit_in_bytes"), "67108864");
    cgroup.set(&[("memory.swap.max", "max")]).unwrap();
    assert_eq!(cgroup.get("memory.swap.max"), "max");
    assert_eq!(cgroup.get("memory.max"), "67108864");
}

fn keeps_swap() {
    let cgroup = Cgroup::new();
    cgroup.set(&[("memory.max", "64M"), ("memory.swap.max", "16M")]).unwrap();
    for size in ["128M", "32M"] {
        cgroup.set(&[("memory.max", size)]).unwrap();
        assert_eq!(cgroup.get("memory.swap.max"), "16777216", "{size}");
    }
    cgroup.set(&[("memory.max", "max")]).unwrap();
    assert_eq!(cgroup.raw("memory", "memory.memsw.limit_in_bytes"), "9223372036854771712");
    assert!(cgroup.all_set().is_empty());
}

/// From each of several pairs to each other one: up, down, crosswise.
fn every_way() {
    let pairs = [
        ("32M", "0"),
        ("32M", "64M"),
        ("64M", "16M"),
        ("128M", "0"),
        ("48M", "max"),
        ("max", "max"),
    ];
    let cgroup = Cgroup::new();
    for (memory, swap) in pairs {
        for (next_memory, next_swap) in pairs {
            let limits = [("memory.max", memory), ("memory.swap.max", swap)];
            let expected = cgroup.expected(&limits);
            assert_eq!(cgroup.set(&limits).unwrap(), expected);
            let limits = [("memory.max", next_memory), ("memory.swap.max", next_swap)];
            let expected = cgroup.expected(&limits);
            assert_eq!(cgroup.set(&limits).expect("in one call"), expected);
        }
    }
}

fn swap_alone() {
    let cgroup = Cgroup::new();
    let error = cgroup.refused(&[("memory.swap.max", "16M")]);
    assert_eq!(error.name, ErrorName::InvalidLimit);
    assert!(error.text.starts_with("memory.swap.max: cgroup v1 bounds memory and swap together"));
    assert_eq!(error.hint.unwrap(), "set memory.max with it");
    cgroup.set(&[("memory.swap.max", "max")]).expect("no limit needs none");
    cgroup.set(&[("memory.swap.max", "16M"), ("memory.max", "64M")]).expect("the twin");
}
