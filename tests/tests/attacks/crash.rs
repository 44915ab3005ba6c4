//! The daemon is killed at any point, under load: nothing is lost, and the same calls complete
//! what it left.

use std::fs;
use std::time::{Duration, Instant};

use cgroupd_tests::cgroups::Cgroups;
use cgroupd_tests::client::{Client, Result};
use cgroupd_tests::daemon::Daemon;
use cgroupd_tests::hierarchies::{self, Hierarchy};
use cgroupd_tests::need::{self, Need, patience, trial};
use cgroupd_tests::peer::ALICE;
use cgroupd_tests::world::Sleeper;
use libtest_mimic::Trial;

/// How often, unless this variable says more.
const VARIABLE: &str = "CGROUPD_CRASHES";
const TIMES: u32 = 15;
/// A signal that is passed over by default.
const CONT: u32 = 18;
/// Clients that call at the same time, each in a tree of its own.
const CLIENTS: [&str; 2] = ["one", "two"];
/// How long a daemon may take to remove what has become empty.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("case_60_the_daemon_is_killed_at_any_point", &[Need::Root], killed),
        trial("case_60_marks_outlive_the_daemon", &[Need::Root], marks),
    ]
}

fn rounds() -> u32 {
    std::env::var(VARIABLE)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| need::times(TIMES))
}

