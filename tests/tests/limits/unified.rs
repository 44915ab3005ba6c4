//! cgroup v2: what every v2 cgroup has, and a controller that v1 does not hold.

use cgroupd::cgroup::Version;
use cgroupd_proto::ErrorName;
use libtest_mimic::Trial;

use crate::cgroup::{Cgroup, layout, wire};
use crate::{Prerequisite, has, root, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("v2_depth_and_descendants", v2, depth),
        test("v2_depth_is_restored", v2_and_v1_cpu, restores_depth),
        test("v2_a_controller_that_is_not_enabled", hugetlb, not_enabled),
        test("v2_huge_pages_round_down", hugetlb, huge_pages),
    ]
}

fn v2() -> Prerequisite {
    root()?;
    match layout().hierarchies.iter().any(|hierarchy| hierarchy.version == Version::V2) {
        true => Ok(()),
        false => Err("needs cgroup v2".to_owned()),
    }
}

fn v2_and_v1_cpu() -> Prerequisite {
    v2()?;
    has("cpu", Version::V1)
}

fn hugetlb() -> Prerequisite {
    has("hugetlb", Version::V2)?;
    match std::path::Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists() {
        true => Ok(()),
        false => Err("needs huge pages of 2 MiB".to_owned()),
    }
}

fn depth() {
    let cgroup = Cgroup::new();
    let set = cgroup.set(&[("cgroup.max.depth", "3"), ("cgroup.max.descendants", "0")]).unwrap();
    assert_eq!(set, wire(&[("cgroup.max.depth", "3"), ("cgroup.max.descendants", "0")]));
    assert_eq!(cgroup.raw("unified", "cgroup.max.depth"), "3");
    assert_eq!(cgroup.all_set().len(), 2);
    cgroup.set(&[("cgroup.max.depth", "max"), ("cgroup.max.descendants", "max")]).unwrap();
    assert!(cgroup.all_set().is_empty());
}

/// A set over two hierarchies of two versions.
fn restores_depth() {
    let parent = Cgroup::new();
    parent.set(&[("cpu.max", "50%")]).unwrap();
    let child = parent.child("c");
    child.set(&[("cgroup.max.depth", "5")]).unwrap();
    let error = child.refused(&[("cgroup.max.depth", "7"), ("cpu.max", "60%")]);
    assert!(error.text.ends_with("; restored: cgroup.max.depth; kept: cpu.max"), "{error}");
    assert_eq!(child.get("cgroup.max.depth"), "5");
}

fn not_enabled() {
    let parent = Cgroup::new();
    let child = parent.child("c");
    let error = child.refused(&[("cgroup.max.depth", "5"), ("hugetlb.2MB.max", "2M")]);
    assert_eq!(error.name, ErrorName::NotSupported);
    assert_eq!(
        error.text,
        "hugetlb.2MB.max: the hugetlb controller is not enabled for this cgroup"
    );
    assert!(error.hint.unwrap().contains("cgroup.subtree_control"));
    assert_eq!(child.get("cgroup.max.depth"), "max");
}

/// Puts the root's controllers back as they were.
struct Enabled(bool);

impl Enabled {
    fn hugetlb() -> Self {
        let top = &layout().hierarchies[layout().find("unified").expect("v2")].top;
        let was = top.read("cgroup.subtree_control").expect("v2").contains("hugetlb");
        top.write("cgroup.subtree_control", "+hugetlb").expect("enable");
        Self(!was)
    }
}

impl Drop for Enabled {
    fn drop(&mut self) {
        let v2 = &layout().hierarchies[layout().find("unified").expect("v2")];
        if self.0 && v2.root.write("cgroup.subtree_control", "-hugetlb").is_ok() {
            // Refused while somebody else has begun to use it.
            let _ = v2.top.write("cgroup.subtree_control", "-hugetlb");
        }
    }
}

fn huge_pages() {
    let _enabled = Enabled::hugetlb();
    let managed = &layout().hierarchies[layout().find("hugetlb").expect("v2")].root;
    managed.write("cgroup.subtree_control", "+hugetlb").expect("enable");
    let cgroup = Cgroup::new();
    for (given, read) in [("3000000", "2097152"), ("0", "0"), ("1G", "1073741824"), ("max", "max")]
    {
        let limits = [("hugetlb.2MB.max", given)];
        let expected = cgroup.expected(&limits);
        assert_eq!(expected, wire(&[("hugetlb.2MB.max", read)]));
        assert_eq!(cgroup.set(&limits).unwrap(), expected);
    }
    let error = cgroup.refused(&[("hugetlb.2MB.max", "1")]);
    assert_eq!(error.name, ErrorName::InvalidLimit);
    assert_eq!(error.text, "hugetlb.2MB.max: \"1\" would round to 0");
    cgroup.set(&[("hugetlb.2MB.max", "4M")]).unwrap();
    assert_eq!(cgroup.all_set(), [("hugetlb.2MB.max".to_owned(), "4194304".to_owned())].into());
    let absent = cgroup.refused(&[("hugetlb.512GB.max", "0")]);
    assert_eq!(absent.name, ErrorName::NotSupported);
    assert_eq!(absent.text, "hugetlb.512GB.max: this kernel has no hugetlb.512GB.max");
}
