//! A process that ends while it is moved, and whose number somebody else's process gets before
//! the kernel looks it up. Where the kernel does not judge what it finds, the daemon must keep
//! the number from being recycled.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::{Client, refused};
use cgroupd_tests::hierarchies::{self, Hierarchy, Version};
use cgroupd_tests::need;
use cgroupd_tests::peer::{ALICE, Map, Peer, RANGE};
use cgroupd_tests::suite::Test;
use cgroupd_tests::sweep::procs;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Caller, Sleeper, World};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) const NUMBER_TESTS: &[Test] = &tests![needs ChosenPids:
    case_20a_a_recycled_number_and_host_root,
    case_20a_a_recycled_number_and_a_confined_root,
    case_20a_a_recycled_number_and_the_root_of_a_user_namespace,
    case_20a_a_recycled_number_and_a_user_that_enters,
];

pub(crate) const TESTS: &[Test] = &tests![
    case_20a_a_process_under_a_debugger,
    case_20a_a_stopped_process_stays_stopped,
    case_20a_a_process_that_nobody_has_waited_for,
];

/// How often the number is recycled.
pub(crate) const TIMES: u32 = 30;

/// One hierarchy of a test's world, so that a call is one move.
#[derive(Clone, Copy)]
pub(crate) struct Place<'w> {
    pub(crate) world: &'w World,
    pub(crate) hierarchy: &'static Hierarchy,
}

/// Whose the process is that is moved, and whose the one that gets its number.
#[derive(Clone, Copy)]
pub(crate) struct Users {
    pub(crate) victim: u32,
    pub(crate) heir: u32,
}

/// Whether this kernel waits between taking the number and looking it up.
pub(crate) fn looks_up_late() -> bool {
    need::linux() < (6, 18)
}

impl<'w> Place<'w> {
    /// On v2, where the kernel judges least.
    fn new(world: &'w World) -> Self {
        let any = || hierarchies::implied().next();
        Self { world, hierarchy: hierarchies::v2().or_else(any).expect("root has one") }
    }

    pub(crate) fn make(self, path: &str) -> PathBuf {
        self.world.cgroups.make_in(self.hierarchy, path);
        self.world.cgroups.dir(self.hierarchy, path)
    }

    pub(crate) fn peer_in_box(self) -> Peer {
        let peer = Peer::start();
        self.world.cgroups.put_in(self.hierarchy, "box", peer.pid());
        peer
    }

    /// Root in a container without a user namespace: its scope is `/box`.
    fn confined(self) -> Caller {
        self.world.calls(with_cgroup_ns(self.peer_in_box()))
    }

    /// A process in `/box`. Moves in a row wait for each other's locks only; one that comes after
    /// a while waits for long.
    fn victim(self, uid: u32) -> (Sleeper, OwnedFd) {
        let victim = Sleeper::start(uid);
        self.world.cgroups.put_in(self.hierarchy, "box", victim.pid());
        let pidfd = victim.pidfd().try_clone_to_owned().expect("our descriptor");
        std::thread::sleep(Duration::from_millis(40));
        (victim, pidfd)
    }
}

fn ground(world: &World, path: &str) -> PathBuf {
    Place::new(world).make(path)
}

pub(crate) fn with_cgroup_ns(mut peer: Peer) -> Peer {
    peer.cgroup_ns();
    peer
}

/// A process of this user gets the number as soon as it is free.
fn heir(number: i32, uid: u32) -> Option<Sleeper> {
    heir_that(number, || Sleeper::start(uid))
}

/// The process that `start` starts gets the number as soon as it is free.
pub(crate) fn heir_that(number: i32, start: impl Fn() -> Sleeper) -> Option<Sleeper> {
    for _ in 0..20 {
        fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string()).expect("root may");
        let sleeper = start();
        if sleeper.pid() == number {
            return Some(sleeper);
        }
    }
    None
}

/// Moves a process, given as descriptor and as number; whether that succeeds.
pub(crate) type Act<'a> = &'a (dyn Fn(OwnedFd, i32) -> bool + Sync);

/// What became of a process that ended while it was moved.
struct Outcome {
    /// The process was moved before it ended.
    too_late: bool,
    /// Whether the one that has its number then was moved instead; `None` when none got it.
    hit: Option<bool>,
}

/// When a process has to end so that its number passes on just before the kernel looks it up. The
/// time that a call takes differs from machine to machine, so each attempt corrects it.
struct Aim {
    latest: Duration,
    attempts: u32,
}

impl Aim {
    /// Up to 7 ms before the latest moment: the next process takes a while to start.
    fn delay(&self) -> Duration {
        self.latest.saturating_sub(Duration::from_millis((self.attempts % 8).into()))
    }

