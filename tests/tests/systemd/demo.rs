//! `cgroupd demo` finds a part of the tree, or asks for one.

use cgroupd_tests::said::Said;

use crate::host::{Host, TREE, cgroup};

/// Plays it as `line` says, in a service that systemd makes for it.
fn play(host: &Host, line: &str) -> Said {
    host.run(&format!(
        "systemd-run --quiet --collect --wait --pipe --unit=cgroupd-test-demo {line}"
    ))
}

/// Plays it to its end in a cgroup directly below `unit`, of which nothing is left.
#[track_caller]
fn plays_below(unit: &str, said: &Said) {
    assert_eq!(said.code, Some(0), "{}", said.text);
    let below = said.text.split_once("Everything happens below ").expect("it says where").1;
    let root = below.split_once(".\n").expect("a sentence").0;
    let (above, name) = root.rsplit_once('/').expect("a path");
    assert!(above.starts_with(unit) && name.starts_with("cgroupd-demo-"), "{root}");
    for part in ["memory.max: 33554432", "oom_kill 1", "Everything was removed again"] {
        assert!(said.text.contains(part), "{part}: {}", said.text);
    }
    assert!(!cgroup(root).exists(), "{root} is left");
}

pub(crate) fn plays_where_the_daemon_would_be(host: &Host) {
    plays_below(TREE, &host.run("cgroupd demo"));
}

pub(crate) fn plays_in_its_own_unit(host: &Host) {
    host.stop();
    let said = play(host, "-p Delegate=yes cgroupd demo");
    plays_below("/system.slice/cgroupd-test-demo.service", &said);
}

pub(crate) fn plays_in_a_scope(host: &Host) {
    host.stop();
    plays_below("/system.slice/run-", &play(host, "cgroupd demo"));
    // Another process in the unit keeps the controllers away.
    plays_below("/system.slice/run-", &play(host, "-p Delegate=yes timeout 1000 cgroupd demo"));
}

pub(crate) fn says_what_it_lacks(host: &Host) {
    host.stop();
    let alone = play(host, "cgroupd demo-scope");
    assert_eq!(alone.code, Some(1), "{}", alone.text);
    let why = "cgroupd-test-demo.service has no Delegate=yes";
    assert!(alone.text.contains(why), "{}", alone.text);
    let lost = play(host, "-E PATH=/nowhere cgroupd demo");
    assert_eq!(lost.code, Some(1), "{}", lost.text);
    assert!(lost.text.contains("hint: install systemd-run"), "{}", lost.text);
}
