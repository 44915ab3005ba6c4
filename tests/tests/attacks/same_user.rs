//! A process that ends while it is moved, and whose number another process of the same user gets,
//! which is none of the caller's. On v1 the kernel judges what it finds by the user alone, so its
//! judgement does not tell the two apart.
//!
//! Before Linux 6.18 the kernel takes 8 ms of its own until it looks the number up. Since then it
//! waits for `cgroup_mutex` alone: another move has that for as long, and is begun right before.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cgroupd_proto::ErrorName;
use cgroupd_tests::cgroups::give;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies::{self, Hierarchy, Version};
use cgroupd_tests::need::{patience, skip};
use cgroupd_tests::peer::ALICE;
use cgroupd_tests::suite::Test;
use cgroupd_tests::sweep::procs;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Caller, Sleeper, World};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;

use crate::recycled::{Act, Place, TIMES, Users, attach, attempts, looks_up_late, status, traced};

pub(crate) const NUMBER_TESTS: &[Test] = &tests![needs ChosenPids:
    case_71_a_number_that_passes_to_the_same_user_in_a_container,
    case_71_a_number_that_passes_to_the_same_user_of_the_host,
];

pub(crate) const V1_TESTS: &[Test] = &tests![needs V1:
    case_71_a_process_of_ones_own_under_a_debugger,
    case_71_a_process_of_ones_own_that_is_frozen,
];

const SAME: Users = Users { victim: ALICE, heir: ALICE };

/// Alice's process in a container of hers, whose top is `/box`; and where she moves to.
struct Attack<'w> {
    place: Place<'w>,
    caller: Caller,
    path: &'static str,
    to: PathBuf,
}

impl<'w> Attack<'w> {
    fn in_container(place: Place<'w>) -> Self {
        let (to, mut peer) = (alices_cgroups(place), place.peer_in_box());
        peer.cgroup_ns();
        peer.ids(ALICE, ALICE, &[]);
        Self { place, caller: place.world.calls(peer), path: "/to", to }
    }

    fn on_host(place: Place<'w>) -> Self {
        let to = alices_cgroups(place);
        Self { place, caller: place.world.user(ALICE), path: "/box/to", to }
    }

    /// Whether a write that nobody guards moves the wrong process, and one through the daemon
    /// never does.
    fn run(&self) {
        let procs = open_as(ALICE, &self.to.join("cgroup.procs"));
        let write = |_, number: i32| procs.write_at(number.to_string().as_bytes(), 0).is_ok();
        let hits = self.hits(&write, 10 * TIMES, 3);
        assert_eq!(hits, 3, "writes that nobody guards do not meet the race");
        let call = |victim: OwnedFd, _| attach(&self.caller, self.path, &victim);
        assert_eq!(self.hits(&call, 4 * TIMES, 1), 0, "a process of somebody else's was moved");
    }

    /// How many of so many attempts move the wrong process; at `most` it ends.
    fn hits(&self, act: Act<'_>, attempts_made: u32, most: usize) -> usize {
        let other = Other::new(self.place);
        let both = |victim, number| {
            // Where another move came first, the kernel would not take its time again.
            if looks_up_late() {
                return act(victim, number);
            }
            std::thread::scope(|threads| {
                threads.spawn(|| other.move_on());
                std::thread::sleep(Duration::from_millis(1));
                act(victim, number)
            })
        };
        let all = attempts(self.place, SAME, &self.to, &both).take(attempts_made as usize);
        all.filter(|moved| *moved).take(most).count()
    }
}

fn alices_cgroups(place: Place<'_>) -> PathBuf {
    give(&place.make("box"), ALICE, ALICE);
    let to = place.make("box/to");
    give(&to, ALICE, ALICE);
    to
}

/// A process that is moved to and fro.
struct Other {
    sleeper: Sleeper,
    between: [PathBuf; 2],
    back: AtomicBool,
}

impl Other {
    fn new(place: Place<'_>) -> Self {
        let between = ["one", "two"].map(|name| {
            let dir = place.world.cgroups.dir(place.hierarchy, name);
            if dir.is_dir() { dir } else { place.make(name) }
        });
        Self { sleeper: Sleeper::start(0), between, back: AtomicBool::new(false) }
    }

