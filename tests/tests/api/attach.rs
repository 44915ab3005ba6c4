//! Attach and AttachPids: all processes into all hierarchies, or none.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies;
use cgroupd_tests::need::skip;
use cgroupd_tests::peer::ALICE;
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

pub(crate) const TESTS: &[Test] = &tests![
    by_pidfd,
    by_number,
    the_caller,
    several_at_once,
    twice_is_once,
    what_proc_says_afterwards,
    into_what_is_not_there,
    nobody_is_no_list,
    numbers_that_are_no_process,
    case_25_descriptors_that_are_no_process,
    one_that_cannot_be_moved_stops_the_others,
    a_later_hierarchy_that_refuses_undoes_the_earlier,
    case_20_a_thread_is_no_process,
];

fn by_pidfd(world: &World) {
    world.root.create("a").unwrap();
    let sleeper = Sleeper::start(ALICE);
    assert!(!world.cgroups.all_hold("a", sleeper.pid()));
    world.root.attach("a", &[sleeper.pidfd()], &[]).unwrap();
    assert!(world.cgroups.all_hold("a", sleeper.pid()));
}

fn by_number(world: &World) {
    world.root.create("a").unwrap();
    let sleeper = Sleeper::start(ALICE);
    world.root.move_pid("a", sleeper.pid()).unwrap();
    assert!(world.cgroups.all_hold("a", sleeper.pid()));
}

fn the_caller(world: &World) {
    world.root.create("a/b").unwrap();
    let caller = world.user(0);
    caller.attach("a", &[], &["caller"]).unwrap();
    assert!(world.cgroups.all_hold("a", caller.peer.pid()));
    caller.attach_pids("a/b", &[], &["caller"]).unwrap();
    assert!(world.cgroups.all_hold("a/b", caller.peer.pid()));
}

fn several_at_once(world: &World) {
    world.root.create("a").unwrap();
    let sleepers: Vec<Sleeper> = (0..5).map(|_| Sleeper::start(ALICE)).collect();
    let pidfds: Vec<_> = sleepers.iter().map(Sleeper::pidfd).collect();
    let caller = world.user(0);
    caller.attach("a", &pidfds, &["caller"]).unwrap();
    for pid in sleepers.iter().map(Sleeper::pid).chain([caller.peer.pid()]) {
        assert!(world.cgroups.all_hold("a", pid));
    }
}

fn twice_is_once(world: &World) {
    world.root.create("a").unwrap();
    let sleeper = Sleeper::start(ALICE);
    world.root.move_pid("a", sleeper.pid()).unwrap();
    unchanged(&world.cgroups, || {
        world.root.move_pid("a", sleeper.pid()).unwrap();
        world.root.attach("a", &[sleeper.pidfd(), sleeper.pidfd()], &[]).unwrap();
    });
}

/// The story the project began with: after create and move, the process's own line names the
/// cgroup in every hierarchy.
fn what_proc_says_afterwards(world: &World) {
    world.root.create("test01").unwrap();
    let sleeper = Sleeper::start(ALICE);
    world.root.move_pid("test01", sleeper.pid()).unwrap();
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", sleeper.pid())).unwrap();
    for hierarchy in hierarchies::implied() {
        let label = if hierarchy.label == "unified" { "" } else { &hierarchy.label };
        let end = format!(":{label}:{}/test01", world.cgroups.path());
        assert!(text.lines().any(|line| line.ends_with(&end)), "{end} is not in\n{text}");
    }
}

fn into_what_is_not_there(world: &World) {
    let sleeper = Sleeper::start(ALICE);
    unchanged(&world.cgroups, || {
        refused(world.root.move_pid("a", sleeper.pid()), ErrorName::NotFound);
        refused(world.root.attach("a", &[sleeper.pidfd()], &[]), ErrorName::NotFound);
    });
    world.root.create("a").unwrap();
    world.root.move_pid("a", sleeper.pid()).unwrap();
}

