//! Descriptors and memory that run out (case 64): wherever it happens in a call, the answer is the
//! right one or OutOfResources, never one that takes what could not be read for nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::{Client, Result};
use cgroupd_tests::faults::{DESCRIPTORS, Fault, MEMORY};
use cgroupd_tests::hierarchies;
use cgroupd_tests::need::is_translated;
use cgroupd_tests::peer::ALICE;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

pub(crate) const TESTS: &[Test] = &tests![needs Strace:
    case_64_the_guard_of_the_daemon,
    case_64_ending_processes,
    case_64_limits,
    case_64_reading,
    case_64_making_and_removing,
    case_64_moving,
    case_64_as_an_ordinary_user,
];

/// More calls of one kind than any verb makes here.
const MOST: usize = 400;

/// A call, and what has to be there before it.
struct Probe<'a> {
    name: &'a str,
    prepare: &'a dyn Fn(),
    call: &'a dyn Fn() -> Result<String>,
    /// What must hold after a success.
    check: &'a dyn Fn(),
}

/// Lets each system call that takes a descriptor, or reads, fail once.
fn sweep(world: &World, probe: &Probe<'_>) {
    (probe.prepare)();
    let expected = (probe.call)().map_err(|error| error.service());
    let mut answers = [0, 0];
    for kind in [DESCRIPTORS, MEMORY] {
        // Elsewhere each of them fails; where instructions are translated strace takes its time.
        for nth in (1..).step_by(if is_translated() { 11 } else { 1 }) {
            assert!(nth < MOST, "{}: it never ends", probe.name);
            (probe.prepare)();
            let fault = Fault::inject(world.daemon.pid(), kind, nth);
            let outcome = (probe.call)();
            let injected = fault.end();
            let what = format!("{}, {} at call {nth}: {outcome:?}", probe.name, kind.1);
            match outcome.map_err(|error| error.service()) {
                Err(Some(ErrorName::OutOfResources)) => answers[1] += 1,
                outcome => {
                    assert_eq!(outcome, expected, "{what}");
                    if outcome.is_ok() {
                        (probe.check)();
                    }
                    answers[0] += 1;
                }
            }
            if injected == 0 {
                break;
            }
        }
    }
    // Not all calls are on the way to the answer; but most are.
    let enough = is_translated() || answers[1] >= answers[0] / 2;
    assert!(enough, "{}: {answers:?}", probe.name);
}

fn nothing() {}

/// Two hierarchies are as good as a dozen, where there are so many, and take less time.
fn few() -> Vec<&'static str> {
    let there = |controller: &&str| hierarchies::v1_of(controller).is_some();
    ["freezer", "pids"].into_iter().filter(there).collect()
}

fn text<T: std::fmt::Debug>(result: Result<T>) -> Result<String> {
    result.map(|answer| format!("{answer:?}"))
}

/// The same whatever order its parts come in.
fn sorted<T: std::fmt::Debug>(result: Result<Vec<T>>) -> Result<String> {
    result.map(|answer| {
        let mut parts: Vec<String> = answer.iter().map(|part| format!("{part:?}")).collect();
        parts.sort();
        parts.join("\n")
    })
}

fn map(answer: Result<HashMap<String, String>>) -> Result<String> {
    answer.map(|map| format!("{:?}", BTreeMap::from_iter(map)))
}

fn case_64_the_guard_of_the_daemon(world: &World) {
    world.root.create("/d/daemon").unwrap();
    world.cgroups.put("d/daemon", world.daemon.pid());
    let root = &world.root;
    let stop: [(&str, &dyn Fn() -> Result<String>); 3] = [
        ("Freeze", &|| text(root.freeze("/d"))),
        ("Kill", &|| text(root.kill("/d", 9))),
        ("Remove", &|| text(root.remove("/d", &["kill", "recursive"]))),
    ];
    for (name, call) in stop {
        sweep(world, &Probe { name, prepare: &nothing, call, check: &nothing });
    }
    world.cgroups.put("", world.daemon.pid());
    root.freeze("/d").unwrap();
}

fn case_64_ending_processes(world: &World) {
    let root = &world.root;
    let sleeper = std::cell::RefCell::new(None);
    let prepare = || {
        root.create_with("/k/below", &few(), &[]).unwrap();
        let started = Sleeper::start(0);
        world.cgroups.put_where_it_is("k/below", started.pid());
        *sleeper.borrow_mut() = Some(started);
    };
    let check = || {
        let is_empty = |h| world.cgroups.procs(h, "k/below").is_empty();
        assert!(hierarchies::implied().all(is_empty), "Kill succeeded, and something lives");
    };
    for signal in [9, 15] {
        let call = || text(root.kill("/k", signal));
        let check: &dyn Fn() = if signal == 9 { &check } else { &nothing };
        sweep(world, &Probe { name: "Kill", prepare: &prepare, call: &call, check });
    }
}

