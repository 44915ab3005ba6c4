//! v1 cpusets: empty ones that nothing can enter, and clearing.

use cgroupd::cgroup::Version;
use cgroupd_proto::ErrorName;
use libtest_mimic::Trial;

use crate::cgroup::Cgroup;
use crate::victim::Victim;
use crate::{Prerequisite, has, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("v1_cpuset_starts_with_its_parents", v1, starts),
        test("v1_cpuset_empty_is_a_copy_of_the_parents", two_cpus, empty_inherits),
        test("v1_cpuset_outside_the_parents_is_refused", two_cpus, outside),
        test("v1_cpuset_is_cleared_with_an_empty_line", v1, clears),
        test("v1_cpuset_with_a_child_in_the_way", two_cpus, child_in_the_way),
    ]
}

fn v1() -> Prerequisite {
    has("cpuset", Version::V1)
}

fn two_cpus() -> Prerequisite {
    v1()?;
    match Cgroup::new().get("cpuset.cpus") {
        cpus if cpus.starts_with("0-") => Ok(()),
        cpus => Err(format!("needs CPUs 0 and 1, has {cpus}")),
    }
}

fn starts() {
    let cgroup = Cgroup::new();
    assert!(!cgroup.raw("cpuset", "cpuset.cpus").is_empty());
    assert!(cgroup.all_set().is_empty(), "what the parent has is not set");
    let _victim = Victim::idle(cgroup.dir_of("cpuset"), "anon:0");
}

fn empty_inherits() {
    let parent = Cgroup::new();
    let child = parent.child("c");
    let all = child.get("cpuset.cpus");
    assert_eq!(child.set(&[("cpuset.cpus", "1")]).unwrap()["cpuset.cpus"], "1");
    assert_eq!(child.all_set()["cpuset.cpus"], "1");
    assert_eq!(child.set(&[("cpuset.cpus", "")]).unwrap()["cpuset.cpus"], all);
    assert!(child.all_set().is_empty());
    assert_eq!(child.set(&[("cpuset.cpus", "1,0")]).unwrap()["cpuset.cpus"], "0-1");
}

fn outside() {
    let parent = Cgroup::new();
    parent.set(&[("cpuset.cpus", "0")]).unwrap();
    let child = parent.child("c");
    let error = child.refused(&[("cpuset.cpus", "1")]);
    assert_eq!(error.name, ErrorName::InvalidLimit, "not a matter of rights: {error}");
    assert!(error.hint.unwrap().starts_with("name only what its parent has"));
    assert_eq!(parent.refused(&[("cpuset.cpus", "4000")]).name, ErrorName::InvalidLimit);
    child.set(&[("cpuset.cpus", "0")]).expect("the twin");
}

/// Zero bytes would change nothing and succeed.
fn clears() {
    let parent = Cgroup::new();
    let child = parent.bare_child("c");
    assert_eq!(child.raw("cpuset", "cpuset.cpus"), "");
    let error = child.refused(&[("cpuset.cpus", "0"), ("cpuset.mems", "60")]);
    assert!(error.text.ends_with("; restored: cpuset.cpus; kept: cpuset.mems"), "{error}");
    assert_eq!(child.raw("cpuset", "cpuset.cpus"), "");
}

fn child_in_the_way() {
    let parent = Cgroup::new();
    let _child = parent.child("c");
    let error = parent.refused(&[("cpuset.cpus", "0")]);
    assert_eq!(error.name, ErrorName::Busy, "{error}");
}
