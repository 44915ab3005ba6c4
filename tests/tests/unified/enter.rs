//! Grant G8: a user's own process enters what was delegated to the user, from above.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::{Client, Result, denied, refused};
use cgroupd_tests::need::{linux, skip};
use cgroupd_tests::peer::{ALICE, BOB, Peer};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Caller, Sleeper, World};
use nix::sys::signal::{SIGKILL, kill};
use nix::unistd::Pid;

use crate::v2;

pub(crate) const TESTS: &[Test] = &tests![needs V2:
    a_session_enters,
    from_above_the_managed_root,
    what_is_not_marked_is_not_entered,
    case_20a_from_where_other_limits_hold,
    case_20a_only_a_leaf,
    case_20a_only_ones_own_processes,
    case_20a_a_set_user_id_program_in_between,
    what_root_moves_meanwhile_stays_there,
    from_where_the_administrator_allows,
    revoked_while_in_use,
];

fn home() -> String {
    format!("users/{ALICE}")
}

fn session() -> String {
    format!("/users/{ALICE}/session")
}

/// Cgroups of v2 alone, beside v1 too.
const V2: &[&str] = &["unified"];

/// Alice has her home, and is above it.
fn delegated(world: &World) -> Caller {
    world.root.delegate_to_enter("", ALICE, V2).unwrap();
    above(world)
}

/// Alice in the managed root, which gives no controllers to what is below, so that a process can be
/// in it.
fn above(world: &World) -> Caller {
    let alice = world.user(ALICE);
    world.cgroups.put_in(v2(), "", alice.peer.pid());
    alice
}

fn sleeper(world: &World, uid: u32) -> Sleeper {
    let sleeper = Sleeper::start(uid);
    world.cgroups.put_in(v2(), "", sleeper.pid());
    sleeper
}

fn is_in(world: &World, path: &str, pid: i32) -> bool {
    world.cgroups.procs(v2(), path).contains(&pid)
}

/// A move of one process that somebody is the parent of.
fn attach(client: &Client, path: &str, sleeper: &Sleeper) -> Result<()> {
    client.attach(path, &[sleeper.pidfd()], &[])
}

fn a_session_enters(world: &World) {
    let alice = delegated(world);
    alice.create_with("session", V2, &["caller"]).unwrap();
    assert!(is_in(world, &session(), alice.peer.pid()));
    // Others of hers follow; from within no grant is needed.
    attach(&alice, &session(), &sleeper(world, ALICE)).unwrap();
    alice.create_with("job", V2, &["caller"]).unwrap();
    assert!(is_in(world, &format!("{}/job", home()), alice.peer.pid()));
    // There is no way back up.
    unchanged(&world.cgroups, || {
        for path in ["/", "/users"] {
            denied(alice.attach_pids(path, &[], &["caller"]));
        }
    });
}

/// As a shell of a host whose managed root is not the hierarchy's.
fn from_above_the_managed_root(world: &World) {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    if !Path::new(&world.cgroups.path()).starts_with(own) {
        return skip("above", "the tests themselves are beside the managed root");
    }
    world.root.delegate_to_enter("", ALICE, V2).unwrap();
    let alice = world.user(ALICE);
    alice.create_with("session", V2, &["caller"]).unwrap();
    assert!(is_in(world, &session(), alice.peer.pid()));
}

fn what_is_not_marked_is_not_entered(world: &World) {
    world.root.create_with(&home(), V2, &[]).unwrap();
    world.root.chown(&home(), ALICE, ALICE, &[]).unwrap();
    let (alice, bob) = (above(world), world.user(BOB));
    world.cgroups.put_in(v2(), "", bob.peer.pid());
    alice.create_with("session", V2, &[]).unwrap();
    let denied_there = |path: &str| {
        unchanged(&world.cgroups, || denied(alice.attach_pids(path, &[], &["caller"])));
    };
    denied_there(&session());
    // What is marked for somebody else.
    world.root.undelegate("", ALICE).unwrap();
    world.root.delegate_to_enter(&home(), BOB, V2).unwrap();
    bob.create_with(&session(), V2, &[]).unwrap();
    denied_there(&session());
    bob.attach_pids(&session(), &[], &["caller"]).unwrap();
    // A mark says nothing once the cgroup is somebody else's.
    world.root.delegate_to_enter("lent", ALICE, V2).unwrap();
    alice.create_with("/lent/leaf", V2, &[]).unwrap();
    world.root.chown("lent", BOB, BOB, &[]).unwrap();
    denied_there("/lent/leaf");
    world.root.chown("lent", ALICE, ALICE, &[]).unwrap();
    alice.attach_pids("/lent/leaf", &[], &["caller"]).unwrap();
}