    fn correct(&mut self, too_late: bool) {
        self.attempts += 1;
        self.latest = match too_late {
            true => self.latest * 9 / 10,
            false => self.latest * 21 / 20,
        };
    }
}

/// Moves a process that ends after `delay`.
fn attempt(place: Place<'_>, users: Users, to: &Path, delay: Duration, act: Act<'_>) -> Outcome {
    let (mut victim, pidfd) = place.victim(users.victim);
    let number = victim.pid();
    std::thread::scope(|threads| {
        let call = threads.spawn(move || act(pidfd, number));
        std::thread::sleep(delay);
        victim.end();
        let heir = heir(number, users.heir);
        let succeeds = call.join().expect("no panic");
        let hit = heir.map(|heir| procs(to).contains(&heir.pid()));
        Outcome { too_late: succeeds && hit != Some(true), hit }
    })
}

/// Whether each heir was moved by mistake. One process that does not end is moved before.
pub(crate) fn attempts(
    place: Place<'_>,
    users: Users,
    to: &Path,
    act: Act<'_>,
) -> impl Iterator<Item = bool> {
    let (survivor, pidfd) = place.victim(users.victim);
    let whole = |_| {
        let pidfd = pidfd.try_clone().expect("our descriptor");
        let began = Instant::now();
        assert!(act(pidfd, survivor.pid()));
        began.elapsed()
    };
    // The first call of a client takes much longer than the next ones.
    let latest = (0..3).map(whole).min().expect("three");
    let mut aim = Aim { latest, attempts: 0 };
    assert!(procs(to).contains(&survivor.pid()));
    assert_eq!(status(&survivor, "TracerPid:"), "0");
    let next = move || {
        let outcome = attempt(place, users, to, aim.delay(), act);
        aim.correct(outcome.too_late);
        Some(outcome.hit)
    };
    std::iter::from_fn(next).flatten()
}

/// What the kernel does when nobody holds the number: the same attack on a plain write.
fn control(world: &World, uid: u32) {
    let place = Place::new(world);
    let to = place.make("box/control");
    let write = |_, number: i32| fs::write(to.join("cgroup.procs"), number.to_string()).is_ok();
    let users = Users { victim: uid, heir: 0 };
    let met = attempts(place, users, &to, &write).take(10 * TIMES as usize).any(|moved| moved);
    assert!(met, "a plain write never met the race");
}

/// A call that may find that the process has ended, or is about to: then v1 shows it in `/`.
pub(crate) fn attach(client: &Client, path: &str, victim: &OwnedFd) -> bool {
    const ENDED: [ErrorName; 5] = [
        ErrorName::NoSuchProcess,
        ErrorName::Raced,
        ErrorName::InvalidArgument,
        ErrorName::Busy,
        ErrorName::Denied,
    ];
    let attached = client.attach(path, &[victim.as_fd()], &[]);
    if let Err(error) = &attached {
        assert!(error.service().is_some_and(|name| ENDED.contains(&name)), "{error}");
    }
    attached.is_ok()
}

/// The daemon never moves an heir. It moves what does not end, and lets it go.
fn never(world: &World, uid: u32, client: &Client, path: &str, to: &Path) {
    let (place, users) = (Place::new(world), Users { victim: uid, heir: 0 });
    let call = |victim: OwnedFd, _| attach(client, path, &victim);
    let heirs: Vec<bool> = attempts(place, users, to, &call).take(TIMES as usize).collect();
    assert!(!heirs.contains(&true), "{heirs:?}");
}

pub(crate) fn status(sleeper: &Sleeper, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/status", sleeper.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().to_owned()
}

fn case_20a_a_recycled_number_and_host_root(world: &World) {
    ground(world, "box");
    let to = ground(world, "box/to");
    // It may move the heir, too; where the kernel makes a mistake unlikely nothing is done.
    if looks_up_late() {
        control(world, 0);
        never(world, 0, &world.root, "/box/to", &to);
    }
}

fn case_20a_a_recycled_number_and_a_confined_root(world: &World) {
    ground(world, "box");
    let to = ground(world, "box/to");
    never(world, 0, &Place::new(world).confined(), "/to", &to);
}

