//! Stats: the kernel's own numbers, under the same names on v1 and v2.

use std::time::{Duration, Instant};

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies::{self, Version};
use cgroupd_tests::need::{patience, skip};
use cgroupd_tests::peer::{ALICE, Peer};
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

pub(crate) const TESTS: &[Test] = &tests![
    what_is_used,
    v1_knows_its_cpu_time,
    what_a_limit_did,
    several_at_once_and_some_gone,
    only_what_a_caller_may_see,
];

fn of(world: &World, path: &str, name: &str) -> Option<u64> {
    let rows = world.root.stats(&[path]).unwrap();
    rows.first().expect("it is there").1.get(name).copied()
}

fn what_is_used(world: &World) {
    world.root.create_limited("a", &["pids", "memory", "cpu"], &[("pids.max", "9")]).unwrap();
    assert_eq!(of(world, "a", "pids.current"), Some(0));
    assert_eq!(of(world, "a", "memory.max"), None, "what has no bound is not told");
    let sleeper = Sleeper::start(0);
    world.root.move_pid("a", sleeper.pid()).unwrap();
    assert_eq!(of(world, "a", "pids.current"), Some(1));
    assert_eq!(of(world, "a", "pids.max"), Some(9));
    world.root.set_limits("a", &[("memory.max", "64M")], &[]).unwrap();
    assert_eq!(of(world, "a", "memory.max"), Some(64 << 20));
    let mut busy = Peer::start();
    world.root.move_pid("a", busy.pid()).unwrap();
    busy.run(&["sh", "-c", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done"]);
    // Read before the peak, which may only grow meanwhile.
    let current = of(world, "a", "memory.current");
    assert!(current > Some(0) && of(world, "a", "memory.peak") >= current);
    if hierarchies::of("cpu").is_some_and(|cpu| cpu.version == Version::V2) {
        assert!(of(world, "a", "cpu.usage_usec") > Some(1000));
        assert!(of(world, "a", "cpu.pressure.some.total").is_some());
        assert_eq!(of(world, "a", "cgroup.populated"), Some(1));
    }
}

/// v2 counts its own processes only, and those may be elsewhere.
fn v1_knows_its_cpu_time(world: &World) {
    let Some(cpuacct) = hierarchies::v1_of("cpuacct").filter(|_| hierarchies::v2().is_some())
    else {
        return skip("cpuacct", "there is none of v1 beside v2");
    };
    world.root.create("a").unwrap();
    let mut busy = Peer::start();
    world.cgroups.put_in(cpuacct, "a", busy.pid());
    busy.run(&["sh", "-c", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done"]);
    assert!(of(world, "a", "cpu.usage_usec") > Some(1000));
}

fn what_a_limit_did(world: &World) {
    world.root.create_limited("a", &["pids"], &[("pids.max", "1")]).unwrap();
    assert_eq!(of(world, "a", "pids.events.max"), Some(0));
    let mut peer = Peer::start();
    world.root.move_pid("a", peer.pid()).unwrap();
    // The shell takes the peer's place, and starts what may not be started.
    peer.exec(&["sh", "-c", "while :; do true & wait; sleep 0.1; done"]);
    let end = Instant::now() + patience(Duration::from_secs(10));
    while of(world, "a", "pids.events.max") == Some(0) {
        assert!(Instant::now() < end, "no fork was refused");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn several_at_once_and_some_gone(world: &World) {
    world.root.create("a/b").unwrap();
    let rows = world.root.stats(&["a", "nowhere", "a/b", "/a"]).unwrap();
    let paths: Vec<&str> = rows.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["/a", "/a/b", "/a"]);
    assert_eq!(world.root.stats(&[]).unwrap(), []);
    let text = refused(world.root.stats(&["a", ".."]), ErrorName::InvalidPath);
    assert!(text.starts_with("cannot read the statistics of ..: "), "{text}");
    refused(world.root.stats(&["a"; 257]), ErrorName::InvalidArgument);
}

fn only_what_a_caller_may_see(world: &World) {
    world.cgroups.make_for("box", ALICE);
    world.cgroups.make("secret");
    let mut peer = world.peer_in("box");
    peer.cgroup_ns();
    let inside = world.calls(peer);
    let rows = inside.stats(&["", "/secret", "/box"]).unwrap();
    let paths: Vec<&str> = rows.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["/"]);
    // Which v2 has without any controller.
    let lives = ["pids.current", "cgroup.populated"].map(|name| rows[0].1.get(name));
    assert!(lives.contains(&Some(&1)), "{rows:?}");
    // The twin without a namespace of its own.
    let paths: Vec<String> =
        world.root.stats(&["/secret", "/box"]).unwrap().into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["/secret", "/box"]);
}
