//! CPU time: two files on v1, shares, idleness.

use cgroupd::cgroup::Version;
use cgroupd_proto::ErrorName;
use libtest_mimic::Trial;

use crate::cgroup::{Cgroup, wire};
use crate::{Prerequisite, has, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("v1_cpu_max_is_quota_and_period", v1, both_files),
        test("v1_a_quota_alone_keeps_the_period", v1, keeps_period),
        test("v1_a_child_has_at_most_its_parents_share", v1, above_parent),
        test("v1_a_parent_has_at_least_its_childs_share", v1, below_child),
        test("v1_quota_and_period_change_under_a_tight_parent", v1, tight_parent),
        test("v1_quota_and_period_change_over_a_tight_child", v1, tight_child),
        test("v1_weights_survive_shares", v1, weights),
        test("an_idle_cgroup_has_no_weight", v1_idle, no_weight),
        test("leaving_idleness_and_weighing_in_one_call", v1_idle, wakes_with_weight),
        test("idleness_is_restored_with_the_weight", v1_idle, restores_weight),
        test("idleness_is_restored_without_a_weight", v1_idle, restores_idleness),
    ]
}

fn v1() -> Prerequisite {
    has("cpu", Version::V1)
}

fn v1_idle() -> Prerequisite {
    v1()?;
    match Cgroup::new().dir_of("cpu").stat_at("cpu.idle") {
        Ok(_) => Ok(()),
        Err(_) => Err("needs cpu.idle".to_owned()),
    }
}

fn files(cgroup: &Cgroup) -> (String, String) {
    (cgroup.raw("cpu", "cpu.cfs_quota_us"), cgroup.raw("cpu", "cpu.cfs_period_us"))
}

fn both_files() {
    let cgroup = Cgroup::new();
    for (name, given, read, quota, period) in [
        ("cpu.max", "150%", "150000 100000", "150000", "100000"),
        ("cpu.max", "20000 50000", "20000 50000", "20000", "50000"),
        ("cpus", "1.5", "150000 100000", "150000", "100000"),
        ("cpu.max", "max 200000", "max 200000", "-1", "200000"),
        ("cpu.max", "1%", "1000 100000", "1000", "100000"),
        ("cpus", "max", "max 100000", "-1", "100000"),
    ] {
        assert_eq!(cgroup.set(&[(name, given)]).unwrap(), wire(&[("cpu.max", read)]), "{given}");
        assert_eq!(files(&cgroup), (quota.to_owned(), period.to_owned()));
    }
    assert!(cgroup.all_set().is_empty());
}

fn keeps_period() {
    let cgroup = Cgroup::new();
    cgroup.set(&[("cpu.max", "20000 50000")]).unwrap();
    assert_eq!(cgroup.set(&[("cpu.max", "30000")]).unwrap()["cpu.max"], "30000 50000");
    assert_eq!(cgroup.set(&[("cpu.max", "max")]).unwrap()["cpu.max"], "max 50000");
}

fn above_parent() {
    let parent = Cgroup::new();
    parent.set(&[("cpu.max", "50%")]).unwrap();
    let child = parent.child("c");
    let error = child.refused(&[("cpu.max", "51%")]);
    assert_eq!(error.name, ErrorName::InvalidLimit);
    assert!(error.text.ends_with("invalid argument (EINVAL); nothing was changed"), "{error}");
    assert!(error.hint.unwrap().contains("at most its parent's share"));
    child.set(&[("cpu.max", "50%")]).expect("the twin");
}

fn below_child() {
    let parent = Cgroup::new();
    let child = parent.child("c");
    child.set(&[("cpu.max", "50%")]).unwrap();
    assert_eq!(parent.refused(&[("cpu.max", "49%")]).name, ErrorName::InvalidLimit);
    assert_eq!(parent.get("cpu.max"), "max 100000");
    parent.set(&[("cpu.max", "50%")]).expect("the twin");
}