/// What is beside the way there has limits that would be left behind.
fn case_20a_from_where_other_limits_hold(world: &World) {
    let alice = delegated(world);
    alice.create_with("session", V2, &[]).unwrap();
    world.cgroups.make_in(v2(), "other");
    world.cgroups.make_in(v2(), &format!("{}-2", home()));
    let sleeper = sleeper(world, ALICE);
    for path in ["other".to_owned(), format!("{}-2", home())] {
        world.cgroups.put_in(v2(), &path, sleeper.pid());
        unchanged(&world.cgroups, || {
            let text = denied(attach(&alice, &session(), &sleeper));
            for part in [path.as_str(), "leave limits behind", "enter-from"] {
                assert!(text.contains(part), "{part:?}: {text}");
            }
        });
    }
    // The same process from above.
    world.cgroups.put_in(v2(), "users", sleeper.pid());
    attach(&alice, &session(), &sleeper).unwrap();
    assert!(is_in(world, &session(), sleeper.pid()));
}

fn case_20a_only_a_leaf(world: &World) {
    let alice = delegated(world);
    for path in ["session", "inner/leaf"] {
        alice.create_with(path, V2, &[]).unwrap();
    }
    world.root.delegate_to_enter("", BOB, V2).unwrap();
    world.user(BOB).create_with("session", V2, &[]).unwrap();
    let sleeper = sleeper(world, ALICE);
    unchanged(&world.cgroups, || {
        for path in [format!("/{}", home()), format!("/{}/inner", home())] {
            let text = denied(attach(&alice, &path, &sleeper));
            assert!(text.contains("leaf"), "{text}");
        }
        denied(attach(&alice, &format!("/users/{BOB}/session"), &sleeper));
        denied(attach(&alice, "/users", &sleeper));
    });
    attach(&alice, &format!("/{}/inner/leaf", home()), &sleeper).unwrap();
}

fn case_20a_only_ones_own_processes(world: &World) {
    let alice = delegated(world);
    alice.create_with("session", V2, &[]).unwrap();
    let sleepers = [0, BOB].map(|uid| sleeper(world, uid));
    unchanged(&world.cgroups, || {
        for sleeper in &sleepers {
            denied(attach(&alice, &session(), sleeper));
        }
        refused(alice.attach_pids(&session(), &[0], &[]), ErrorName::InvalidArgument);
    });
    let mixed = [ALICE, BOB].map(|uid| sleeper(world, uid));
    unchanged(&world.cgroups, || {
        let pidfds = mixed.each_ref().map(Sleeper::pidfd);
        denied(alice.attach(&session(), &pidfds, &[]));
    });
    attach(&alice, &session(), &mixed[0]).unwrap();
}

/// A program that runs as root, whoever starts it.
fn set_user_id(world: &World) -> String {
    let program = world.daemon.dir().join("as-root");
    fs::copy("/bin/sleep", &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o4755)).unwrap();
    program.to_str().unwrap().to_owned()
}

/// It is hers when it is looked at, and root's when it has been moved: at some point of the time that a
/// move takes she lets it execute a program.
fn case_20a_a_set_user_id_program_in_between(world: &World) {
    let alice = delegated(world);
    alice.create_with("session", V2, &[]).unwrap();
    let lines = world.daemon.dir().join("lines");
    nix::unistd::mkfifo(&lines, nix::sys::stat::Mode::empty()).unwrap();
    fs::set_permissions(&lines, Permissions::from_mode(0o666)).unwrap();
    let script = format!("exec <{}; read line; exec {} 60", lines.display(), set_user_id(world));
    let mut starter = Peer::start();
    starter.ids(ALICE, ALICE, &[]);
    let whole = time_of_a_move(world, &alice);
    let [mut moved, mut put_back, mut refused] = [0; 3];
    // Before 6.18 the kernel waits for milliseconds in between.
    let is_all = |seen: [u32; 3]| !seen.contains(&0) || seen[0] * seen[2] > 0 && linux() >= (6, 18);
    for part in (0..POINTS).cycle().take(8 * POINTS as usize) {
        let victim = starter.spawn(&["sh", "-c", &script]).outside;
        world.cgroups.put_in(v2(), "", victim);
        let delay = (LEAD + whole) * part / POINTS;
        match moved_meanwhile(&alice, victim, &lines, delay) {
            Ok(()) => moved += 1,
            Err(error) => {
                assert!(is_in(world, "", victim), "{error}");
                let raced = error.service() == Some(ErrorName::Raced);
                *if raced { &mut put_back } else { &mut refused } += 1;
            }
        }
        kill(Pid::from_raw(victim), SIGKILL).unwrap();
        if is_all([moved, put_back, refused]) {
            return;
        }
    }
    panic!("{moved} moved, {put_back} put back, {refused} refused");
}