    fn move_on(&self) {
        let to = &self.between[usize::from(self.back.fetch_not(Ordering::Relaxed))];
        fs::write(to.join("cgroup.procs"), self.sleeper.pid().to_string()).expect("root may");
    }
}

/// The kernel judges a write by who has opened the file.
fn open_as(uid: u32, path: &Path) -> File {
    std::thread::scope(|threads| {
        let opening = threads.spawn(|| {
            let uid = Uid::from_raw(uid);
            set_thread_res_uid(uid, uid, uid).expect("root may");
            File::options().write(true).open(path)
        });
        opening.join().expect("no panic").expect("it is the user's")
    })
}

/// The first v1 hierarchy, but not the freezer's.
fn v1(world: &World) -> Option<Place<'_>> {
    let is_meant = |h: &&Hierarchy| h.version == Version::V1 && !h.is_v1_of("freezer");
    hierarchies::implied().find(is_meant).map(|hierarchy| Place { world, hierarchy })
}

fn case_71_a_number_that_passes_to_the_same_user_in_a_container(world: &World) {
    let Some(place) = v1(world) else { return skip("v1", "no v1 is mounted") };
    Attack::in_container(place).run();
}

fn case_71_a_number_that_passes_to_the_same_user_of_the_host(world: &World) {
    let Some(place) = v1(world) else { return skip("v1", "no v1 is mounted") };
    Attack::on_host(place).run();
}

/// A process that lives, where the attack's would be.
fn own_process(attack: &Attack<'_>) -> Sleeper {
    let own = Sleeper::start(ALICE);
    attack.place.world.cgroups.put_in(attack.place.hierarchy, "box", own.pid());
    own
}

/// Only one process can trace another: what a debugger traces cannot be held.
fn case_71_a_process_of_ones_own_under_a_debugger(world: &World) {
    let Some(place) = v1(world) else { return skip("v1", "no v1 is mounted but the freezer") };
    let attack = Attack::on_host(place);
    let own = own_process(&attack);
    let call = || attack.caller.attach(attack.path, &[own.pidfd()], &[]);
    traced(&own, || {
        let text = refused(call(), ErrorName::Busy);
        assert!(text.contains("traced"), "{text}");
        assert!(!procs(&attack.to).contains(&own.pid()));
    });
    call().unwrap();
    assert!(procs(&attack.to).contains(&own.pid()));
}

/// A frozen process is held like any other. One that was stopped before cannot be: it would have to
/// run for it.
fn case_71_a_process_of_ones_own_that_is_frozen(world: &World) {
    let (Some(freezer), Some(place)) = (hierarchies::v1_of("freezer"), v1(world)) else {
        return skip("freezer", "v1 has no freezer");
    };
    let attack = Attack::on_host(place);
    let ice = Place { world, hierarchy: freezer }.make("ice");
    for is_stopped in [false, true] {
        let own = own_process(&attack);
        world.cgroups.put_in(freezer, "ice", own.pid());
        if is_stopped {
            kill(Pid::from_raw(own.pid()), Signal::SIGSTOP).unwrap();
            wait_for(|| status(&own, "State:").starts_with('T'));
        }
        set_frozen(&ice, "FROZEN");
        let call = || attack.caller.attach(attack.path, &[own.pidfd()], &[]);
        if is_stopped {
            refused(call(), ErrorName::Busy);
            assert!(!procs(&attack.to).contains(&own.pid()));
            set_frozen(&ice, "THAWED");
        }
        // The thread that could not hold it does so once more, and lets it go.
        wait_for(|| call().is_ok());
        assert!(procs(&attack.to).contains(&own.pid()));
        set_frozen(&ice, "THAWED");
    }
}

fn set_frozen(cgroup: &Path, state: &str) {
    let file = cgroup.join("freezer.state");
    fs::write(&file, state).expect("root may");
    wait_for(|| fs::read_to_string(&file).is_ok_and(|text| text.trim() == state));
}

fn wait_for(what: impl Fn() -> bool) {
    let end = Instant::now() + patience(Duration::from_secs(5));
    while !what() {
        assert!(Instant::now() < end, "it does not come to that");
        std::thread::sleep(Duration::from_millis(1));
    }
}
