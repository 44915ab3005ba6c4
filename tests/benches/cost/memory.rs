//! The rows of memory: what the daemon holds when idle, with many connections, and with many
//! cgroups.

use std::fs;

use rustix::process::{Resource, getrlimit};

use crate::bench::{Bench, Result, run};
use crate::job::{Job, Op, Side};
use crate::report::{Report, Row, digits};
use crate::servers::Server;
use crate::stats::Cost;
use crate::wire::{NONE, call};

/// In MB.
const IDLE: f64 = 6.0;
const CONNECTIONS: f64 = 350.0;
/// For how many connections that is.
const FOR_CONNECTIONS: f64 = 10_000.0;
/// How much slower a call may be beside idle connections: noise.
const NO_EFFECT: f64 = 1.25;
/// Descriptors the daemon needs for a connection, and this program for everything else.
const PER_CONNECTION: u64 = 4;
const OWN: u64 = 1_000;

pub(crate) fn measure(bench: &mut Bench, report: &mut Report) -> Result<()> {
    report.section("Memory", "Resident pages, those of the executable included.");
    cgroups(bench, report)?;
    connections(bench, report)
}

/// A fresh daemon after its first answers, and after it has made many cgroups.
fn cgroups(bench: &mut Bench, report: &mut Report) -> Result<()> {
    let many = bench.scale.siblings;
    let daemon = Server::daemon(
        &bench.binaries.cgroupd,
        bench.directory.0.join("memory.sock"),
        &bench.place.root,
        None,
    )?;
    let mut client = daemon.connect()?;
    let idle = daemon.memory()? as f64 / 1e3;
    report.add(&Row::limited("Daemon, idle", idle, IDLE, "MB"));
    let dir = bench.place.make("pids", "many", 0)?;
    let descriptors: [zbus::Fd<'_>; 0] = [];
    for n in 0..many {
        let limits = std::collections::BTreeMap::<&str, &str>::new();
        let body = (format!("/many/{n}"), vec!["pids"], limits, &descriptors[..], NONE);
        client.call(&call("Create", &body))?;
    }
    let full = daemon.memory()? as f64 / 1e3;
    drop(daemon);
    crate::place::remove(&dir)?;
    report.add(&Row::limited(format!("Daemon, with {many} cgroups it made"), full, IDLE, "MB"));
    Ok(())
}

/// Connections that say nothing, while one goes on.
fn connections(bench: &mut Bench, report: &mut Report) -> Result<()> {
    let have = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let many = bench.scale.connections.min(((have - OWN) / PER_CONNECTION) as usize);
    let config = bench.directory.0.join("connections.toml");
    let most = many + 100;
    fs::write(&config, format!("[limits]\nconnections = {most}\nconnections-per-key = {most}\n"))?;
    let socket = bench.directory.0.join("idle.sock");
    let daemon = Server::daemon(&bench.binaries.cgroupd, socket, &bench.place.root, Some(&config))?;
    daemon.pin(true)?;
    let before = Cost::of(&pings(bench, &daemon)?);
    let empty = daemon.memory()? as f64 / 1e3;
    let idle = (0..many).map(|_| daemon.connect()).collect::<std::io::Result<Vec<_>>>()?;
    let full = daemon.memory()? as f64 / 1e3;
    let beside = Cost::of(&pings(bench, &daemon)?);
    drop(idle);
    let budget = CONNECTIONS * many as f64 / FOR_CONNECTIONS;
    let mut row = Row::limited(format!("Daemon, with {many} idle connections"), full, budget, "MB");
    let each = (full - empty) * 1e3 / many as f64;
    row.measured = format!("{}, {} kB each", row.measured, digits(each));
    report.add(&row.figures(&[("kb_each", each)]));
    let name = format!("Ping beside {many} idle connections");
    let mut row = Row::limited(name, beside.p50, NO_EFFECT * before.p50, "µs");
    row.measured = format!("{} µs, without {}", digits(beside.p50), digits(before.p50));
    report.add(&row.figures(&[("without", before.p50), ("p99", beside.p99)]));
    Ok(())
}

fn pings(bench: &Bench, daemon: &Server) -> Result<Vec<crate::stats::Series>> {
    let job = bench.job(Side::Daemon, Op::Ping, "");
    let job = Job { socket: daemon.socket.clone(), server: daemon.pid(), ..job };
    (0..bench.scale.repeats).map(|_| run(&job, 0)).collect()
}
