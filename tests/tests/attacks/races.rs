//! Names that change hands while a call is under way.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::Result;
use cgroupd_tests::hierarchies;
use cgroupd_tests::need::{skip, times};
use cgroupd_tests::peer::ALICE;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

use crate::settings::writable;

pub(crate) const TESTS: &[Test] = &tests![
    case_15_a_name_that_comes_and_goes,
    case_15_a_name_that_is_somebody_elses_next,
    case_15_a_process_that_ends,
    case_15_parents_that_several_make_at_once,
];

/// Runs `attack` over and over on another thread while `calls` runs.
fn meanwhile(attack: impl Fn() + Sync, calls: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !done.load(Relaxed) {
                attack();
            }
        });
        // A failing assertion must not leave the other thread running.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(calls));
        done.store(true, Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Done, or a clear word about what is not there.
#[track_caller]
fn is_clean<T: std::fmt::Debug>(result: Result<T>, allowed: &[ErrorName]) -> bool {
    match result {
        Ok(_) => true,
        Err(error) => {
            let known = error.service().is_some_and(|name| allowed.contains(&name));
            assert!(known, "{error}");
            false
        }
    }
}

fn case_15_a_name_that_comes_and_goes(world: &World) {
    let (hierarchy, file, value) = writable();
    let dir = world.cgroups.dir(hierarchy, "a");
    let gone = [ErrorName::NotFound, ErrorName::UnknownFile];
    let (mut there, mut missing) = (0, 0);
    meanwhile(
        || {
            let _ = fs::create_dir(&dir);
            let _ = fs::remove_dir(&dir);
        },
        || {
            for _ in 0..times(300) {
                let answers = [
                    is_clean(world.root.write("/a", file, value), &gone),
                    is_clean(world.root.read("/a", file), &gone),
                    is_clean(world.root.chmod("/a", "", 0o750), &gone),
                    is_clean(world.root.chown("/a", ALICE, ALICE, &[]), &gone),
                    is_clean(world.root.files("/a"), &gone),
                    is_clean(world.root.list("/a"), &gone),
                ];
                there += answers.iter().filter(|answer| **answer).count();
                missing += answers.iter().filter(|answer| !**answer).count();
            }
        },
    );
    assert!(there > 0 && missing > 0, "{there} and {missing}: there was no race");
}

/// Alice asks for her own cgroup; at times the name is root's. What is root's never changes.
fn case_15_a_name_that_is_somebody_elses_next(world: &World) {
    let (hierarchy, file, value) = writable();
    world.cgroups.make("dir");
    world.cgroups.make_in(hierarchy, "dir/roots");
    let [name, own, roots] =
        ["dir/name", "dir/own", "dir/roots"].map(|path| world.cgroups.dir(hierarchy, path));
    if fs::create_dir(&own).is_err() || fs::rename(&own, &name).is_err() {
        return skip("rename", "cgroup2 does not rename");
    }
    for entry in fs::read_dir(&name).unwrap().flatten() {
        std::os::unix::fs::chown(entry.path(), Some(ALICE), Some(ALICE)).unwrap();
    }
    std::os::unix::fs::chown(&name, Some(ALICE), Some(ALICE)).unwrap();
    let before = fs::read_to_string(roots.join(file)).unwrap();
    let alice = world.user(ALICE);
    let allowed = [ErrorName::NotFound, ErrorName::UnknownFile, ErrorName::Denied];
    let (mut done, mut refused) = (0, 0);
    meanwhile(
        || {
            // name is Alice's, then nobody's, then root's, then nobody's.
            for (from, to) in [(&name, &own), (&roots, &name), (&name, &roots), (&own, &name)] {
                let _ = fs::rename(from, to);
            }
        },
        || {
            for _ in 0..times(300) {
                for ok in [
                    is_clean(alice.write("/dir/name", file, value), &allowed),
                    is_clean(alice.chmod("/dir/name", "", 0o700), &allowed),
                    is_clean(alice.create("/dir/name/child"), &allowed),
                ] {
                    *(if ok { &mut done } else { &mut refused }) += 1;
                }
            }
        },
    );
    assert!(done > 0 && refused > 0, "{done} and {refused}: there was no race");
    assert_eq!(fs::read_to_string(roots.join(file)).unwrap(), before);
    assert_eq!(world.cgroups.owner(hierarchy, "dir/roots", ""), (0, 0, 0o755));
    assert!(!roots.join("child").exists());
}

fn case_15_a_process_that_ends(world: &World) {
    world.root.create("/a").unwrap();
    let gone = [ErrorName::NoSuchProcess, ErrorName::Raced, ErrorName::InvalidArgument];
    for _ in 0..30 {
        let mut sleeper = Sleeper::start(ALICE);
        let pidfd = sleeper.pidfd().try_clone_to_owned().unwrap();
        let pid = sleeper.pid();
        std::thread::scope(|threads| {
            threads.spawn(|| sleeper.end());
            use std::os::fd::AsFd;
            is_clean(world.root.attach("/a", &[pidfd.as_fd()], &[]), &gone);
            is_clean(world.root.move_pid("/a", pid), &gone);
        });
    }
    assert!(hierarchies::implied().all(|h| world.cgroups.procs(h, "a").is_empty()));
}

/// Each finds parents that another has made and not finished with.
fn case_15_parents_that_several_make_at_once(world: &World) {
    let clients: Vec<_> = (0..4).map(|_| world.daemon.connect()).collect();
    for round in 0..15 {
        std::thread::scope(|threads| {
            for (number, client) in clients.iter().enumerate() {
                threads.spawn(move || {
                    client.create(&format!("/{round}/parent/{number}")).unwrap();
                });
            }
        });
        let sleeper = Sleeper::start(ALICE);
        for number in 0..clients.len() {
            world.root.move_pid(&format!("/{round}/parent/{number}"), sleeper.pid()).unwrap();
        }
    }
}
