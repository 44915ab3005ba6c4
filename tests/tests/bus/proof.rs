//! Who callers are. The daemon's answer to WhoAmI is compared with what they really are.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cgroupd::caller::Process;
use cgroupd::transport::Limits;
use cgroupd_tests::bus::{Bus, Strictness};
use cgroupd_tests::need::patience;

use crate::daemon::Daemon;
use crate::role::{Actor, NOBODY, ROOT, Role, Who};

pub(crate) fn callers_are_proven() {
    let bus = Bus::running(Strictness::System);
    let _daemon = Daemon::joined(&bus);
    let mut root = Actor::start(Role::Client, ROOT, &bus);
    assert_eq!(root.say("whoami"), "proven=true uid=0 gid=0 class=host-root ok");
    let mut nobody = Actor::start(Role::Client, NOBODY, &bus);
    assert_eq!(nobody.say("whoami"), "proven=true uid=65534 gid=65534 class=user ok");
    let member = Who { uid: 65534, gid: 4242, groups: "4,4243" };
    let mut member = Actor::start(Role::Client, member, &bus);
    assert_eq!(member.say("whoami"), "proven=true uid=65534 gid=4242 class=user ok");
}

/// The peer of a connection is then whoever listened: here, this very process.
pub(crate) fn an_activated_bus_is_found() {
    let mut bus = Bus::prepare(Strictness::System);
    bus.start_activated();
    let _daemon = Daemon::joined(&bus);
    let mut nobody = Actor::start(Role::Client, NOBODY, &bus);
    assert_eq!(nobody.say("whoami"), "proven=true uid=65534 gid=65534 class=user ok");
}

pub(crate) fn a_forked_connector_is_refused() {
    let bus = Bus::running(Strictness::System);
    let _daemon = Daemon::joined(&bus);
    let mut orphan = Actor::start(Role::Orphaner, NOBODY, &bus);
    assert!(Process::pin(orphan.pid).is_err(), "the one who connected has ended");
    assert_eq!(orphan.say("whoami"), "error org.freedesktop.DBus.Error.AccessDenied");
    let mut other = Actor::start(Role::Client, NOBODY, &bus);
    assert_eq!(other.say("whoami"), "proven=true uid=65534 gid=65534 class=user ok");
}

/// The number of a connector that ended now belongs to another client of the same user.
pub(crate) fn a_recycled_number_is_not_proven() {
    let bus = Bus::running(Strictness::System);
    let daemon = Daemon::joined(&bus);
    let (mut orphan, mut heir) = orphan_and_heir(&bus);
    assert_eq!(orphan.say("whoami"), "proven=false uid=65534 gid=65534 class=unproven ok");
    assert_eq!(orphan.say("ping"), "ok");
    assert_eq!(orphan.say("cgroup"), "error org.cgroupd1.Error.Denied");
    // Nothing tells the two connections apart, so the honest one suffers, too.
    assert_eq!(heir.say("whoami"), "proven=false uid=65534 gid=65534 class=unproven ok");
    drop((orphan, heir));
    daemon.wait_clients(0);
    // Its twin: the same number, and nobody else who ever had it on the bus.
    let mut heir = again(|| {
        let first = Actor::start(Role::Client, NOBODY, &bus);
        let number = first.pid;
        drop(first);
        with_number(number, &bus)
    });
    assert_eq!(heir.say("whoami"), "proven=true uid=65534 gid=65534 class=user ok");
    assert_eq!(heir.say("cgroup"), "ok");
}

/// Somebody whose connector has ended, and a client with the number that it had.
fn orphan_and_heir(bus: &Bus) -> (Actor, Actor) {
    again(|| {
        let orphan = Actor::start(Role::Orphaner, NOBODY, bus);
        let heir = with_number(orphan.pid, bus)?;
        Some((orphan, heir))
    })
}

/// A number may go to somebody else on the machine who keeps it: then another one is tried.
fn again<T>(attempt: impl FnMut() -> Option<T>) -> T {
    std::iter::repeat_with(attempt).take(8).flatten().next().expect("one of eight comes round")
}

/// Starts clients until one gets the number; others on the machine start processes as well, and
/// another test with a number of its own waits.
fn with_number(number: i32, bus: &Bus) -> Option<Actor> {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let end = Instant::now() + patience(Duration::from_secs(5));
    while Instant::now() < end {
        fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string()).expect("root may");
        let actor = Actor::start(Role::Client, NOBODY, bus);
        if actor.pid == number {
            return Some(actor);
        }
    }
    None
}

pub(crate) fn trust_pid_believes_the_bus() {
    let bus = Bus::running(Strictness::System);
    let daemon = Daemon::with(&bus, Limits::default(), true);
    daemon.wait_joined(&bus, Duration::from_secs(5));
    let mut lonely = Actor::start(Role::Orphaner, NOBODY, &bus);
    assert_eq!(lonely.say("whoami"), "error org.freedesktop.DBus.Error.AccessDenied");
    let (mut orphan, _heir) = orphan_and_heir(&bus);
    assert_eq!(orphan.say("whoami"), "proven=true uid=65534 gid=65534 class=user ok");
}
