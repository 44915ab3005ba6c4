//! cgctl started as `cgm`: what scripts that were written for cgmanager's client give it, and
//! what they read.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cgroupd_tests::bins;
use cgroupd_tests::need::patience;
use cgroupd_tests::peer::ALICE;
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

use crate::old::{PIDS, key, pids};

pub(crate) const TESTS: &[Test] = &tests![
    cgm_makes_and_removes,
    cgm_moves_and_lists,
    cgm_reads_and_writes,
    cgm_gives_away,
    cgm_promises,
    cgm_fails_as_it_did,
    cgm_takes_text_only,
    cgm_shows_how_it_is_used,
    cgm_without_a_daemon,
    cgm_is_installed_as_a_link,
];

/// How it ended, what it printed, and what it complained of.
type Done = (Option<i32>, String, String);

/// A link to cgctl that is called so, in a directory of the daemon's that goes with it.
fn cgm(world: &World) -> Command {
    let link = world.daemon.dir().join("cgm");
    if !link.exists() {
        symlink(bins::cgctl(), &link).unwrap();
    }
    let mut command = Command::new(link);
    command.env("CGROUPD_ADDRESS", world.daemon.address()).stdin(Stdio::null());
    command
}

fn run(mut command: Command) -> Done {
    let output = command.output().expect("the link leads to cgctl");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn does(world: &World, arguments: &[&str]) -> Done {
    let mut command = cgm(world);
    command.args(arguments);
    run(command)
}

/// What it printed, after it ended well and complained of nothing.
#[track_caller]
fn well(world: &World, arguments: &[&str]) -> String {
    let (status, out, err) = does(world, arguments);
    assert_eq!((status, err.as_str()), (Some(0), ""), "{arguments:?}: {out}");
    out
}

/// What it complained of first, after it ended in failure and printed nothing.
#[track_caller]
fn badly(world: &World, arguments: &[&str]) -> String {
    let (status, out, err) = does(world, arguments);
    assert_eq!((status, out.as_str()), (Some(1), ""), "{arguments:?}: {err}");
    err.lines().next().unwrap_or_default().to_owned()
}

fn cgm_makes_and_removes(world: &World) {
    assert_eq!(well(world, &["ping"]), "");
    assert_eq!(well(world, &["apiversion"]), "10\n");
    assert_eq!(well(world, &["create", "all", "a"]), "");
    assert!(world.cgroups.dir(pids(), "a").exists());
    assert_eq!(well(world, &["create", "all", "a"]), "Path existed\n");
    well(world, &["create", PIDS, "a/b/c"]);
    assert_eq!(badly(world, &["remove", PIDS, "a", "0"]), failed("remove_sync (non-recursive)"));
    assert_eq!(well(world, &["remove", "all", "a"]), "");
    assert!(world.cgroups.is_nowhere("a"));
    assert_eq!(well(world, &["remove", PIDS, "a", "1"]), "Path did not exist\n");
    let controllers = well(world, &["listcontrollers"]);
    assert!(
        controllers.lines().any(|line| line.split(',').any(|name| name == PIDS)),
        "{controllers}"
    );
}

fn cgm_moves_and_lists(world: &World) {
    well(world, &["create", "all", "a/b"]);
    let sleeper = Sleeper::start(0);
    let pid = sleeper.pid().to_string();
    assert_eq!(well(world, &["movepid", "all", "a/b", &pid]), "");
    assert!(world.cgroups.all_hold("a/b", sleeper.pid()));
    assert_eq!(well(world, &["getpidcgroup", PIDS, &pid]), "a/b\n");
    let above = well(world, &["getpidcgroupabs", PIDS, &pid]);
    assert!(above.ends_with("/a/b\n"), "{above}");
    assert_eq!(well(world, &["gettasks", PIDS, "a/b"]), format!("{pid}\n"));
    assert_eq!(well(world, &["gettasks", PIDS, "a"]), "");
    assert_eq!(well(world, &["gettasksrecursive", PIDS, "a"]), format!("{pid}\n"));
    assert_eq!(well(world, &["listchildren", PIDS, "a"]), "b\n");
    assert_eq!(well(world, &["listchildren", PIDS]), "a\n");
    // Not to what is above: on v2 that takes no process once what is below has controllers.
    well(world, &["create", "all", "c"]);
    assert_eq!(well(world, &["movepidabs", PIDS, "/c", &pid]), "");
    assert_eq!(well(world, &["getpidcgroup", PIDS, &pid]), "c\n");
}

fn cgm_reads_and_writes(world: &World) {
    well(world, &["create", PIDS, "a"]);
    assert_eq!(well(world, &["getvalue", PIDS, "a", key()]), "max\n");
    assert_eq!(well(world, &["setvalue", PIDS, "a", key(), "17"]), "");
    assert_eq!(well(world, &["getvalue", PIDS, "a", key()]), "17\n");
    assert_eq!(world.cgroups.read(pids(), "a", key()), "17");
    let keys = well(world, &["listkeys", PIDS, "a"]);
    assert!(keys.lines().any(|line| line == format!("{} 0 0 100644", key())), "{keys}");
    assert_eq!(well(world, &["chmodfile", PIDS, "a", "cgroup.procs", "0664"]), "");
    let keys = well(world, &["listkeys", PIDS, "a"]);
    assert!(keys.lines().any(|line| line == "cgroup.procs 0 0 100664"), "{keys}");
}

fn cgm_gives_away(world: &World) {
    well(world, &["create", "all", "a"]);
    let alice = ALICE.to_string();
    let as_alice = |arguments: &[&str]| {
        let mut command = cgm(world);
        command.uid(ALICE).gid(ALICE).args(arguments);
        run(command)
    };
    unchanged(&world.cgroups, || assert_eq!(as_alice(&["create", PIDS, "a/b"]).0, Some(1)));
    assert_eq!(well(world, &["chown", "all", "a", &alice, &alice]), "");
    assert_eq!(well(world, &["chmod", "all", "a", "0775"]), "");
    assert_eq!(world.cgroups.owner(pids(), "a", ""), (ALICE, ALICE, 0o775));
    assert_eq!(as_alice(&["create", PIDS, "a/b"]), (Some(0), String::new(), String::new()));
    assert_eq!(world.cgroups.owner(pids(), "a/b", ""), (ALICE, ALICE, 0o755));
}

fn cgm_promises(world: &World) {
    for path in ["left", "tree", "tree/below"] {
        well(world, &["create", PIDS, path]);
    }
    let mut sleeper = Sleeper::start(0);
    well(world, &["movepid", PIDS, "left", &sleeper.pid().to_string()]);
    assert_eq!(well(world, &["removeonempty", PIDS, "left"]), "");
    assert_eq!(well(world, &["prune", PIDS, "tree"]), "");
    let is_there = |path: &str| world.cgroups.dir(pids(), path).exists();
    assert!(is_there("left") && !is_there("tree"));
    sleeper.end();
    let end = Instant::now() + patience(Duration::from_secs(10));
    while is_there("left") {
        assert!(Instant::now() < end, "it stays");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The text of its library.
fn failed(function: &str) -> String {
    format!("call to cgmanager_{function} failed: invalid request")
}

fn cgm_fails_as_it_did(world: &World) {
    unchanged(&world.cgroups, || {
        assert_eq!(badly(world, &["create", "nonesuch", "a"]), failed("create_sync"));
        assert_eq!(badly(world, &["create", "all", "../a"]), failed("create_sync"));
        assert_eq!(badly(world, &["getvalue", PIDS, "a", key()]), failed("get_value_sync"));
        assert_eq!(
            badly(world, &["getvalue", PIDS, "", "../../etc/hostname"]),
            failed("get_value_sync")
        );
        assert_eq!(badly(world, &["gettasks", PIDS, "a"]), failed("get_tasks_sync"));
        let nobody = ["movepid", PIDS, "a", "999999999"];
        assert_eq!(badly(world, &nobody), failed("move_pid_main_sync"));
        assert_eq!(badly(world, &["movepid", PIDS, "a", "x"]), "Bad pid: x");
        assert_eq!(badly(world, &["chown", PIDS, "a", "-1", "0"]), "Bad uid or gid: -1");
        assert_eq!(badly(world, &["chmod", PIDS, "a", "rw"]), "Bad mode: rw");
    });
    let (_, _, err) = does(world, &["create", "nonesuch", "a"]);
    assert!(err.contains("\nhint: ") && err.contains("log"), "{err}");
    assert!(world.daemon.log().contains("nonesuch"), "{}", world.daemon.log());
}

/// Nothing else is done instead.
fn cgm_takes_text_only(world: &World) {
    well(world, &["create", PIDS, "x\u{fffd}"]);
    let mut command = cgm(world);
    command.args(["remove", PIDS]).arg(OsStr::from_bytes(b"x\xff"));
    let (status, out, err) = run(command);
    assert_eq!((status, out.as_str()), (Some(1), ""));
    assert_eq!(err, "\"x\\xFF\" is not UTF-8\n");
    assert_eq!(well(world, &["listchildren", PIDS]), "x\u{fffd}\n");
}

fn cgm_shows_how_it_is_used(world: &World) {
    for arguments in
        [&[][..], &["--help"], &["create"], &["create", "all", "a", "b"], &["nonesuch"]]
    {
        let (status, out, err) = does(world, arguments);
        assert_eq!((status, err.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(out.contains("cgm create <controller> <cgroup>\n"), "{out}");
        assert_eq!(
            out.starts_with("Unknown command: nonesuch\n"),
            arguments == ["nonesuch"],
            "{out}"
        );
    }
    assert!(well(world, &["--version"]).starts_with(char::is_numeric));
}

fn cgm_without_a_daemon(world: &World) {
    let mut command = cgm(world);
    let nowhere = world.daemon.dir().join("nowhere");
    command.env("CGROUPD_ADDRESS", &nowhere).arg("ping");
    let (status, out, err) = run(command);
    assert_eq!((status, out.as_str()), (Some(1), ""));
    let nowhere = nowhere.display();
    assert!(
        err.starts_with(&format!("Failed opening dbus connection: unix:path={nowhere}: ")),
        "{err}"
    );
    assert!(err.contains("\nhint: "), "{err}");
    let mut command = cgm(world);
    command.env("CGROUPD_ADDRESS", "tcp:host=localhost").arg("ping");
    assert_eq!(run(command).0, Some(1));
    // By its own name it is what it always was.
    let mut own = Command::new(bins::cgctl());
    own.arg("--version").stdin(Stdio::null());
    assert!(run(own).1.starts_with("cgctl "));
}

/// Beside nothing else of that name, and gone with the rest.
fn cgm_is_installed_as_a_link(_: &World) {
    let place = tempfile::tempdir().unwrap();
    let install = |what: &str| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/install.sh");
        let mut command = Command::new("sh");
        command.args([script, what]).env("DESTDIR", place.path()).env("INITS", "");
        command.env("PREFIX", "/usr").env("BUILD", bins::directory()).stdin(Stdio::null());
        let (status, out, err) = run(command);
        assert_eq!((status, err.as_str()), (Some(0), ""), "{what}");
        out
    };
    let cgm = place.path().join("usr/bin/cgm");
    assert!(install("install").contains("/usr/bin/cgm\n"));
    assert_eq!(fs::read_link(&cgm).unwrap().to_str(), Some("cgctl"));
    install("uninstall");
    assert!(fs::symlink_metadata(&cgm).is_err());
    fs::write(&cgm, "another").unwrap();
    assert!(!install("install").contains("/usr/bin/cgm\n"));
    install("uninstall");
    assert_eq!(fs::read_to_string(&cgm).unwrap(), "another");
}