/// Its right comes from the mapping, so its writes override permissions. v2 does not ask whose
/// the process is, and v1 lets it move what has its own uid.
fn case_20a_a_recycled_number_and_the_root_of_a_user_namespace(world: &World) {
    let home = ground(world, "box");
    let to = ground(world, "box/to");
    cgroupd_tests::cgroups::give(&home, RANGE, RANGE);
    cgroupd_tests::cgroups::give(&to, RANGE + 7, RANGE + 7);
    let place = Place::new(world);
    let mut peer = place.peer_in_box();
    peer.user_ns(Map::Range(RANGE));
    let uid = if place.hierarchy.version == Version::V1 { RANGE } else { RANGE + 5 };
    never(world, uid, &world.calls(with_cgroup_ns(peer)), "/to", &to);
}

/// Past what is root's a user's move overrides permissions, too.
fn case_20a_a_recycled_number_and_a_user_that_enters(world: &World) {
    let hierarchy = Place::new(world).hierarchy;
    if hierarchy.version == Version::V1 {
        return need::skip("v2", "on cgroup v1 nothing is marked to be entered");
    }
    ground(world, "box");
    world.root.delegate_to_enter("box/alice", ALICE, &["unified"]).unwrap();
    let alice = world.user(ALICE);
    alice.create_with("/box/alice/to", &["unified"], &[]).unwrap();
    let to = world.cgroups.dir(hierarchy, "box/alice/to");
    never(world, ALICE, &alice, "/box/alice/to", &to);
}

/// Traces the process while `work` runs.
pub(crate) fn traced(sleeper: &Sleeper, work: impl FnOnce()) {
    let pid = Pid::from_raw(sleeper.pid());
    let (seized, wait) = mpsc::channel();
    let (release, end) = mpsc::channel::<()>();
    std::thread::scope(|threads| {
        threads.spawn(move || {
            ptrace::seize(pid, Options::empty()).expect("root may");
            seized.send(()).expect("somebody waits");
            let _ = end.recv();
        });
        wait.recv().expect("it is seized");
        work();
        drop(release);
    });
    // It is let go when the thread has ended for the kernel, too.
    while status(sleeper, "TracerPid:") != "0" {
        std::thread::yield_now();
    }
}

/// Who else could keep its number is asked to wait; host root needs nobody's leave.
fn case_20a_a_process_under_a_debugger(world: &World) {
    let from = ground(world, "box");
    let to = ground(world, "box/to");
    let (root, number) =
        (Place::new(world).confined(), |sleeper: &Sleeper| [sleeper.pid().cast_unsigned()]);
    let victim = Sleeper::start(0);
    world.cgroups.put_in(Place::new(world).hierarchy, "box", victim.pid());
    traced(&victim, || {
        let text = refused(root.attach_pids("/to", &number(&victim), &[]), ErrorName::Busy);
        assert!(text.contains("traced"), "{text}");
        assert!(procs(&from).contains(&victim.pid()));
    });
    root.attach_pids("/to", &number(&victim), &[]).unwrap();
    assert!(procs(&to).contains(&victim.pid()));
    traced(&victim, || world.root.attach_pids("/box", &number(&victim), &[]).unwrap());
    assert!(procs(&from).contains(&victim.pid()));
}

fn case_20a_a_stopped_process_stays_stopped(world: &World) {
    ground(world, "box");
    let to = ground(world, "box/to");
    let root = Place::new(world).confined();
    let victim = Sleeper::start(0);
    world.cgroups.put_in(Place::new(world).hierarchy, "box", victim.pid());
    kill(Pid::from_raw(victim.pid()), Signal::SIGSTOP).unwrap();
    while !status(&victim, "State:").starts_with('T') {
        std::thread::yield_now();
    }
    root.attach_pids("/to", &[victim.pid().cast_unsigned()], &[]).unwrap();
    assert!(procs(&to).contains(&victim.pid()));
    std::thread::sleep(Duration::from_millis(20));
    assert!(status(&victim, "State:").starts_with('T'));
    kill(Pid::from_raw(victim.pid()), Signal::SIGCONT).unwrap();
    while !status(&victim, "State:").starts_with('S') {
        std::thread::yield_now();
    }
}

fn case_20a_a_process_that_nobody_has_waited_for(world: &World) {
    ground(world, "box");
    ground(world, "box/to");
    let root = Place::new(world).confined();
    let victim = Sleeper::start(0);
    world.cgroups.put_in(Place::new(world).hierarchy, "box", victim.pid());
    kill(Pid::from_raw(victim.pid()), Signal::SIGKILL).unwrap();
    while !status(&victim, "State:").starts_with('Z') {
        std::thread::yield_now();
    }
    for client in [&*root, &world.root] {
        let path = if std::ptr::eq(client, &world.root) { "/box/to" } else { "/to" };
        let result = client.attach_pids(path, &[victim.pid().cast_unsigned()], &[]);
        refused(result, ErrorName::NoSuchProcess);
    }
}
