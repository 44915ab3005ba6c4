//! cgctl: what it does, what it prints, and how it ends.

use std::process::Command;

use cgroupd_tests::bins;
use cgroupd_tests::hierarchies::{self, Hierarchy, Version};
use cgroupd_tests::need::skip;
use cgroupd_tests::peer::{ALICE, BOB};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};
use serde_json::{Value, json};

use crate::{Done, run};

pub(crate) const TESTS: &[Test] = &tests![
    the_story_of_test01,
    the_address_by_option_variable_or_path,
    create_prints_the_path,
    limits_are_set_and_shown,
    limits_as_numbers_in_json,
    a_bad_limit_changes_nothing,
    processes_are_listed,
    cgroups_are_listed,
    cgroups_are_removed,
    several_paths_go_on_after_a_failure,
    cgroups_are_frozen_and_thawed,
    processes_are_killed,
    owners_and_modes,
    a_user_gets_a_cgroup,
    who_i_am,
    what_is_here,
    errors_name_the_file_and_the_way_out,
    exit_statuses,
    no_daemon,
];

/// Runs cgctl on the world's daemon, as root.
pub(crate) fn cgctl(world: &World, arguments: &[&str]) -> Done {
    let mut command = Command::new(bins::cgctl());
    command.arg("--address").arg(world.daemon.address()).args(arguments);
    run(command)
}

/// Its standard output, after it ended well and said nothing else.
#[track_caller]
pub(crate) fn well(world: &World, arguments: &[&str]) -> String {
    let done = cgctl(world, arguments);
    assert_eq!((done.status, done.err.as_str()), (Some(0), ""), "{arguments:?}: {done:?}");
    done.out
}

/// Its standard error, after it ended with this status and printed nothing else.
#[track_caller]
pub(crate) fn badly(world: &World, status: i32, arguments: &[&str]) -> String {
    let done = cgctl(world, arguments);
    assert_eq!((done.status, done.out.as_str()), (Some(status), ""), "{arguments:?}: {done:?}");
    done.err
}

