//! Process numbers of pid namespaces: many of them, those of namespaces below, and those of
//! processes that have ended. Before Linux 6.11 the daemon looks for them among all processes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies;
use cgroupd_tests::need::patience;
use cgroupd_tests::peer::{Map, RANGE, children};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Caller, World};
use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

pub(crate) const TESTS: &[Test] = &tests![needs UserNs:
    case_23_many_numbers_cost_one_search,
    case_23_a_number_whose_process_has_ended,
    case_23_a_process_in_a_pid_namespace_below,
    case_23_a_caller_in_a_pid_namespace_below,
];

/// A number that no process of a new pid namespace has.
const NOBODY: u32 = 30_000;

/// Processes of the host's that do nothing, until this is dropped.
struct Crowd(Child);

impl Crowd {
    fn start(count: u32) -> Self {
        let script = format!(
            "exec 3<&0; i=0; while [ $i -lt {count} ]; do (read x <&3) & i=$((i+1)); done; \
             echo ready; wait"
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().expect("there is a shell");
        let out = shell.stdout.take().expect("it is piped");
        let line = BufReader::new(out).lines().next().expect("a line").expect("readable");
        assert_eq!(line, "ready");
        Self(shell)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // They read to the end of it.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Starts processes of the container's in its top cgroup; their numbers there.
fn start(world: &World, caller: &mut Caller, count: u32) -> Vec<u32> {
    let script = format!("i=0; while [ $i -lt {count} ]; do sleep 900 & i=$((i+1)); done; wait");
    let shell = caller.peer.spawn(&["sh", "-c", &script]);
    let end = Instant::now() + patience(Duration::from_secs(10));
    let first = hierarchies::implied().next().expect("root has one");
    // Beside the shell there are the first process and the one that started it.
    while world.cgroups.procs(first, "box").len() < count as usize + 3 {
        assert!(Instant::now() < end, "they do not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    (1..=count).map(|n| shell.inside + n).collect()
}

/// The processor time that a call takes the daemon, as a rule.
fn cost(world: &World, call: impl Fn()) -> Duration {
    let clock = clock_getcpuclockid(Pid::from_raw(world.daemon.pid())).expect("it lives");
    let now = || Duration::from(clock_gettime(clock).expect("it lives"));
    let once = |_| {
        let before = now();
        call();
        now() - before
    };
    (0..3).map(once).min().expect("three")
}

/// All processes are pinned before the first is moved, so where one does not exist nothing but the
/// search has been done.
fn case_23_many_numbers_cost_one_search(world: &World) {
    let _crowd = Crowd::start(300);
    let mut caller = world.container("box", RANGE);
    caller.create("/a").unwrap();
    let own = start(world, &mut caller, 40);
    let with_nobody = [&own[..], &[NOBODY]].concat();
    let search = |pids: &[u32]| {
        cost(world, || {
            let text = refused(caller.attach_pids("/a", pids, &[]), ErrorName::NoSuchProcess);
            assert!(text.contains(&NOBODY.to_string()), "{text}");
        })
    };
    let (mut one, mut many) = (Duration::ZERO, Duration::ZERO);
    unchanged(&world.cgroups, || (one, many) = (search(&[NOBODY]), search(&with_nobody)));
    assert!(many < 10 * one, "41 numbers cost {many:?}, one costs {one:?}");
    caller.attach_pids("/a", &own, &[]).unwrap();
    assert_eq!(caller.processes("/a", &[]).unwrap(), own);
    let first = hierarchies::implied().next().expect("root has one");
    assert_eq!(world.cgroups.procs(first, "box/a").len(), own.len());
}

fn case_23_a_number_whose_process_has_ended(world: &World) {
    let mut caller = world.container("box", RANGE);
    caller.create("/a").unwrap();
    let [lives, ended] = [(); 2].map(|()| caller.peer.sleeper(500));
    caller.attach_pids("/a", &[ended.inside], &[]).unwrap();
    kill(Pid::from_raw(ended.outside), Signal::SIGKILL).unwrap();
    // Its parent does not wait for it: the number stays its own.
    let end = Instant::now() + patience(Duration::from_secs(5));
    while !numbers_of(ended.outside, "State:").starts_with(['Z', 'X']) {
        assert!(Instant::now() < end, "it does not end");
    }
    unchanged(&world.cgroups, || {
        for pids in [&[ended.inside][..], &[lives.inside, ended.inside]] {
            refused(caller.attach_pids("/a", pids, &[]), ErrorName::NoSuchProcess);
        }
        refused(caller.cgroup_of(ended.inside, &[]), ErrorName::NoSuchProcess);
    });
    caller.attach_pids("/a", &[lives.inside], &[]).unwrap();
    assert!(world.cgroups.all_hold("box/a", lives.outside));
}

/// The rest of a line of `/proc/PID/status`.
fn numbers_of(pid: i32, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim().to_owned()
}

/// It has a number in each of three namespaces: the caller's is the one in the middle.
fn case_23_a_process_in_a_pid_namespace_below(world: &World) {
    let mut caller = world.container("box", RANGE);
    caller.create("/a").unwrap();
    let outer = caller.peer.spawn(&["unshare", "--pid", "--fork", "sleep", "60"]).outside;
    let end = Instant::now() + patience(Duration::from_secs(5));
    let inner = loop {
        if let [pid] = children(outer)[..] {
            break pid;
        }
        assert!(Instant::now() < end, "unshare does not get there");
    };
    let numbers = numbers_of(inner, "NSpid:");
    let numbers: Vec<u32> = numbers.split('\t').map(|n| n.parse().unwrap()).collect();
    let [outside, inside, 1] = numbers[..] else { panic!("{numbers:?}") };
    assert_eq!(outside, inner.cast_unsigned());
    caller.attach_pids("/a", &[inside], &[]).unwrap();
    assert!(world.cgroups.all_hold("box/a", inner));
    assert_eq!(caller.processes("/a", &[]).unwrap(), [inside]);
}

fn case_23_a_caller_in_a_pid_namespace_below(world: &World) {
    world.cgroups.make_for("box", RANGE);
    let mut peer = world.peer_in("box");
    peer.user_ns(Map::Range(RANGE));
    peer.cgroup_ns();
    peer.pid_ns();
    peer.pid_ns();
    let mut caller = world.calls(peer);
    caller.create("/a").unwrap();
    let own = caller.peer.sleeper(500);
    let numbers = numbers_of(own.outside, "NSpid:");
    assert_eq!(numbers.split('\t').count(), 3, "{numbers}");
    let in_the_middle = numbers.split('\t').nth(1).unwrap().parse().unwrap();
    unchanged(&world.cgroups, || {
        // The namespaces above have more numbers in use than this one.
        for pid in [own.outside.cast_unsigned(), in_the_middle] {
            refused(caller.attach_pids("/a", &[pid], &[]), ErrorName::NoSuchProcess);
        }
    });
    caller.attach_pids("/a", &[own.inside], &[]).unwrap();
    assert!(world.cgroups.all_hold("box/a", own.outside));
    assert_eq!(caller.processes("/a", &[]).unwrap(), [own.inside]);
}
