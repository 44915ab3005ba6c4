//! Processes and CgroupOf.

use std::process::Stdio;
use std::time::{Duration, Instant};

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies;
use cgroupd_tests::need::patience;
use cgroupd_tests::peer::{ALICE, tied};
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

pub(crate) const TESTS: &[Test] = &tests![
    those_in_the_cgroup,
    those_below_when_asked,
    threads_when_asked,
    one_hierarchy_is_enough,
    processes_of_what_is_not_there,
    the_cgroups_of_a_process,
    the_cgroups_of_the_caller,
    the_cgroups_of_nobody,
    case_49_while_processes_come_and_go,
];

fn those_in_the_cgroup(world: &World) {
    world.root.create("a").unwrap();
    assert_eq!(world.root.processes("a", &[]).unwrap(), [0; 0]);
    let sleepers = [Sleeper::start(ALICE), Sleeper::start(0)];
    let mut pids: Vec<u32> = sleepers.iter().map(|s| s.pid().cast_unsigned()).collect();
    world.root.attach_pids("a", &pids, &[]).unwrap();
    pids.sort_unstable();
    assert_eq!(world.root.processes("a", &[]).unwrap(), pids);
}

fn those_below_when_asked(world: &World) {
    world.root.create("a/b/c").unwrap();
    let (upper, lower) = (Sleeper::start(ALICE), Sleeper::start(ALICE));
    world.root.move_pid("a", upper.pid()).unwrap();
    world.root.move_pid("a/b/c", lower.pid()).unwrap();
    let (upper, lower) = (upper.pid().cast_unsigned(), lower.pid().cast_unsigned());
    assert_eq!(world.root.processes("a", &[]).unwrap(), [upper]);
    assert_eq!(world.root.processes("a/b", &[]).unwrap(), [0; 0]);
    assert_eq!(world.root.processes("a/b", &["recursive"]).unwrap(), [lower]);
    let mut both = [upper, lower];
    both.sort_unstable();
    assert_eq!(world.root.processes("a", &["recursive"]).unwrap(), both);
}

/// The daemon is the one process here with many threads, and nobody may move it: a peer that
/// calls is put where its own numbers show.
fn threads_when_asked(world: &World) {
    world.root.create("a").unwrap();
    let sleeper = Sleeper::start(ALICE);
    world.root.move_pid("a", sleeper.pid()).unwrap();
    let pid = sleeper.pid().cast_unsigned();
    assert_eq!(world.root.processes("a", &["threads"]).unwrap(), [pid]);
    assert_eq!(world.root.processes("a", &["threads", "recursive"]).unwrap(), [pid]);
}

fn one_hierarchy_is_enough(world: &World) {
    world.root.create("a").unwrap();
    let sleeper = Sleeper::start(ALICE);
    let last = hierarchies::implied().last().unwrap();
    world.cgroups.put_in(last, "a", sleeper.pid());
    assert_eq!(world.root.processes("a", &[]).unwrap(), [sleeper.pid().cast_unsigned()]);
}

fn processes_of_what_is_not_there(world: &World) {
    refused(world.root.processes("a", &[]), ErrorName::NotFound);
    world.root.create("a").unwrap();
    world.root.processes("a", &[]).unwrap();
}

fn the_cgroups_of_a_process(world: &World) {
    world.root.create("a/b").unwrap();
    let sleeper = Sleeper::start(ALICE);
    world.root.move_pid("a/b", sleeper.pid()).unwrap();
    let rows = world.root.cgroup_of(sleeper.pid().cast_unsigned(), &[]).unwrap();
    for hierarchy in hierarchies::implied() {
        assert_eq!(rows[&hierarchy.label], "/a/b");
    }
    assert_eq!(rows.len(), hierarchies::implied().count(), "and no other");
}

fn the_cgroups_of_the_caller(world: &World) {
    world.root.create("a").unwrap();
    let caller = world.user(0);
    assert_eq!(caller.cgroup_of(0, &["caller"]).unwrap().len(), 0, "it lives elsewhere");
    caller.attach("a", &[], &["caller"]).unwrap();
    let rows = caller.cgroup_of(0, &["caller"]).unwrap();
    assert!(rows.len() == hierarchies::implied().count() && rows.values().all(|p| p == "/a"));
    let pid = caller.peer.pid().cast_unsigned();
    assert_eq!(caller.cgroup_of(pid, &[]).unwrap(), rows, "by its number too");
}

fn the_cgroups_of_nobody(world: &World) {
    let mut sleeper = Sleeper::start(ALICE);
    let pid = sleeper.pid().cast_unsigned();
    refused(world.root.cgroup_of(0, &[]), ErrorName::InvalidArgument);
    refused(world.root.cgroup_of(u32::MAX, &[]), ErrorName::InvalidArgument);
    refused(world.root.cgroup_of(pid, &[]), ErrorName::NoSuchProcess);
    world.root.create("a").unwrap();
    world.root.move_pid("a", sleeper.pid()).unwrap();
    world.root.cgroup_of(pid, &[]).unwrap();
    sleeper.end();
    refused(world.root.cgroup_of(pid, &[]), ErrorName::NoSuchProcess);
}

/// Shells that do nothing but start processes, in three cgroups, for a second.
fn case_49_while_processes_come_and_go(world: &World) {
    let paths = ["a", "a/b", "a/b/c"];
    world.root.create("a/b/c").unwrap();
    let shells: Vec<Churn> = paths.iter().map(|path| Churn::start(world, path)).collect();
    let own: Vec<u32> = shells.iter().map(|shell| shell.0.id()).collect();
    let end = Instant::now() + Duration::from_millis(500);
    let mut most = Duration::ZERO;
    while Instant::now() < end {
        let start = Instant::now();
        let found = world.root.processes("a", &["recursive"]).unwrap();
        most = most.max(start.elapsed());
        assert!(own.iter().all(|pid| found.contains(pid)), "{own:?} are not all in {found:?}");
        assert!(found.is_sorted() && !found.contains(&0));
    }
    assert!(most < patience(Duration::from_secs(2)), "one call took {most:?}");
}

struct Churn(std::process::Child);

impl Churn {
    fn start(world: &World, path: &str) -> Self {
        let mut command = tied("sh");
        command.args(["-c", "while :; do /bin/true; done"]).stdin(Stdio::null());
        let churn = Self(command.spawn().expect("sh is there"));
        world.root.move_pid(path, churn.0.id().cast_signed()).unwrap();
        churn
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait().map(drop));
    }
}
