//! The daemon is killed at any point: nothing is lost, and the same calls complete what it left.

use std::fs;
use std::time::Duration;

use cgroupd_tests::cgroups::Cgroups;
use cgroupd_tests::client::{Client, Result};
use cgroupd_tests::daemon::Daemon;
use cgroupd_tests::hierarchies;
use cgroupd_tests::need::{Need, trial};
use cgroupd_tests::peer::ALICE;
use cgroupd_tests::world::Sleeper;
use libtest_mimic::Trial;

/// How often, unless this variable says more.
const VARIABLE: &str = "CGROUPD_CRASHES";
const TIMES: u64 = 15;
/// A signal that is passed over by default.
const CONT: u32 = 18;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("case_60_the_daemon_is_killed_at_any_point", &[Need::Root], killed)]
}

fn times() -> u64 {
    std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(TIMES)
}

fn killed() {
    let cgroups = Cgroups::new("crash");
    for round in 0..times() {
        let daemon = Daemon::start(&cgroups.path());
        let client = daemon.connect();
        let sleeper = Sleeper::start(ALICE);
        std::thread::scope(|threads| {
            let load = threads.spawn(|| while verbs(&client, sleeper.pid()).is_ok() {});
            // Not random: each round another point, and the same ones in the next run.
            std::thread::sleep(Duration::from_micros(1500 + round * 1733 % 40_000));
            daemon.kill();
            load.join().expect("the verbs fail without a panic");
        });
        each_value_is_whole(&cgroups);
        let daemon = Daemon::start(&cgroups.path());
        let client = daemon.connect();
        verbs(&client, sleeper.pid()).unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert!(cgroups.is_nowhere("work") && cgroups.all_hold("home", sleeper.pid()));
        drop(client);
        daemon.stop();
    }
}

/// Every verb that changes something, in an order that can begin anywhere.
fn verbs(client: &Client, pid: i32) -> Result<()> {
    let limit = limit();
    client.create("/home")?;
    client.create_limited("/work/a/b", &[], &[(limit, "100")])?;
    client.set_limits("/work/a/b", &[(limit, "200")], &[])?;
    client.move_pid("/work/a/b", pid)?;
    client.freeze("/work/a")?;
    client.thaw("/work/a")?;
    client.kill("/work/a", CONT)?;
    client.chown("/work", ALICE, ALICE, &["recursive"])?;
    client.chmod("/work/a", "", 0o750)?;
    client.move_pid("/home", pid)?;
    client.remove("/work", &["recursive"]).map(drop)
}

fn limit() -> &'static str {
    if hierarchies::v1_of("pids").is_some() { "pids.max" } else { "cgroup.max.descendants" }
}

/// Each limit is what it was or what was asked for.
fn each_value_is_whole(cgroups: &Cgroups) {
    for hierarchy in hierarchies::implied() {
        for path in ["home", "work", "work/a", "work/a/b"] {
            let file = cgroups.dir(hierarchy, path).join(limit());
            let Ok(text) = fs::read_to_string(file) else { continue };
            assert!(["max", "100", "200"].contains(&text.trim()), "{path}: {text}");
        }
    }
}