/// How long before a move she may begin with it: to execute a program takes its time.
const LEAD: Duration = Duration::from_millis(4);
/// In how many steps the time of a move is gone through.
const POINTS: u32 = 24;

/// What a move takes that has to wait, as one does that comes after a while. The first may take longer.
fn time_of_a_move(world: &World, alice: &Caller) -> Duration {
    let one = || {
        let sleeper = sleeper(world, ALICE);
        std::thread::sleep(Duration::from_millis(40));
        let began = Instant::now();
        attach(alice, &session(), &sleeper).unwrap();
        began.elapsed()
    };
    (0..4).map(|_| one()).min().expect("some")
}

/// Moves what waits for a line, which comes after `delay`, and the move after `LEAD`.
fn moved_meanwhile(alice: &Caller, victim: i32, lines: &Path, delay: Duration) -> Result<()> {
    // It can be opened when both are there.
    let mut open = OpenOptions::new().write(true).open(lines).unwrap();
    std::thread::sleep(Duration::from_millis(40));
    std::thread::scope(|threads| {
        let call = threads.spawn(|| {
            std::thread::sleep(LEAD);
            alice.attach_pids(&session(), &[victim.cast_unsigned()], &[])
        });
        std::thread::sleep(delay);
        open.write_all(b"now\n").unwrap();
        call.join().unwrap()
    })
}

/// A call that fails takes nothing back that somebody else has done.
fn what_root_moves_meanwhile_stays_there(world: &World) {
    let alice = delegated(world);
    alice.create_with("session", V2, &[]).unwrap();
    world.cgroups.make_in(v2(), "jail");
    let whole = time_of_a_move(world, &alice);
    let mut failed = 0;
    for part in 0..POINTS {
        let victim = sleeper(world, ALICE);
        std::thread::sleep(Duration::from_millis(40));
        let result = std::thread::scope(|threads| {
            let call = threads.spawn(|| attach(&alice, &session(), &victim));
            std::thread::sleep(whole * part / POINTS);
            world.cgroups.put_in(v2(), "jail", victim.pid());
            call.join().unwrap()
        });
        if let Err(error) = result {
            failed += 1;
            assert!(is_in(world, "jail", victim.pid()), "{error}");
        }
    }
    assert!(failed > 0, "root never came first");
}

fn from_where_the_administrator_allows(world: &World) {
    let path = world.cgroups.path();
    let rule = |from: &str| {
        world.daemon.reconfigure(&format!(
            "[[delegate]]\nusers = [\"{ALICE}\"]\nenter-from = [\"{path}/{from}\"]\n"
        ));
    };
    let alice = delegated(world);
    alice.create_with("session", V2, &[]).unwrap();
    let sleeper = sleeper(world, ALICE);
    for path in ["other", "others"] {
        world.cgroups.make_in(v2(), path);
    }
    rule("other");
    world.cgroups.put_in(v2(), "others", sleeper.pid());
    unchanged(&world.cgroups, || denied(attach(&alice, &session(), &sleeper)));
    world.cgroups.put_in(v2(), "other", sleeper.pid());
    rule("others");
    unchanged(&world.cgroups, || denied(attach(&alice, &session(), &sleeper)));
    rule("*");
    attach(&alice, &session(), &sleeper).unwrap();
    assert!(is_in(world, &session(), sleeper.pid()));
}

fn revoked_while_in_use(world: &World) {
    let alice = delegated(world);
    alice.create_with("session", V2, &["caller"]).unwrap();
    unchanged(&world.cgroups, || refused(world.root.undelegate("", ALICE), ErrorName::Busy));
    world.cgroups.put_in(v2(), "", alice.peer.pid());
    world.root.undelegate("", ALICE).unwrap();
    assert!(!world.cgroups.dir(v2(), &home()).exists());
}
