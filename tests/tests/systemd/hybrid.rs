//! Beside v1 hierarchies systemd keeps track of its processes in one of its own, and on hybrid
//! hosts in cgroup2; nobody else writes there.

use std::fs;
use std::path::{Path, PathBuf};

use cgroupd_tests::hierarchies;

use crate::host::Host;

/// Where nobody but systemd may write.
fn systemds() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let is_its = |line: &&str| line.contains(" - cgroup2 ") || line.contains("name=systemd");
    let point = |line: &str| line.split(' ').nth(4).map(PathBuf::from);
    text.lines().filter(is_its).filter_map(point).collect()
}

pub(crate) fn its_own_hierarchies_are_left_alone(host: &Host) {
    let its = systemds();
    assert!(its.iter().any(|mount| mount.ends_with("systemd")), "{its:?}");
    let before: Vec<_> = its.iter().map(|mount| names(mount)).collect();
    host.ok("systemctl restart cgroupd.service");
    assert_eq!(host.ok("systemctl show -P ConditionResult cgroupd-tree.service"), "no");
    host.ok("cgctl create cgroupd-test-v1 --pids 20");
    host.ok("systemctl restart cgroupd.service");
    host.ok("systemctl daemon-reload");
    assert_eq!(host.ok("cgctl get cgroupd-test-v1"), "pids.max=20");
    for hierarchy in hierarchies::all() {
        assert!(hierarchy.mount.join("cgroupd-test-v1").is_dir(), "{}", hierarchy.label);
    }
    for mount in &its {
        assert!(!mount.join("cgroupd-test-v1").exists(), "{}", mount.display());
        let listed = host.run(&format!("cgctl create --controllers {} x", label(mount)));
        assert_ne!(listed.code, Some(0), "{}", mount.display());
    }
    host.ok("cgctl rm cgroupd-test-v1");
    let after: Vec<_> = its.iter().map(|mount| names(mount)).collect();
    assert_eq!(after, before);
}

fn label(mount: &Path) -> &'static str {
    if mount.ends_with("systemd") { "name=systemd" } else { "unified" }
}

/// The cgroups at the top, which units come and go below.
fn names(mount: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(mount).into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut names: Vec<_> = dirs.map(|entry| entry.path()).collect();
    names.sort();
    names
}
