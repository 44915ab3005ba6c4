//! `cgctl doctor`: what it says is compared with the machine the test runs on.

use std::fs;
use std::process::Command;

use cgroupd_tests::hierarchies::{self, Version};
use cgroupd_tests::peer::{ALICE, Map, RANGE};
use cgroupd_tests::suite::Test;
use cgroupd_tests::world::World;
use cgroupd_tests::{bins, need, tests};
use serde_json::Value;

use crate::run;

pub(crate) const TESTS: &[Test] =
    &tests![doctor_says_what_is_here, doctor_without_a_daemon, doctor_as_a_user];

pub(crate) const USER_NS_TESTS: &[Test] =
    &tests![needs UserNs: doctor_in_a_container, doctor_in_a_container_not_handed_over];

/// The report of a run that ended like this.
struct Report(Value);

impl Report {
    #[track_caller]
    fn of(mut command: Command, status: i32) -> Self {
        command.args(["--json", "doctor"]);
        let done = run(command);
        assert_eq!((done.status, done.err.as_str()), (Some(status), ""), "{}", done.out);
        let report = Self(serde_json::from_str(&done.out).expect("one document"));
        assert_eq!(report.0["problems"] == 0, status == 0);
        report
    }

    /// The texts of the checks of a name, each after its state.
    fn says(&self, name: &str) -> Vec<String> {
        let checks = self.0["checks"].as_array().expect("a list").iter();
        let text = |check: &Value, key: &str| check[key].as_str().expect("a text").to_owned();
        checks
            .filter(|check| check["name"] == name)
            .map(|check| format!("{}: {}", text(check, "state"), text(check, "text")))
            .collect()
    }

    #[track_caller]
    fn has(&self, name: &str, said: &str) {
        let texts = self.says(name);
        assert!(texts.iter().any(|text| text.contains(said)), "{name}: {said:?}: {texts:?}");
    }
}

fn cgctl(address: &str) -> Command {
    let mut command = Command::new(bins::cgctl());
    command.args(["--address", address]);
    command
}

/// What is true whoever asks, daemon or not.
#[track_caller]
fn is_this_machine(report: &Report) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    report.has("kernel", &format!("ok: Linux {}", release.trim()));
    let layout = match (version_is_here(Version::V1), version_is_here(Version::V2)) {
        (true, true) => "hybrid",
        (true, false) => "legacy",
        (false, _) => "unified",
    };
    report.has("layout", &format!("ok: {layout}: "));
    for hierarchy in hierarchies::implied() {
        let mount = hierarchy.mount.display();
        report.has("layout", &mount.to_string());
        if hierarchy.version == Version::V1 {
            report.has(
                "controllers",
                &format!("ok: v1 {mount}: {}", hierarchy.controllers.join(" ")),
            );
        }
        let there = fs::read_to_string(hierarchy.mount.join("cgroup.controllers"));
        if let Some(there) = there.ok().filter(|there| !there.trim().is_empty()) {
            report.has("controllers", &format!("ok: cgroup2: {}", there.trim()));
        }
    }
    let systemd = std::path::Path::new("/run/systemd/system").is_dir();
    assert_eq!(report.says("init")[0].starts_with("ok: systemd"), systemd);
    for (name, since) in [("cgroup.kill", (5, 14)), ("SO_PEERPIDFD", (6, 5))] {
        let there = need::linux() >= since;
        report.has(
            "feature",
            &if there { format!("ok: {name}") } else { format!("note: no {name}") },
        );
    }
}

fn version_is_here(version: Version) -> bool {
    let kind = if version == Version::V1 { " - cgroup " } else { " - cgroup2 " };
    fs::read_to_string("/proc/self/mountinfo").unwrap().contains(kind)
}

fn doctor_says_what_is_here(world: &World) {
    let report = Report::of(cgctl(&world.daemon.address()), 0);
    is_this_machine(&report);
    report.has("daemon", &format!("ok: cgroupd {}", env!("CARGO_PKG_VERSION")));
    report.has("daemon", &world.daemon.address());
    report.has("caller", "ok: host-root; home: /");
    assert!(report.says("container").is_empty());
    // The daemon probed what the doctor knows from the version alone.
    let features = world.root.wait(world.root.manager().features()).unwrap();
    for (name, shown) in [("peer-pidfd", "SO_PEERPIDFD"), ("pidfd-info", "PIDFD_GET_INFO")] {
        let there = features.iter().any(|own| own == name);
        let expected = if there { format!("ok: {shown}") } else { format!("note: no {shown}") };
        report.has("feature", &expected);
    }
    let mut plain = cgctl(&world.daemon.address());
    plain.arg("doctor");
    let done = run(plain);
    assert!(done.out.ends_with("nothing is blocked\n"), "{}", done.out);
}

fn doctor_without_a_daemon(_: &World) {
    let report = Report::of(cgctl("/nonexistent/socket"), 1);
    is_this_machine(&report);
    report.has("daemon", "problem: ");
    report.has("daemon", "(ENOENT)");
    assert!(report.says("caller").is_empty());
    let remedies = report.0["checks"].as_array().unwrap().iter();
    let mut problems = remedies.filter(|check| check["state"] == "problem");
    assert!(problems.all(|check| check["remedy"].is_string()));
}

/// Its own cgroup is root's: so the daemon is the way, or there is none.
fn doctor_as_a_user(world: &World) {
    let mut alice = world.user(ALICE);
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = cgroups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let program = bins::cgctl().display().to_string();
    for (address, status) in [(world.daemon.address(), 0), ("/nonexistent".to_owned(), 1)] {
        let done = alice.peer.run(&[&program, "--address", &address, "--json", "doctor"]);
        assert_eq!(done.status, status, "{}", done.text);
        let report = Report(serde_json::from_str(&done.text).expect("one document"));
        let state = if status == 0 { "note" } else { "problem" };
        if hierarchies::v2().is_some() {
            report.has("delegation", &format!("{state}: {own} is not the caller's to write"));
        }
    }
}

fn doctor_in_a_container(world: &World) {
    let mut root = world.container("box", RANGE);
    let (program, address) = (bins::cgctl().display().to_string(), world.daemon.address());
    let done = root.peer.run(&[&program, "--address", &address, "--json", "doctor"]);
    let report =
        Report(serde_json::from_str(&done.text).unwrap_or_else(|_| panic!("{}", done.text)));
    assert_eq!(done.status, 0, "{}", done.text);
    report.has("container", "user, pid, cgroup");
    report.has("caller", "ok: namespace-root; home: /");
    let away = root.peer.run(&[&program, "--address", "/nonexistent", "doctor", "--quiet"]);
    assert_eq!(away.status, 1, "{}", away.text);
    assert!(away.text.contains("mount the host's directory"), "{}", away.text);
}

/// As runc leaves it: root's own.
fn doctor_in_a_container_not_handed_over(world: &World) {
    world.cgroups.make("box");
    let mut peer = world.peer_in("box");
    peer.user_ns(Map::Range(RANGE));
    peer.cgroup_ns();
    let mut root = world.calls(peer);
    let (program, address) = (bins::cgctl().display().to_string(), world.daemon.address());
    let mut doctor = |status: i32| {
        let done = root.peer.run(&[&program, "--address", &address, "--json", "doctor"]);
        assert_eq!(done.status, status, "{}", done.text);
        Report(serde_json::from_str(&done.text).expect("one document"))
    };
    doctor(1).has("delegation", "problem: the container's cgroup belongs to ids");
    world.root.chown("box", RANGE, RANGE, &[]).unwrap();
    doctor(0);
}
