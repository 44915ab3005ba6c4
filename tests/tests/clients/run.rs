//! `cgctl run`: a command in a cgroup of its own.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use cgroupd_tests::bins;
use cgroupd_tests::hierarchies;
use cgroupd_tests::peer::misfit::state;
use cgroupd_tests::peer::{ALICE, Peer};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::Done;
use crate::cgctl::cgctl;

pub(crate) const TESTS: &[Test] = &tests![
    a_command_in_a_cgroup_of_its_own,
    its_status_is_the_commands,
    what_it_used_is_reported,
    nothing_is_left_behind,
    signals_are_passed_on,
    what_cannot_be_run_leaves_nothing,
    one_in_another,
    a_user_in_its_own_cgroup,
    a_command_over_its_limit,
];

/// Its standard output, after it ended like this.
#[track_caller]
fn ends(world: &World, status: i32, arguments: &[&str]) -> Done {
    let done = cgctl(world, &[&["run"], arguments].concat());
    assert_eq!(done.status, Some(status), "{arguments:?}: {done:?}");
    done
}

fn a_command_in_a_cgroup_of_its_own(world: &World) {
    let done = ends(world, 0, &["--pids", "7", "--name", "job", "--", "cat", "/proc/self/cgroup"]);
    let place = format!("{}/job", world.cgroups.path());
    let here = done.out.lines().filter(|line| line.ends_with(&place)).count();
    assert_eq!(here, hierarchies::implied().count(), "{}", done.out);
    assert!(world.cgroups.is_nowhere("job"));
    // Its standard input is the command's.
    let mut command = Command::new(bins::cgctl());
    command.arg("--address").arg(world.daemon.address()).args(["-q", "run", "tr", "a-z", "A-Z"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"words").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.stdout.as_slice(), output.status.code()), (&b"WORDS"[..], Some(0)));
}

fn its_status_is_the_commands(world: &World) {
    ends(world, 3, &["sh", "-c", "exit 3"]);
    ends(world, 143, &["sh", "-c", "kill $$"]);
    let done = ends(world, 127, &["no-such-command-anywhere"]);
    assert!(done.err.contains("cannot run no-such-command-anywhere: no such file"), "{}", done.err);
    let done = ends(world, 126, &["/dev/null"]);
    assert!(done.err.contains("cannot run /dev/null: permission denied"), "{}", done.err);
}

fn what_it_used_is_reported(world: &World) {
    let busy = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";
    let done = ends(world, 0, &["-m", "64M", "--", "sh", "-c", busy]);
    let report = done.err.trim_end();
    assert!(report.starts_with("sh: exit 0  "), "{report}");
    for part in [" s  cpu ", "  memory peak ", " of 64.0M"] {
        assert!(report.contains(part), "{report}");
    }
    let quiet = cgctl(world, &["-q", "run", "true"]);
    assert_eq!((quiet.status, quiet.err.as_str()), (Some(0), ""));
    let json = cgctl(world, &["-j", "run", "-m", "64M", "sh", "-c", "echo out; kill -9 $$"]);
    assert_eq!((json.status, json.out.as_str()), (Some(137), "out\n"));
    let report: Value = serde_json::from_str(&json.err).unwrap();
    assert_eq!(
        (&report["command"], &report["exit"], &report["signal"]),
        (&"sh".into(), &137.into(), &9.into())
    );
    assert_eq!(report["stats"]["memory.max"], 64 << 20);
    assert!(report["seconds"].is_f64());
}

fn nothing_is_left_behind(world: &World) {
    let done =
        ends(world, 0, &["--name", "job", "sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"]);
    let left: i32 = done.out.trim().parse().unwrap();
    assert!(world.cgroups.is_nowhere("job"));
    assert!(matches!(state(left), None | Some('Z')), "its child is killed");
}

