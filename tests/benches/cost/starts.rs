//! The rows of whole processes and new connections.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::bench::{Bench, Result, run};
use crate::job::{Op, Side};
use crate::report::{Report, Row, digits};
use crate::servers::Server;
use crate::stats::{Cost, micros, percentile};
use crate::{place, whole};

/// What the first call on a new connection may cost beyond the call, in µs.
const CONNECT: f64 = 70.0;
/// The size of `cgctl`, in MB.
const SIZE: f64 = 3.0;
/// From starting the daemon to its first answer, in ms.
const START: f64 = 20.0;

pub(crate) fn measure(bench: &mut Bench, report: &mut Report, ping: f64) -> Result<()> {
    report.section("Whole tasks", "");
    whole::measure(bench, report)?;
    connect(bench, report, ping)?;
    client(bench, report)?;
    start(bench, report)
}

fn connect(bench: &Bench, report: &mut Report, ping: f64) -> Result<()> {
    bench.pin(true)?;
    let job = bench.job(Side::Daemon, Op::Connect, "");
    let repeats: Vec<_> = (0..bench.scale.repeats).map(|_| run(&job, 0)).collect::<Result<_>>()?;
    let cost = Cost::of(&repeats);
    let plain = Cost::of(&[run(&bench.job(Side::Direct, Op::Connect, ""), 0)?]);
    let name = "First call on a new connection, over a Ping";
    let parts = vec![format!(
        "{} the whole, {} a Ping, {} a new connection to the echo server with one round trip; \
         daemon CPU {}",
        digits(cost.p50),
        digits(ping),
        digits(plain.p50),
        digits(cost.cpu),
    )];
    let row = Row::limited(name, cost.p50 - ping, CONNECT, "µs").parts(parts);
    report.add(&row.figures(&[("p50", cost.p50), ("p99", cost.p99), ("cpu", cost.cpu)]));
    bench.pin(false)?;
    Ok(())
}

/// A whole process that makes one call, beside one that does nothing.
fn client(bench: &mut Bench, report: &mut Report) -> Result<()> {
    let Some(cgctl) = bench.binaries.cgctl.clone() else {
        report.add(&Row::absent("cgctl create", "CGROUPD_BIN_DIR has no cgctl"));
        return Ok(());
    };
    let dir = bench.place.make("memory", "processes", 0)?;
    let address = format!("unix:path={}", bench.daemon.socket.display());
    let (mut nothing, mut create) = (Vec::new(), Vec::new());
    for n in 0..bench.scale.starts {
        nothing.push(whole(&mut Command::new("/bin/true"))?);
        let path = format!("/processes/{n}");
        let arguments = ["--address", &address, "create", &path, "--controllers", "memory"];
        create.push(whole(Command::new(&cgctl).args(arguments))?);
    }
    place::remove(&dir)?;
    let [nothing, create] = [nothing, create].map(|samples| micros(percentile(&samples, 50)));
    let kind = if bench.binaries.cgctl_is_static { "static" } else { "dynamic" };
    let parts = vec![format!("/bin/true {}; the rest is the client and its call", digits(nothing))];
    let name = format!("cgctl create, whole process ({kind})");
    report.add(&Row::limited(name, create, 2.0 * nothing, "µs").parts(parts));
    let size = std::fs::metadata(&cgctl)?.len() as f64 / 1e6;
    report.add(&Row::limited(format!("cgctl, size ({kind})"), size, SIZE, "MB"));
    Ok(())
}

fn whole(command: &mut Command) -> Result<u64> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let began = Instant::now();
    let status = command.status()?;
    let took = began.elapsed().as_nanos() as u64;
    if status.success() { Ok(took) } else { Err(format!("{command:?}: {status}").into()) }
}

fn start(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut samples = Vec::new();
    for n in 0..bench.scale.starts.min(20) {
        let socket = bench.directory.0.join(format!("start-{n}.sock"));
        samples.push(one_start(&bench.binaries.cgroupd, socket, &bench.place.root)?);
    }
    let took = micros(percentile(&samples, 50)) / 1e3;
    report.add(&Row::limited("Start to first answer", took, START, "ms"));
    Ok(())
}

fn one_start(cgroupd: &Path, socket: std::path::PathBuf, root: &str) -> Result<u64> {
    let began = Instant::now();
    let server = Server::daemon(cgroupd, socket, root, None)?;
    server.connect()?;
    Ok(began.elapsed().as_nanos() as u64)
}
