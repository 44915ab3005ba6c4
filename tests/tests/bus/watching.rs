//! Events on a bus that many listen on: who asked is told, and nobody else.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use cgroupd_proto::{BUS_NAME, ErrorName, INTERFACE, ManagerProxy};
use cgroupd_tests::bus::{Bus, Strictness};
use cgroupd_tests::cgroups::Cgroups;
use cgroupd_tests::events::{PATIENCE, Told, event, next_in};
use cgroupd_tests::world::Sleeper;
use futures_util::StreamExt;
use zbus::fdo::DBusProxy;
use zbus::{Connection, MatchRule, MessageStream};

use crate::daemon::{Daemon, connect, ping};

/// Longer than a silent client is remembered that does not watch.
const SILENCE: Duration = Duration::from_secs(45);
/// More than anybody may have.
const TOO_MANY: usize = 1000;

/// A daemon that manages the cgroup `/a`. Fields are dropped in this order.
struct Place {
    daemon: Daemon,
    bus: Bus,
    cgroups: Cgroups,
}

impl Place {
    fn new() -> Self {
        let (cgroups, bus) = (Cgroups::new("bus"), Bus::running(Strictness::System));
        cgroups.make("a");
        let daemon = Daemon::managing(&bus, &cgroups);
        daemon.wait_joined(&bus, Duration::from_secs(5));
        Self { daemon, bus, cgroups }
    }

    fn connect(&self) -> Connection {
        self.daemon.block_on(connect(&self.bus))
    }

    fn watch(&self, client: &Connection, events: &[&str]) -> zbus::Result<u32> {
        self.daemon.block_on(async {
            let manager = ManagerProxy::new(client).await?;
            manager.watch("/a", events, &[]).await
        })
    }

    fn next(&self, stream: &mut MessageStream) -> Told {
        let told = async { tokio::time::timeout(PATIENCE, next_in(stream)).await };
        self.daemon.block_on(told).expect("in time").expect("connected")
    }

    fn populate(&self) -> Sleeper {
        let sleeper = Sleeper::start(0);
        self.cgroups.put("/a", sleeper.pid());
        sleeper
    }

    fn remove(&self) {
        let root = self.connect();
        let removed = self
            .daemon
            .block_on(async { ManagerProxy::new(&root).await?.remove("/a", &["kill"]).await });
        removed.expect("root may");
    }

    /// All events that have come to this client by now: the bus keeps the order, so that none is
    /// behind the answer to a call that is made now.
    fn told_by_now(&self, client: &Connection, stream: &mut MessageStream) -> Vec<Told> {
        self.daemon.block_on(async {
            let answer = ping(client).await.expect("answered");
            let mut told = Vec::new();
            loop {
                let message = stream.next().await.expect("connected").expect("valid");
                if message.header().reply_serial() == answer.header().reply_serial() {
                    return told;
                }
                told.extend(event(&message));
            }
        })
    }
}

/// The other has a rule that matches the signal, and is a client of the daemon that watches
/// something else.
pub(crate) fn events_reach_who_asked_alone() {
    let place = Place::new();
    let (watcher, other) = (place.connect(), place.connect());
    let mut told = MessageStream::from(&watcher);
    let mut overheard = MessageStream::from(&other);
    place.daemon.block_on(async {
        let rule = MatchRule::builder().msg_type(zbus::message::Type::Signal);
        let rule = rule.interface(INTERFACE).build().expect("valid");
        let driver = DBusProxy::new(&other).await.expect("the bus runs");
        driver.add_match_rule(rule).await.expect("anybody may listen");
    });
    let id = place.watch(&watcher, &["populated"]).expect("root may");
    let others = place.watch(&other, &["removed"]).expect("root may");
    let sleeper = place.populate();
    assert_eq!(place.next(&mut told), (id, "/a".to_owned(), "populated".to_owned(), 0));
    assert_eq!(place.told_by_now(&other, &mut overheard), []);
    // The twin: what it asked for reaches it.
    drop(sleeper);
    place.remove();
    let removed = (others, "/a".to_owned(), "removed".to_owned(), 0);
    assert_eq!(place.next(&mut overheard), removed);
    assert_eq!(place.told_by_now(&watcher, &mut told), []);
}

pub(crate) fn a_monitor_overhears_nothing() {
    let place = Place::new();
    let mut command = Command::new("gdbus");
    command.args(["monitor", "--system", "--dest", BUS_NAME]).stdin(Stdio::null());
    command.env("DBUS_SYSTEM_BUS_ADDRESS", place.bus.address()).stdout(Stdio::piped());
    let mut monitor = command.spawn().expect("it was found");
    let output = BufReader::new(monitor.stdout.take().expect("piped"));
    let (sender, lines) = channel();
    let reading = std::thread::spawn(move || {
        output.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
    });
    // It says who owns the name when it has its rules.
    let listens = std::iter::from_fn(|| lines.recv_timeout(PATIENCE).ok())
        .any(|line| line.contains("is owned by"));
    let watcher = place.connect();
    let mut told = MessageStream::from(&watcher);
    place.watch(&watcher, &["populated"]).expect("root may");
    let _sleeper = place.populate();
    place.next(&mut told);
    std::thread::sleep(Duration::from_millis(300));
    monitor.kill().and_then(|()| monitor.wait()).expect("our child");
    reading.join().expect("it only reads");
    let overheard: Vec<String> = lines.iter().collect();
    assert!(listens && overheard.is_empty(), "{overheard:?}");
}

/// The twin of the silent watcher, who only called once, is forgotten.
pub(crate) fn who_watches_may_be_silent() {
    let place = Place::new();
    let (watcher, other) = (place.connect(), place.connect());
    place.daemon.block_on(ping(&other)).expect("answered");
    let mut told = MessageStream::from(&watcher);
    let id = place.watch(&watcher, &["populated"]).expect("root may");
    let end = Instant::now() + SILENCE;
    while place.daemon.clients() == 2 {
        assert!(Instant::now() < end, "the other is remembered");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(place.daemon.clients(), 1);
    let _sleeper = place.populate();
    assert_eq!(place.next(&mut told), (id, "/a".to_owned(), "populated".to_owned(), 0));
}

/// As many as there may be end with the client that had them.
pub(crate) fn watches_end_when_their_client_leaves() {
    let place = Place::new();
    let (leaving, staying) = (place.connect(), place.connect());
    let full = (0..TOO_MANY).find_map(|_| place.watch(&leaving, &["empty"]).err());
    let is_full = |error: &zbus::Error| match error {
        zbus::Error::MethodError(name, ..) => name.as_str() == ErrorName::QuotaExceeded.wire(),
        _ => false,
    };
    assert!(full.as_ref().is_some_and(is_full), "{full:?}");
    let full = place.watch(&staying, &["empty"]).expect_err("the same user");
    assert!(is_full(&full), "{full}");
    place.daemon.block_on(leaving.close()).expect("it closes");
    place.daemon.wait_clients(1);
    let end = Instant::now() + PATIENCE;
    while let Err(error) = place.watch(&staying, &["empty"]) {
        assert!(is_full(&error) && Instant::now() < end, "{error}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
