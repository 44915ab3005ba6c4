//! systemd is the only writer of its tree: outside a delegated unit the daemon does not start,
//! and leaves nothing behind.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use cgroupd_tests::bins;
use cgroupd_tests::world::Sleeper;

use crate::host::{Host, TREE, cgroup, holder, read};

pub(crate) fn the_holder_is_never_moved(host: &Host) {
    let sleeper = Sleeper::start(0);
    host.ok("cgctl create test01");
    let said = host.run(&format!("cgctl move test01 {}", holder()));
    assert_eq!(said.code, Some(4), "{}", said.text);
    assert!(said.text.contains("the holder of the managed root is never moved"), "{}", said.text);
    assert_eq!(holder(), host.main_pid("cgroupd-tree.service"));
    // Another process of root's may.
    host.ok(&format!("cgctl move test01 {}", sleeper.pid()));
    assert_eq!(read(&format!("{TREE}/test01"), "cgroup.procs"), sleeper.pid().to_string());
}

/// The daemon is told to work at `root`: whether it serves, and what it said.
fn serves_at(root: &str) -> (bool, String) {
    let directory = tempfile::tempdir().expect("a directory of our own");
    let socket = directory.path().join("socket");
    let log = std::fs::File::create(directory.path().join("log")).expect("our directory");
    let mut command = Command::new(bins::cgroupd());
    command.args(["--root", root, "--no-system-bus", "--socket"]).arg(&socket);
    let mut child = command.stdin(Stdio::null()).stderr(log).spawn().expect("it is there");
    let ended = loop {
        let ended = child.try_wait().expect("our child");
        if ended.is_some() || socket.exists() {
            break ended;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    if ended.is_none() {
        child.kill().and_then(|()| child.wait()).expect("our child");
    }
    let said = std::fs::read_to_string(directory.path().join("log")).expect("our directory");
    assert!(ended.is_none_or(|ended| ended.code() == Some(78)), "{ended:?} {said}");
    (ended.is_none(), said)
}

#[track_caller]
fn refused_at(root: &str, why: &str) {
    let (served, said) = serves_at(root);
    assert!(!served, "{root} was taken");
    for part in [why, "systemd owns the cgroup tree", "hint: start cgroupd-tree.service"] {
        assert!(said.contains(part), "{root}: {said}");
    }
}

/// The cgroups there are, beneath a directory.
fn children(path: &str) -> Vec<PathBuf> {
    cgroupd_tests::sweep::tree(&cgroup(path))
}

pub(crate) fn what_is_systemds_is_refused(_: &Host) {
    let before = children("/");
    refused_at("/", "it lies in no unit");
    refused_at("/cgroupd-test-new", "it lies in no unit");
    refused_at("/system.slice", "system.slice has no Delegate=yes");
    refused_at("/system.slice/cgroupd-test-new", "system.slice has no Delegate=yes");
    refused_at("/system.slice/cgroupd-test.service", "cgroupd-test.service does not run");
    refused_at("/system.slice/cgroupd.service", "cgroupd.service has no Delegate=yes");
    assert_eq!(children("/"), before, "nothing was made");
    let inner = format!("{TREE}/cgroupd-test-new");
    assert!(serves_at(&inner).0, "below the packaged unit it may");
    assert!(read(&inner, "cgroup.controllers").contains("memory"));
}

/// The same unit, but for one property.
pub(crate) fn an_undelegated_unit_is_refused(host: &Host) {
    let unit = "cgroupd-test-unit.service";
    let run = |delegate: &str| {
        host.ok(&format!("systemd-run -q --unit={unit} -p Delegate={delegate} sleep 1000"));
    };
    let (root, inner) = (format!("/system.slice/{unit}"), format!("/system.slice/{unit}/inner"));
    run("no");
    for path in [&root, &inner] {
        refused_at(path, &format!("{unit} has no Delegate=yes"));
    }
    assert!(!cgroup(&inner).exists());
    host.ok(&format!("systemctl stop {unit}"));
    run("yes");
    let (served, said) = serves_at(&inner);
    host.ok(&format!("systemctl stop {unit}"));
    assert!(served, "{said}");
}

/// In a delegated unit there may be another manager, as in a user's.
pub(crate) fn an_inner_unit_is_refused(_: &Host) {
    let inner = format!("{TREE}/app.slice/test.service");
    std::fs::create_dir_all(cgroup(&inner)).expect("root may");
    refused_at(&inner, "test.service has no Delegate=yes");
    refused_at(&format!("{inner}/x"), "test.service has no Delegate=yes");
    let (served, said) = serves_at(&format!("{TREE}/app/test"));
    assert!(served, "{said}");
}

pub(crate) fn only_a_delegated_unit_is_held(host: &Host) {
    let run = "systemd-run -q --wait --pipe -p Type=notify -p ExitType=cgroup";
    let said = host.run(&format!("{run} cgroupd hold"));
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert!(said.text.contains("systemd has not delegated it"), "{}", said.text);
    assert_eq!(host.ok("systemctl is-active cgroupd-tree.service"), "active");
}
