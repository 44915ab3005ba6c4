//! `cgctl watch`: each event is a line at once, and the end says why no other follows.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use cgroupd_tests::bins;
use cgroupd_tests::daemon::Daemon;
use cgroupd_tests::need::{Need, trial};
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::cgctl::{badly, well};

pub(crate) const TESTS: &[Test] = &tests![
    a_watch_lasts_until_the_cgroup_is_removed,
    a_watch_in_json,
    an_interrupted_watch_ends,
    what_cannot_be_watched,
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("a_watch_ends_with_the_daemon", &[Need::Root], a_watch_ends_with_the_daemon)]
}

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The bound of calls, which events outlast.
const TIMEOUT: Duration = Duration::from_secs(4);

/// A running `cgctl watch`. It is killed when this is dropped.
struct Watching {
    child: Child,
    lines: Receiver<String>,
    began: Instant,
}

impl Watching {
    fn start(daemon: &Daemon, arguments: &[&str]) -> Self {
        let timeout = TIMEOUT.as_secs().to_string();
        // Whoever runs the tests in the background of a shell ignores SIGINT, and so would this.
        let mut command = Command::new("env");
        command
            .arg("--default-signal=INT")
            .arg(bins::cgctl())
            .args(["watch", "--timeout", &timeout, "--address"])
            .arg(daemon.address());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it is built");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        Self { child, lines, began: Instant::now() }
    }

    /// The first line that tells of `populated`. What happened before the watch began is not
    /// told: it is made to happen until it is.
    fn first<T>(&self, mut happen: impl FnMut() -> T) -> (T, String) {
        while self.began.elapsed() < PATIENCE {
            let happened = happen();
            while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(3)) {
                if line.contains("populated") {
                    return (happened, line);
                }
            }
            // Undone for long enough to be seen on v1, or doing it again would change nothing.
            drop(happened);
            thread::sleep(Duration::from_millis(1500));
        }
        panic!("nothing is told");
    }

    fn next(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }

    /// How it ended, and what it said of that.
    fn end(&mut self) -> (ExitStatus, String) {
        let end = Instant::now() + PATIENCE;
        while self.child.try_wait().expect("our child").is_none() {
            assert!(Instant::now() < end, "it goes on");
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(self.lines.recv().ok(), None);
        let mut text = String::new();
        let stderr = self.child.stderr.as_mut().expect("piped");
        stderr.read_to_string(&mut text).expect("text");
        (self.child.wait().expect("our child"), text)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// A process in the cgroup, which was empty before.
fn populate(world: &World, path: &str) -> Sleeper {
    let sleeper = Sleeper::start(0);
    world.root.move_pid(path, sleeper.pid()).unwrap();
    sleeper
}

fn a_watch_lasts_until_the_cgroup_is_removed(world: &World) {
    well(world, &["create", "a"]);
    let mut watching = Watching::start(&world.daemon, &["a", "populated", "empty"]);
    let (sleeper, line) = watching.first(|| populate(world, "/a"));
    assert_eq!(line, "/a  populated");
    thread::sleep(TIMEOUT.saturating_sub(watching.began.elapsed()));
    drop(sleeper);
    assert_eq!(watching.next(), "/a  empty", "after the time that calls have");
    well(world, &["rm", "a"]);
    assert_eq!(watching.next(), "/a  removed", "though it was not asked for");
    let (status, err) = watching.end();
    assert_eq!((status.code(), err.as_str()), (Some(0), ""));
}

fn a_watch_in_json(world: &World) {
    well(world, &["create", "a"]);
    let mut watching = Watching::start(&world.daemon, &["-j", "a", "populated"]);
    let row = |line: &str| serde_json::from_str::<Value>(line).expect("one document a line");
    let (_, line) = watching.first(|| populate(world, "/a"));
    assert_eq!(row(&line), json!({"path": "/a", "event": "populated", "count": 0}));
    well(world, &["rm", "--kill", "a"]);
    let removed = json!({"path": "/a", "event": "removed", "count": 0});
    assert_eq!(row(&watching.next()), removed);
    assert_eq!(watching.end().0.code(), Some(0));
}

fn an_interrupted_watch_ends(world: &World) {
    use std::os::unix::process::ExitStatusExt;
    well(world, &["create", "a"]);
    let mut watching = Watching::start(&world.daemon, &["a"]);
    let (_sleeper, _) = watching.first(|| populate(world, "/a"));
    let pid = Pid::from_raw(watching.child.id().cast_signed());
    kill(pid, Signal::SIGINT).unwrap();
    assert_eq!(watching.end().0.signal(), Some(Signal::SIGINT as i32));
}

fn what_cannot_be_watched(world: &World) {
    well(world, &["create", "a"]);
    badly(world, 3, &["watch", "nowhere"]);
    let err = badly(world, 8, &["watch", "a", "exploded"]);
    assert!(err.contains("exploded") && err.contains("hint: there are populated"), "{err}");
    badly(world, 2, &["watch"]);
}

/// It makes its own world, for the daemon does not end well.
fn a_watch_ends_with_the_daemon() {
    let World { root, daemon, cgroups, .. } = World::new("clients");
    root.create("/a").unwrap();
    let mut watching = Watching::start(&daemon, &["a", "populated"]);
    let (sleeper, _) = watching.first(|| {
        let sleeper = Sleeper::start(0);
        root.move_pid("/a", sleeper.pid()).unwrap();
        sleeper
    });
    daemon.kill();
    let (status, err) = watching.end();
    assert_eq!(status.code(), Some(6), "{err}");
    assert!(err.starts_with("cgctl: cannot watch a: ") && err.contains("hint: "), "{err}");
    drop((root, sleeper, cgroups));
}