fn case_64_limits(world: &World) {
    let root = &world.root;
    root.create("/a").unwrap();
    let limits = [("pids.max", "100"), ("memory.max", "1G")];
    root.set_limits("/a", &limits, &[]).unwrap();
    let get = |names: &[&str]| map(root.wait(root.manager().get_limits("/a", names)));
    let probes: [(&str, &dyn Fn() -> Result<String>); 4] = [
        ("GetLimits of two", &|| get(&["pids.max", "memory.max"])),
        ("GetLimits of all", &|| get(&[])),
        ("SetLimits", &|| map(root.set_limits("/a", &limits, &[]))),
        ("SetLimits in percent", &|| map(root.set_limits("/a", &[("memory.max", "50%")], &[]))),
    ];
    for (name, call) in probes {
        let prepare = || drop(root.set_limits("/a", &limits, &[]).unwrap());
        sweep(world, &Probe { name, prepare: &prepare, call, check: &nothing });
    }
}

fn case_64_reading(world: &World) {
    let root = &world.root;
    root.create_with("/a/b/c", &few(), &[]).unwrap();
    let sleeper = Sleeper::start(0);
    world.cgroups.put_where_it_is("a/b/c", sleeper.pid());
    let names = |stats: Result<Vec<cgroupd_proto::StatsRow>>| {
        let names = |stats: &cgroupd_proto::StatsRow| BTreeSet::from_iter(stats.1.keys().cloned());
        stats.map(|stats| format!("{:?}", stats.iter().map(names).collect::<Vec<_>>()))
    };
    let rows = |rows: Result<Vec<cgroupd_proto::CgroupRow>>| {
        let ordered = |(path, row): &cgroupd_proto::CgroupRow| {
            format!("{path} {:?}", BTreeMap::from_iter(row))
        };
        rows.map(|rows| rows.iter().map(ordered).collect::<Vec<_>>().join("\n"))
    };
    let pid = sleeper.pid().cast_unsigned();
    let probes: [(&str, &dyn Fn() -> Result<String>); 7] = [
        ("List", &|| rows(root.rows("/", 0))),
        ("Processes", &|| sorted(root.processes("/a", &["recursive"]))),
        ("CgroupOf", &|| map(root.cgroup_of(pid, &[]))),
        ("Stats", &|| names(root.stats(&["/a/b/c"]))),
        ("WhoAmI", &|| map(root.who_am_i())),
        ("ListFiles", &|| root.files("/a").map(|files| files.len().to_string())),
        ("ReadFile", &|| text(root.read("/a/b/c", "cgroup.procs"))),
    ];
    for (name, call) in probes {
        sweep(world, &Probe { name, prepare: &nothing, call, check: &nothing });
    }
}

fn case_64_making_and_removing(world: &World) {
    let root = &world.root;
    let absent = || drop(root.remove("/n", &["recursive"]));
    let made = || assert!(!world.cgroups.is_nowhere("n/m"));
    let create = || text(root.create_with("/n/m", &few(), &[]).map(|created| created.0));
    let probe = Probe { name: "Create", prepare: &absent, call: &create, check: &made };
    sweep(world, &probe);
    let present = || drop(root.create_with("/n/m", &few(), &[]).unwrap());
    let gone = || assert!(world.cgroups.is_nowhere("n"));
    let remove = || text(root.remove("/n", &["recursive"]));
    sweep(world, &Probe { name: "Remove", prepare: &present, call: &remove, check: &gone });
    // Nothing is taken for empty.
    let sleeper = Sleeper::start(0);
    present();
    world.cgroups.put_where_it_is("n/m", sleeper.pid());
    let still = || assert!(world.cgroups.all_hold("n/m", sleeper.pid()));
    let call = || text(root.remove("/n", &["recursive"]));
    sweep(
        world,
        &Probe { name: "Remove what is in use", prepare: &still, call: &call, check: &nothing },
    );
    still();
}

fn case_64_moving(world: &World) {
    let root = &world.root;
    root.create("/from").unwrap();
    root.create("/to").unwrap();
    let sleeper = Sleeper::start(0);
    let prepare = || world.cgroups.put("from", sleeper.pid());
    let moved = || assert!(world.cgroups.all_hold("to", sleeper.pid()));
    let call = || text(root.move_pid("/to", sleeper.pid()));
    sweep(world, &Probe { name: "AttachPids", prepare: &prepare, call: &call, check: &moved });
}

/// Where each file is opened as somebody else, and the caller's own facts decide.
fn case_64_as_an_ordinary_user(world: &World) {
    world.cgroups.make_for("home", ALICE);
    let alice = world.user_in(ALICE, "home");
    let client: &Client = &alice;
    client.create_with("a", &few(), &[]).unwrap();
    let own = Sleeper::start(ALICE);
    let place = || world.cgroups.put_where_it_is("home/a", own.pid());
    let probes: [(&str, &dyn Fn() -> Result<String>); 4] = [
        ("List", &|| text(client.list(""))),
        ("Processes", &|| sorted(client.processes("", &["recursive"]))),
        ("Remove what is in use", &|| text(client.remove("a", &[]))),
        ("Create", &|| text(client.create("a").map(|created| created.0))),
    ];
    for (name, call) in probes {
        sweep(world, &Probe { name, prepare: &place, call, check: &nothing });
    }
}