/// A limit, where it is kept, the two values that are asked for, and what the file may say.
struct Limit {
    name: &'static str,
    controller: &'static str,
    values: [&'static str; 2],
    hierarchy: &'static Hierarchy,
    file: &'static str,
    texts: [&'static str; 3],
}

/// Those that this machine has.
fn limits() -> Vec<Limit> {
    let pids = ("pids.max", "pids", ["100", "200"], "pids.max", ["max", "100", "200"]);
    let (v1, v2) = ("memory.limit_in_bytes", "memory.max");
    let sizes = ["67108864", "134217728"];
    let memory = |file, unlimited| {
        ("memory.max", "memory", ["64M", "128M"], file, [unlimited, sizes[0], sizes[1]])
    };
    [pids, memory(v1, "9223372036854771712"), memory(v2, "max")]
        .into_iter()
        .filter_map(|(name, controller, values, file, texts)| {
            let hierarchy = match file == v2 {
                true => v2_with(controller),
                false if file == v1 => hierarchies::v1_of(controller),
                false => hierarchies::v1_of(controller).or_else(|| v2_with(controller)),
            };
            hierarchy.map(|hierarchy| Limit { name, controller, values, hierarchy, file, texts })
        })
        .collect()
}

fn v2_with(controller: &str) -> Option<&'static Hierarchy> {
    hierarchies::v2().filter(|v2| {
        let there = fs::read_to_string(v2.mount.join("cgroup.controllers")).unwrap_or_default();
        there.split_ascii_whitespace().any(|name| name == controller)
    })
}

/// Every verb that changes something, in an order that can begin anywhere.
fn verbs(client: &Client, limits: &[Limit], name: &str, pid: i32) -> Result<()> {
    let (home, work) = (format!("/{name}/home"), format!("/{name}/work"));
    let leaf = format!("{work}/a/b");
    let of = |index: usize| limits.iter().map(move |limit| (limit.name, limit.values[index]));
    let controllers: Vec<&str> = limits.iter().map(|limit| limit.controller).collect();
    client.create(&home)?;
    // Everywhere, for the freezer; then with the controllers of the limits.
    client.create(&leaf)?;
    client.create_limited(&leaf, &controllers, &of(0).collect::<Vec<_>>())?;
    client.set_limits(&leaf, &of(1).collect::<Vec<_>>(), &[])?;
    client.move_pid(&leaf, pid)?;
    client.freeze(&leaf)?;
    client.thaw(&leaf)?;
    client.kill(&leaf, CONT)?;
    client.chown(&work, ALICE, ALICE, &["recursive"])?;
    client.chmod(&format!("{work}/a"), "", 0o750)?;
    client.move_pid(&home, pid)?;
    client.remove(&work, &["recursive"]).map(drop)
}

fn killed() {
    let (cgroups, limits) = (Cgroups::new("crash"), limits());
    assert!(!limits.is_empty(), "no controller with a limit");
    let mut daemon = Daemon::start(&cgroups.path());
    let whole = undisturbed(&daemon, &limits, &Sleeper::start(ALICE));
    for round in 0..rounds() {
        let sleepers = CLIENTS.map(|_| Sleeper::start(ALICE));
        let delay = point(round, whole);
        let what = format!("round {round}, after {delay:?}");
        kill_under_load(daemon, &limits, &sleepers, delay);
        for (name, sleeper) in CLIENTS.iter().zip(&sleepers) {
            each_value_is_whole(&cgroups, &limits, name, &what);
            is_not_lost(sleeper, name, &what);
        }
        daemon = Daemon::start(&cgroups.path());
        let client = daemon.connect();
        for (name, sleeper) in CLIENTS.iter().zip(&sleepers) {
            let again = verbs(&client, &limits, name, sleeper.pid());
            again.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(cgroups.is_nowhere(&format!("{name}/work")), "{what}");
            assert!(cgroups.all_hold(&format!("{name}/home"), sleeper.pid()), "{what}");
        }
    }
    daemon.stop();
}

/// How long all verbs take together, when everything they need has been read from disk.
fn undisturbed(daemon: &Daemon, limits: &[Limit], sleeper: &Sleeper) -> Duration {
    let (client, pid) = (daemon.connect(), sleeper.pid());
    verbs(&client, limits, CLIENTS[0], pid).expect("nobody disturbs them");
    let began = Instant::now();
    verbs(&client, limits, CLIENTS[0], pid).expect("nobody disturbs them");
    began.elapsed()
}

/// Another point each time, spread over a run and a half of the verbs: the first makes
/// everything, the next finds some of it. Runs differ, and a failure says which point it was.
fn point(round: u32, whole: Duration) -> Duration {
    const GOLDEN: f64 = 0.618_033_988_75;
    let phase = f64::from(std::process::id() % 1000) / 1000.0;
    whole.mul_f64(1.5 * (phase + f64::from(round) * GOLDEN).fract())
}

fn kill_under_load(daemon: Daemon, limits: &[Limit], sleepers: &[Sleeper], delay: Duration) {
    let clients = CLIENTS.map(|_| daemon.connect());
    std::thread::scope(|threads| {
        for ((name, client), sleeper) in CLIENTS.iter().zip(&clients).zip(sleepers) {
            threads.spawn(|| while verbs(client, limits, name, sleeper.pid()).is_ok() {});
        }
        std::thread::sleep(delay);
        daemon.kill();
    });
}

/// Each limit is what it was or what was asked for.
fn each_value_is_whole(cgroups: &Cgroups, limits: &[Limit], name: &str, what: &str) {
    for limit in limits {
        for path in ["home", "work", "work/a", "work/a/b"] {
            let dir = cgroups.dir(limit.hierarchy, &format!("{name}/{path}"));
            let Ok(text) = fs::read_to_string(dir.join(limit.file)) else { continue };
            let text = text.trim();
            assert!(limit.texts.contains(&text), "{what}: {path}: {}: {text}", limit.name);
        }
    }
}

/// It runs, nobody holds it, and in each hierarchy it is where it was or where it was sent.
fn is_not_lost(sleeper: &Sleeper, name: &str, what: &str) {
    let read = |file: &str, pid: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let pid = sleeper.pid().to_string();
    let status = read("status", &pid);
    let of = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    // Neither dead nor stopped.
    let runs = !of("State:").starts_with(['X', 'Z', 'T', 't']);
    assert!(runs && of("TracerPid:") == "0", "{what}: {status}");
    let start = read("cgroup", "self");
    for line in read("cgroup", &pid).lines() {
        let sent = [format!("/{name}/home"), format!("/{name}/work/a/b")];
        let known = start.lines().any(|own| own == line);
        assert!(known || sent.iter().any(|end| line.ends_with(end)), "{what}: {line}");
    }
}

/// What is to be removed when it is empty is removed, whoever has seen the mark being made.
fn marks() {
    let cgroups = Cgroups::new("crash");
    let flags = ["when-empty"];
    let mut whole = Duration::from_millis(50);
    for round in 0..rounds() {
        let mut sleeper = Sleeper::start(ALICE);
        let daemon = Daemon::start(&cgroups.path());
        let client = daemon.connect();
        let began = Instant::now();
        std::thread::scope(|threads| {
            let create = || client.create_and_attach("/marked", &[], &[sleeper.pidfd()], &flags);
            let call = threads.spawn(create);
            std::thread::sleep(point(round, whole));
            daemon.kill();
            let done = call.join().expect("it fails without a panic");
            whole = if done.is_ok() { began.elapsed().min(whole) } else { whole };
        });
        let daemon = Daemon::start(&cgroups.path());
        let again = daemon.connect();
        again.create_and_attach("/marked", &[], &[sleeper.pidfd()], &flags).unwrap();
        assert!(cgroups.all_hold("/marked", sleeper.pid()), "round {round}");
        daemon.kill();
        // It becomes empty while nobody looks.
        sleeper.end();
        let daemon = Daemon::start(&cgroups.path());
        let end = Instant::now() + patience(PATIENCE);
        while !cgroups.is_nowhere("/marked") {
            assert!(Instant::now() < end, "round {round}: it stays");
            std::thread::sleep(Duration::from_millis(5));
        }
        daemon.stop();
    }
}