/// The same share in another period: one of the two orders would exceed the parent.
fn tight_parent() {
    let parent = Cgroup::new();
    parent.set(&[("cpu.max", "50%")]).unwrap();
    let child = parent.child("c");
    for given in ["50000 100000", "100000 200000", "25000 50000", "max 80000", "40000 80000"] {
        let set = child.set(&[("cpu.max", given)]).expect(given);
        assert_eq!(set["cpu.max"], given);
    }
}

/// One of the two orders would be less than the child has, which shows only at the write.
fn tight_child() {
    let parent = Cgroup::new();
    parent.set(&[("cpu.max", "50%")]).unwrap();
    let child = parent.child("c");
    child.set(&[("cpu.max", "50%")]).unwrap();
    for given in ["100000 200000", "25000 50000", "50000 100000"] {
        let set = parent.set(&[("cpu.max", given)]).expect(given);
        assert_eq!(set["cpu.max"], given);
    }
    assert_eq!(parent.refused(&[("cpu.max", "90000 200000")]).name, ErrorName::InvalidLimit);
    assert_eq!(parent.get("cpu.max"), "50000 100000", "both files are restored");
}

fn weights() {
    let cgroup = Cgroup::new();
    for (weight, shares) in
        [("1", "10"), ("2", "20"), ("333", "3410"), ("10000", "102400"), ("100", "1024")]
    {
        assert_eq!(cgroup.set(&[("cpu.weight", weight)]).unwrap()["cpu.weight"], weight);
        assert_eq!(cgroup.raw("cpu", "cpu.shares"), shares);
    }
    assert!(cgroup.all_set().is_empty());
}

fn no_weight() {
    let cgroup = Cgroup::new();
    cgroup.set(&[("cpu.idle", "1")]).unwrap();
    assert_eq!(cgroup.get("cpu.weight"), "0");
    let error = cgroup.refused(&[("pids.max", "5"), ("cpu.weight", "50")]);
    assert_eq!(error.name, ErrorName::InvalidLimit);
    assert_eq!(error.hint.unwrap(), "set cpu.idle to 0 with it");
    assert_eq!(cgroup.get("pids.max"), "max");
    assert_eq!(cgroup.all_set().into_keys().collect::<Vec<_>>(), ["cpu.idle"]);
}

fn wakes_with_weight() {
    let cgroup = Cgroup::new();
    cgroup.set(&[("cpu.idle", "1")]).unwrap();
    let set = cgroup.set(&[("cpu.weight", "50"), ("cpu.idle", "0")]).unwrap();
    assert_eq!(set, wire(&[("cpu.idle", "0"), ("cpu.weight", "50")]));
}

fn restores_weight() {
    let parent = Cgroup::new();
    parent.set(&[("cpu.max", "50%")]).unwrap();
    let child = parent.child("c");
    child.set(&[("cpu.weight", "300")]).unwrap();
    let error = child.refused(&[("cpu.idle", "1"), ("cpu.max", "60%")]);
    assert!(error.text.ends_with("; restored: cpu.idle; kept: cpu.max"), "{error}");
    assert_eq!((child.get("cpu.idle"), child.get("cpu.weight")), ("0".into(), "300".into()));
}

/// The weight of the moment between is not to be kept.
fn restores_idleness() {
    let parent = Cgroup::new();
    parent.set(&[("cpu.max", "50%")]).unwrap();
    let child = parent.child("c");
    child.set(&[("cpu.idle", "1")]).unwrap();
    let error = child.refused(&[("cpu.idle", "0"), ("cpu.weight", "300"), ("cpu.max", "60%")]);
    assert!(error.text.ends_with("; restored: cpu.idle, cpu.weight; kept: cpu.max"), "{error}");
    assert_eq!((child.get("cpu.idle"), child.get("cpu.weight")), ("1".into(), "0".into()));
}
