//! What the unit files say, and what comes of it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::host::{Host, TREE, cgroup, holder, read};

/// The most that `systemd-analyze security` may say of the daemon. `RestrictSUIDSGID=`, which
/// takes `openat2(2)` away, and what identifies callers before Linux 6.5 (`AF_NETLINK`, network
/// namespaces) lie between it and 3.0.
const EXPOSURE: f64 = 3.2;

pub(crate) fn are_well_formed(host: &Host) {
    let said = host.ok("systemd-analyze verify cgroupd.service cgroupd-tree.service");
    assert_eq!(said, "");
    let said = host.ok("systemd-analyze --no-pager security cgroupd.service");
    let level = said.rsplit_once("exposure level for cgroupd.service:").expect("a level").1;
    let level = level.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
    assert!(level.is_some_and(|level: f64| level <= EXPOSURE), "{said}");
}

pub(crate) fn start_and_serve(host: &Host) {
    let daemon = host.main_pid("cgroupd.service");
    let own = fs::read_to_string(format!("/proc/{daemon}/cgroup")).expect("it runs");
    assert_eq!(own.trim(), "0::/system.slice/cgroupd.service");
    assert_eq!(holder(), host.main_pid("cgroupd-tree.service"));
    assert_eq!(read(TREE, "cgroup.procs"), "", "controllers can be enabled");

    host.ok("cgctl create test01 -m 64M --pids 20");
    assert_eq!(read(&format!("{TREE}/test01"), "memory.max"), "67108864");
    assert_eq!(read(&format!("{TREE}/test01"), "pids.max"), "20");
    let service = "org.cgroupd1 /org/cgroupd1 org.freedesktop.DBus.Peer Ping";
    host.wait_until("it is on the system bus", || {
        host.run(&format!("busctl call {service}")).code == Some(0)
    });
    host.ok(&format!("busctl --address=unix:path=/run/cgroupd/cgroupd.sock call {service}"));
    host.ok("cgctl rm test01");
    assert!(!cgroup(TREE).join("test01").exists());
}

/// Containers have it mounted.
pub(crate) fn the_directory_outlasts_a_stop(host: &Host) {
    let directory = || fs::metadata("/run/cgroupd").expect("it is there").ino();
    let before = directory();
    host.ok("systemctl restart cgroupd.service");
    assert_eq!(directory(), before);
    host.ok("systemctl stop cgroupd.service");
    assert_eq!(directory(), before);
    host.ok("systemctl start cgroupd.service");
    assert_eq!(directory(), before);
    host.ok("cgctl whoami");
}

pub(crate) fn the_tree_can_be_limited(host: &Host) {
    assert_eq!(read(TREE, "pids.max"), "max", "systemd's own default does not count for it");
    host.ok("systemctl set-property --runtime cgroupd-tree.service MemoryMax=256M");
    assert_eq!(read(TREE, "memory.max"), "268435456");
    host.ok("cgctl create test01 -m 64M");
    host.ok("systemctl revert cgroupd-tree.service");
    assert_eq!(read(&format!("{TREE}/test01"), "memory.max"), "67108864");
}