fn nobody_is_no_list(world: &World) {
    world.root.create("a").unwrap();
    refused(world.root.attach_pids("a", &[], &[]), ErrorName::InvalidArgument);
    refused(world.root.attach("a", &[], &[]), ErrorName::InvalidArgument);
    let caller = world.user(0);
    caller.attach_pids("a", &[], &["caller"]).unwrap();
}

fn numbers_that_are_no_process(world: &World) {
    world.root.create("a").unwrap();
    let mut sleeper = Sleeper::start(ALICE);
    unchanged(&world.cgroups, || {
        for number in [0, 1 << 31, u32::MAX] {
            let result = world.root.attach_pids("a", &[number], &[]);
            refused(result, ErrorName::InvalidArgument);
        }
        refused(world.root.attach_pids("a", &[i32::MAX as u32], &[]), ErrorName::NoSuchProcess);
    });
    world.root.move_pid("a", sleeper.pid()).unwrap();
    sleeper.end();
    refused(world.root.move_pid("a", sleeper.pid()), ErrorName::NoSuchProcess);
}

fn case_25_descriptors_that_are_no_process(world: &World) {
    world.root.create("a").unwrap();
    let mut sleeper = Sleeper::start(ALICE);
    let live = Sleeper::start(ALICE);
    sleeper.end();
    let null = std::fs::File::open("/dev/null").unwrap();
    let proc = std::fs::File::open("/proc/self").unwrap();
    let (socket, _other) = UnixStream::pair().unwrap();
    unchanged(&world.cgroups, || {
        for descriptor in [null.as_fd(), proc.as_fd(), socket.as_fd(), sleeper.pidfd()] {
            let result = world.root.attach("a", &[live.pidfd(), descriptor], &[]);
            refused(result, ErrorName::InvalidArgument);
        }
    });
    world.root.attach("a", &[live.pidfd()], &[]).unwrap();
}

fn one_that_cannot_be_moved_stops_the_others(world: &World) {
    world.root.create("a").unwrap();
    let sleeper = Sleeper::start(ALICE);
    let pid = sleeper.pid().cast_unsigned();
    unchanged(&world.cgroups, || {
        refused(world.root.attach_pids("a", &[pid, 1], &[]), ErrorName::Denied);
        let daemon = world.daemon.pid().cast_unsigned();
        refused(world.root.attach_pids("a", &[pid, daemon], &[]), ErrorName::Denied);
    });
    world.root.attach_pids("a", &[pid], &[]).unwrap();
}

/// Nothing can enter a v1 cpuset without CPUs, which the kernel says only when it is tried.
fn a_later_hierarchy_that_refuses_undoes_the_earlier(world: &World) {
    let Some(cpuset) = hierarchies::v1_of("cpuset") else {
        return skip("v1-cpuset", "no v1 hierarchy has cpuset");
    };
    world.root.create("a").unwrap();
    world.root.create("b").unwrap();
    let sleeper = Sleeper::start(ALICE);
    world.root.move_pid("a", sleeper.pid()).unwrap();
    let cpus = world.cgroups.read(cpuset, "b", "cpuset.cpus");
    world.cgroups.write(cpuset, "b", "cpuset.cpus", "\n");
    unchanged(&world.cgroups, || {
        let text = refused(world.root.move_pid("b", sleeper.pid()), ErrorName::Busy);
        assert!(text.contains("cpuset") && text.contains("nothing was changed"), "{text}");
    });
    assert!(world.cgroups.all_hold("a", sleeper.pid()));
    world.cgroups.write(cpuset, "b", "cpuset.cpus", &cpus);
    world.root.move_pid("b", sleeper.pid()).unwrap();
}

fn case_20_a_thread_is_no_process(world: &World) {
    world.root.create("a").unwrap();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (say, hear) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        say.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
        let _ = wait.recv();
    });
    let tid = hear.recv().unwrap();
    unchanged(&world.cgroups, || {
        let result = world.root.attach_pids("a", &[tid.cast_unsigned()], &[]);
        refused(result, ErrorName::InvalidArgument);
    });
    drop(go);
    thread.join().unwrap();
}