fn signals_are_passed_on(world: &World) {
    let script = "trap 'echo stopped; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let mut command = Command::new(bins::cgctl());
    command.arg("--address").arg(world.daemon.address());
    command.args(["run", "--name", "job", "--", "sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "stopped");
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert!(world.cgroups.is_nowhere("job"));
}

fn what_cannot_be_run_leaves_nothing(world: &World) {
    world.root.create("taken").unwrap();
    unchanged(&world.cgroups, || {
        for arguments in [
            &["-m", "64X", "true"][..],
            &["-l", "pids.max=1", "--pids", "2", "true"],
            &["--name", "taken", "true"],
            &["--in", "..", "true"],
            &["--name", "a/b", "true"],
            &["--no-such-option", "true"],
            &[],
        ] {
            let done = ends(world, 125, arguments);
            assert_eq!(done.out, "");
        }
    });
    let status = |arguments: &[&str]| {
        Command::new(bins::cgctl()).args(arguments).output().unwrap().status.code()
    };
    assert_eq!(status(&["--address", "/nowhere/at/all", "run", "true"]), Some(125));
    assert_eq!(status(&["--address", "nonsense", "run", "true"]), Some(125));
    assert_eq!(status(&["--timeout", "5", "rm", "run", "--nonsense"]), Some(2));
    // Whoever ignores its children is told nothing of their end.
    let script = format!("trap '' CHLD; exec {} run true", bins::cgctl().display());
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(125) && err.contains("SIGCHLD"), "{err}");
}

fn one_in_another(world: &World) {
    world.root.create("jobs").unwrap();
    let address = format!("--address={}", world.daemon.address());
    let cgctl = bins::cgctl();
    let cgctl = cgctl.to_str().unwrap();
    let inner = ["cat", "/proc/self/cgroup"];
    let nested = [
        &["--in", "jobs", "--name", "a", cgctl, &address, "run", "--in", "jobs", "--name", "b"][..],
        &inner,
    ]
    .concat();
    let done = ends(world, 0, &nested);
    assert!(done.out.contains("/jobs/b\n"), "{}", done.out);
    assert_eq!(done.err.lines().count(), 2, "two reports: {}", done.err);
    assert!(world.cgroups.is_nowhere("jobs/a") && world.cgroups.is_nowhere("jobs/b"));
}

/// On v2 the kernel lets a user move itself from within what is delegated to it alone.
fn a_user_in_its_own_cgroup(world: &World) {
    world.root.delegate("", ALICE, &[("pids.max", "50")]).unwrap();
    let home = format!("users/{ALICE}");
    world.user(ALICE).create("session").unwrap();
    let mut alice = Peer::start();
    world.cgroups.put_where_it_is(&format!("{home}/session"), alice.pid());
    alice.ids(ALICE, ALICE, &[]);
    let address = format!("--address={}", world.daemon.address());
    let cgctl = bins::cgctl();
    let run = |alice: &mut Peer, arguments: &[&str]| {
        alice.run(&[&[cgctl.to_str().unwrap(), &address, "-q", "run"], arguments].concat())
    };
    let done = run(&mut alice, &["--pids", "5", "--name", "job", "cat", "/proc/self/cgroup"]);
    assert_eq!(done.status, 0, "{}", done.text);
    assert!(done.text.contains(&format!("/{home}/job\n")), "{}", done.text);
    assert!(world.cgroups.is_nowhere(&format!("{home}/job")));
    let done = run(&mut alice, &["--in", "/", "true"]);
    assert_eq!(done.status, 125, "{}", done.text);
}

fn a_command_over_its_limit(world: &World) {
    let many = "for i in 1 2 3 4 5; do sleep 1 & done";
    let done = cgctl(world, &["-q", "run", "--pids", "3", "sh", "-c", many]);
    assert!(done.err.contains("fork"), "it could start them all: {done:?}");
    assert!(cgctl(world, &["-q", "run", "--pids", "30", "sh", "-c", many]).err.is_empty());
}