fn json_of(world: &World, arguments: &[&str]) -> Value {
    let out = well(world, &[&["--json"], arguments].concat());
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// Create a cgroup, move a process, and read what the kernel says of it.
fn the_story_of_test01(world: &World) {
    assert_eq!(well(world, &["create", "test01"]), "/test01\n");
    let sleeper = Sleeper::start(ALICE);
    let pid = sleeper.pid().to_string();
    assert_eq!(well(world, &["move", "test01", &pid]), "");
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = format!("{}/test01", world.cgroups.path());
    let here = text.lines().filter(|line| line.ends_with(&own)).count();
    assert_eq!(here, hierarchies::implied().count(), "{text}");
    drop(sleeper);
    assert_eq!(well(world, &["rm", "test01"]), "");
    assert!(world.cgroups.is_nowhere("test01"));
}

fn the_address_by_option_variable_or_path(world: &World) {
    let socket = world.daemon.socket().to_str().unwrap().to_owned();
    for address in [world.daemon.address(), socket] {
        let mut option = Command::new(bins::cgctl());
        option.args(["whoami", "--address", &address]);
        assert_eq!(run(option).status, Some(0), "{address}");
        let mut variable = Command::new("env");
        variable.arg(format!("CGROUPD_ADDRESS={address}")).arg(bins::cgctl()).arg("whoami");
        assert_eq!(run(variable).status, Some(0), "{address}");
    }
}

fn create_prints_the_path(world: &World) {
    assert_eq!(well(world, &["create", "a", "b/c"]), "/a\n/b/c\n");
    assert_eq!(well(world, &["create", "a"]), "/a\n", "again is no error");
    let row = json_of(world, &["create", "d"]);
    assert_eq!((&row["path"], &row["created"]), (&json!("/d"), &json!(true)));
    assert_eq!(json_of(world, &["create", "d"])["created"], json!(false));
    let Some(one) = hierarchies::implied().find(|h| !h.controllers.is_empty()) else {
        return skip("v1", "no v1 hierarchy is mounted");
    };
    well(world, &["create", "e", "--controllers", &one.controllers[0]]);
    assert_eq!(world.cgroups.places("e"), [one.label.as_str()]);
    well(world, &["create", &format!("{}:f", one.controllers[0])]);
    assert_eq!(world.cgroups.places("f"), [one.label.as_str()]);
}

/// Where the limit of memory is, and the file that says it, where processes are limited too.
fn memory() -> Option<(&'static Hierarchy, &'static str)> {
    let memory = hierarchies::of("memory").filter(|_| hierarchies::of("pids").is_some())?;
    match memory.version {
        Version::V1 => Some((memory, "memory.limit_in_bytes")),
        Version::V2 => Some((memory, "memory.max")),
    }
}

fn skip_limits() {
    skip("limits", "no hierarchy has memory and pids");
}

fn limits_are_set_and_shown(world: &World) {
    let Some((memory, file)) = memory() else { return skip_limits() };
    let out = well(world, &["create", "a", "-m", "512M", "--pids", "100"]);
    assert_eq!(out, "/a  memory.max=512M  pids.max=100\n");
    let limit = || world.cgroups.read(memory, "a", file);
    assert_eq!(limit(), "536870912");
    well(world, &["set", "a", "--memory", "1G", "pids.max=50"]);
    assert_eq!(limit(), "1073741824");
    assert_eq!(well(world, &["get", "a", "pids.max"]), "50\n");
    assert_eq!(well(world, &["get", "a", "memory.max"]), "1073741824\n");
    unchanged(&world.cgroups, || well(world, &["set", "a", "-m", "64M", "--dry-run"]));
}

fn limits_as_numbers_in_json(world: &World) {
    if memory().is_none() {
        return skip_limits();
    }
    well(world, &["create", "a", "-m", "512M", "--pids", "max"]);
    assert_eq!(json_of(world, &["get", "a", "memory.max"])["memory.max"], json!(536_870_912));
    assert_eq!(json_of(world, &["get", "a", "pids.max"])["pids.max"], json!("max"));
}

fn a_bad_limit_changes_nothing(world: &World) {
    if memory().is_none() {
        return skip_limits();
    }
    well(world, &["create", "a"]);
    unchanged(&world.cgroups, || {
        let err = badly(world, 8, &["set", "a", "--pids", "7", "-m", "64X"]);
        assert!(err.contains("memory.max") && err.contains("\"64X\"") && err.contains("hint: "));
        badly(world, 8, &["create", "b", "--pids", "7", "-m", "64X"]);
        badly(world, 8, &["set", "a", "nonsense=1"]);
    });
}

fn processes_are_listed(world: &World) {
    well(world, &["create", "a/b"]);
    assert_eq!(well(world, &["ps", "a"]), "");
    let sleeper = Sleeper::start(ALICE);
    let pid = sleeper.pid().to_string();
    well(world, &["move", "a/b", &pid]);
    assert_eq!(well(world, &["ps", "a"]), "");
    let out = well(world, &["ps", "-r", "a"]);
    assert_eq!(out.split_ascii_whitespace().next(), Some(pid.as_str()), "{out}");
    assert_eq!(json_of(world, &["ps", "a/b"]), json!([sleeper.pid()]));
}

fn cgroups_are_listed(world: &World) {
    assert_eq!(well(world, &["ls"]), "");
    well(world, &["create", "a/b", "c"]);
    assert_eq!(well(world, &["ls"]), "/a\n/c\n");
    assert_eq!(well(world, &["ls", "-r"]), "/a\n/a/b\n/c\n");
    assert_eq!(well(world, &["ls", "/a"]), "/a/b\n");
    let long = well(world, &["ls", "-l"]);
    assert!(long.lines().count() == 3 && long.contains("0755"), "{long}");
    let rows = json_of(world, &["ls", "-r"]);
    assert_eq!(rows.as_array().map(Vec::len), Some(3));
    assert_eq!(rows[1]["path"], json!("/a/b"));
    assert_eq!((&rows[1]["uid"], &rows[1]["populated"]), (&json!(0), &json!(false)));
    let tree = well(world, &["tree"]);
    assert!(["a", "b", "c"].iter().all(|name| tree.contains(name)), "{tree}");
}

fn cgroups_are_removed(world: &World) {
    well(world, &["create", "a/b", "c"]);
    unchanged(&world.cgroups, || {
        let err = badly(world, 5, &["rm", "a"]);
        assert!(err.contains("hint: ") && err.contains("rm -r"), "{err}");
        badly(world, 3, &["rm", "nowhere"]);
    });
    well(world, &["rm", "-r", "a"]);
    well(world, &["rm", "c"]);
    assert_eq!(world.cgroups.places("a"), [""; 0]);
    assert_eq!(world.cgroups.places("c"), [""; 0]);
}

fn several_paths_go_on_after_a_failure(world: &World) {
    well(world, &["create", "a", "b"]);
    let err = badly(world, 7, &["rm", "a", "nowhere", "b"]);
    assert!(err.contains("nowhere") && !err.contains("remove a"), "{err}");
    assert!(world.cgroups.is_nowhere("a") && world.cgroups.is_nowhere("b"));
    let done = cgctl(world, &["create", "c", "..", "d"]);
    assert_eq!((done.status, done.out.as_str()), (Some(7), "/c\n/d\n"));
    badly(world, 3, &["rm", "nowhere", "never"]);
}

fn cgroups_are_frozen_and_thawed(world: &World) {
    well(world, &["create", "a", "b"]);
    let sleeper = Sleeper::start(0);
    well(world, &["move", "a", &sleeper.pid().to_string()]);
    assert_eq!(well(world, &["freeze", "a", "b"]), "");
    let frozen = || cgroupd_tests::snapshot::Snapshot::of(&world.cgroups);
    let before = frozen();
    assert_eq!(well(world, &["thaw", "a", "b"]), "");
    assert!(!before.changes(&frozen()).is_empty());
    badly(world, 7, &["freeze", "a", "nowhere"]);
    badly(world, 3, &["thaw", "nowhere"]);
    let err = badly(world, 4, &["freeze", "/"]);
    assert!(err.starts_with("cgctl: cannot freeze /: ") && err.contains("hint: "), "{err}");
    well(world, &["thaw", "a"]);
}

fn processes_are_killed(world: &World) {
    let start = |path: &str| {
        let sleeper = Sleeper::start(0);
        well(world, &["move", path, &sleeper.pid().to_string()]);
        sleeper
    };
    well(world, &["create", "a", "b"]);
    let _people = [start("a"), start("a"), start("b")];
    unchanged(&world.cgroups, || {
        for signal in ["0", "65", "09", "NOPE", "SIG", ""] {
            let err = badly(world, 8, &["kill", "-s", signal, "a"]);
            assert!(err.contains("not a signal") && err.contains("hint: "), "{err}");
        }
        badly(world, 4, &["kill", "/"]);
        badly(world, 3, &["kill", "nowhere"]);
    });
    // A signal that is passed over by default.
    assert_eq!(well(world, &["kill", "-s", "CONT", "a"]), "a  2 processes signalled\n");
    assert_eq!(well(world, &["kill", "-s", "18", "b"]), "b  1 process signalled\n");
    assert_eq!(json_of(world, &["kill", "a"]), json!({"path": "a", "killed": 2}));
    assert_eq!(well(world, &["-q", "kill", "b"]), "");
    assert_eq!(well(world, &["kill", "-s", "sigkill", "a"]), "a  0 processes killed\n");
    let _more = [start("a"), start("b")];
    badly(world, 5, &["rm", "a"]);
    well(world, &["rm", "-f", "a"]);
    well(world, &["rm", "--kill", "-r", "b"]);
    assert!(world.cgroups.is_nowhere("a") && world.cgroups.is_nowhere("b"));
}

fn owners_and_modes(world: &World) {
    well(world, &["create", "a/b"]);
    let first = hierarchies::implied().next().unwrap();
    let owner = |path| world.cgroups.owner(first, path, "");
    well(world, &["chown", &format!("{ALICE}:{BOB}"), "a"]);
    assert_eq!((owner("a"), owner("a/b")), ((ALICE, BOB, 0o755), (0, 0, 0o755)));
    well(world, &["chown", "-R", &format!("{BOB}:{BOB}"), "a"]);
    assert_eq!((owner("a").0, owner("a/b").0), (BOB, BOB));
    well(world, &["chown", "root", "a"]);
    assert_eq!(owner("a"), (0, 0, 0o755));
    well(world, &["chmod", "700", "a"]);
    assert_eq!(owner("a").2, 0o700);
    well(world, &["chmod", "0640", "a", "cgroup.procs"]);
    assert_eq!(world.cgroups.owner(first, "a", "cgroup.procs").2, 0o640);
    unchanged(&world.cgroups, || {
        badly(world, 4, &["chmod", "4755", "a"]);
        badly(world, 4, &["chown", "1000:1000", "/"]);
    });
}

fn a_user_gets_a_cgroup(world: &World) {
    let (owner, home) = (format!("{ALICE}:{ALICE}"), format!("users/{ALICE}"));
    let out = well(world, &["delegate", &owner, "--pids", "50"]);
    assert!(out.starts_with(&format!("/{home}  {owner}  ")), "{out}");
    assert!(out.contains("  pids.max=50  ") && out.contains("  made in "), "{out}");
    let has_v1 = hierarchies::implied().any(|hierarchy| hierarchy.version == Version::V1);
    assert_eq!(has_v1, out.contains("\nnote: cgroup v1 "), "{out}");
    let again = well(world, &["delegate", &owner, "--pids", "50"]);
    assert_eq!(again.lines().next(), Some(&*format!("/{home}  {owner}  as it was")));
    let row = json_of(world, &["delegate", &owner, "a", "--pids", "7"]);
    let limit = &row["limits"]["pids.max"];
    assert_eq!((&row["path"], limit, &row["created"]), (&json!("/a"), &json!(7), &json!(true)));
    assert_eq!(row["note"].is_string(), has_v1);
    let err = badly(world, 8, &["delegate", "nobody-of-that-name"]);
    assert!(err.contains("there is no user") && err.contains("hint:"), "{err}");
    badly(world, 8, &["delegate", &owner, "b", "-m", "64X"]);
    badly(world, 2, &["delegate", &owner, "a", "--revoke", "-m", "64M"]);
    assert!(world.cgroups.is_nowhere("b"));
    let sleeper = Sleeper::start(ALICE);
    world.cgroups.put_where_it_is(&home, sleeper.pid());
    let err = badly(world, 5, &["delegate", &owner, "--revoke"]);
    assert!(err.contains("processes"), "{err}");
    drop(sleeper);
    assert_eq!(well(world, &["delegate", &owner, "--revoke"]), "");
    assert!(world.cgroups.is_nowhere(&home));
    badly(world, 3, &["delegate", &owner, "--revoke"]);
}

fn who_i_am(world: &World) {
    let out = well(world, &["whoami"]);
    assert!(out.contains("host-root"), "{out}");
    let row = json_of(world, &["whoami"]);
    assert_eq!(
        (&row["class"], &row["uid"], &row["proven"]),
        (&json!("host-root"), &json!(0), &json!(true))
    );
}

fn what_is_here(world: &World) {
    let out = well(world, &["info"]);
    for hierarchy in hierarchies::implied() {
        assert!(out.contains(&hierarchy.mount.display().to_string()), "{out}");
    }
    let row = json_of(world, &["info"]);
    assert_eq!(row["version"], json!(env!("CARGO_PKG_VERSION")));
}

fn errors_name_the_file_and_the_way_out(world: &World) {
    well(world, &["create", "a"]);
    let sleeper = Sleeper::start(0);
    let pid = sleeper.pid().to_string();
    for (status, arguments, said) in [
        (3, &["move", "nowhere", &pid][..], &["nowhere", "no such cgroup"][..]),
        (3, &["move", "a", "2147483647"], &["2147483647", "hint: "]),
        (4, &["move", "a", "1"], &["pid 1", "never moved"]),
        (8, &["create", "a\nb"], &["control character"]),
        (8, &["create", "memory.max"], &["memory.max", "reserved"]),
        (8, &["create", "x", "--controllers", "nonsense"], &["nonsense", "hint: "]),
    ] {
        let err = unchanged(&world.cgroups, || badly(world, status, arguments));
        assert!(err.starts_with("cgctl: cannot "), "{err}");
        assert!(said.iter().all(|word| err.contains(word)), "{arguments:?}: {err}");
        assert!(err.lines().skip(1).all(|line| line.starts_with("hint: ")), "{err}");
    }
}

fn exit_statuses(world: &World) {
    for (status, arguments) in [
        (0, &["--version"][..]),
        (0, &["--help"]),
        (2, &[]),
        (2, &["nonsense"]),
        (2, &["create"]),
        (2, &["rm", "--nonsense", "a"]),
        (3, &["get", "nowhere"]),
        (3, &["ps", "nowhere"]),
        (3, &["ls", "nowhere"]),
        (4, &["rm", "/"]),
        (8, &["rm", ".."]),
        (8, &["chmod", "888", "a"]),
    ] {
        assert_eq!(cgctl(world, arguments).status, Some(status), "{arguments:?}");
    }
}

fn no_daemon(world: &World) {
    let nowhere = world.daemon.dir().join("nowhere");
    let mut command = Command::new(bins::cgctl());
    command.arg("--address").arg(&nowhere).arg("whoami");
    let done = run(command);
    assert_eq!(done.status, Some(6));
    assert!(done.err.contains("nowhere") && done.err.contains("hint: "), "{}", done.err);
    // A socket that nobody answers on.
    let silent = world.daemon.dir().join("silent");
    let _listener = std::os::unix::net::UnixListener::bind(&silent).unwrap();
    let mut command = Command::new(bins::cgctl());
    command.args(["--timeout", "1", "--address"]).arg(&silent).arg("whoami");
    assert_eq!(run(command).status, Some(124));
}
