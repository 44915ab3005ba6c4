//! The rows of one client's patience while another is busy.

use std::fs;
use std::time::{Duration, Instant};

use crate::bench::{Bench, Result, finish, start};
use crate::job::{Op, Side};
use crate::place;
use crate::report::{Report, Row, Verdict, digits};
use crate::stats::{micros, percentile};
use crate::wire::{NONE, call};

/// The most a Ping may take, in ms, but for one in a hundred.
const WAIT: f64 = 5.0;
/// Between two moves: long enough for the kernel to wait for a grace period each time.
const APART: Duration = Duration::from_millis(10);
/// Rows of one answer to List.
const PAGE: usize = 1000;

/// What the other client does.
#[derive(Clone, Copy, Debug)]
enum Other {
    Nothing,
    /// By system calls, for comparison: what the kernel alone makes others wait.
    RemovesItself,
    Removes,
    Moves,
    Lists,
}

pub(crate) fn measure(bench: &mut Bench, report: &mut Report) -> Result<()> {
    let about = "One Ping every millisecond, counted from when it was due.";
    report.section("A Ping while another client is busy", about);
    for pinned in [true, false] {
        bench.pin(pinned)?;
        for other in Other::ALL {
            let place = if pinned { "one CPU" } else { "not pinned" };
            let name = format!("{}, {place}", other.title(bench));
            report.add(&case(bench, &name, pinned, other)?);
        }
    }
    Ok(())
}

fn case(bench: &mut Bench, name: &str, pinned: bool, other: Other) -> Result<Row> {
    let dir = other.prepare(bench)?;
    let mut job = bench.job(Side::Daemon, Op::Ping, "");
    (job.count, job.pinned) = (0, pinned);
    let child = start(&job, 0)?;
    // Both are connected before it begins.
    std::thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    let done = other.disturb(bench);
    let took = began.elapsed();
    let series = finish(child)?;
    bench.sleepers(0, 1, "", &["memory"])?;
    place::remove(&dir)?;
    if let Err(error) = done {
        return Ok(Row::absent(name, error.to_string()));
    }
    let [p50, p99, most] = [50, 99, 100].map(|p| micros(percentile(&series.samples, p)) / 1e3);
    let mut row = Row::limited(name, p99, WAIT, "ms");
    row.measured = format!(
        "p99 {} ms, p50 {}, longest {}; within {:.1} s",
        digits(p99),
        digits(p50),
        digits(most),
        took.as_secs_f64()
    );
    if matches!(other, Other::Nothing | Other::RemovesItself) {
        (row.verdict, row.budget) = (Verdict::Plain, String::new());
    }
    Ok(row.figures(&[("p50", p50), ("longest", most), ("took_s", took.as_secs_f64())]))
}

impl Other {
    const ALL: [Self; 5] =
        [Self::Nothing, Self::RemovesItself, Self::Removes, Self::Moves, Self::Lists];

    fn title(self, bench: &Bench) -> String {
        match self {
            Self::Nothing => "nobody else".to_owned(),
            Self::RemovesItself => {
                format!("removes {} cgroups without the daemon", bench.scale.removal)
            }
            Self::Removes => format!("removes {} cgroups", bench.scale.removal),
            Self::Moves => "moves processes one by one".to_owned(),
            Self::Lists => format!("lists {} cgroups", bench.scale.siblings),
        }
    }

    /// Makes what it needs, and answers what is to be removed.
    fn prepare(self, bench: &mut Bench) -> Result<std::path::PathBuf> {
        let (controller, children) = match self {
            Self::Nothing => ("memory", 0),
            Self::Removes | Self::RemovesItself => ("memory", bench.scale.removal),
            Self::Moves => ("memory", 2),
            Self::Lists => ("pids", bench.scale.siblings),
        };
        let dir = bench.place.make(controller, "busy/work", 0)?;
        for child in 0..children {
            fs::create_dir(dir.join(format!("{child:06}")))?;
        }
        Ok(bench.place.dir(controller, "busy"))
    }

    fn disturb(self, bench: &mut Bench) -> Result<()> {
        let mut client = bench.daemon.connect()?;
        let began = Instant::now();
        let time_is_left = |bench: &Bench| began.elapsed() < bench.scale.disturbance;
        match self {
            Self::Nothing => std::thread::sleep(bench.scale.disturbance),
            Self::RemovesItself => place::remove(&bench.place.dir("memory", "busy/work"))?,
            Self::Removes => client.call(&call("Remove", &("/busy/work", vec!["recursive"])))?,
            Self::Moves => {
                let pids = bench.sleepers(0, 1, "busy/work/000000", &["memory"])?;
                for to in (0..2).cycle().take_while(|_| time_is_left(bench)) {
                    let path = format!("/busy/work/{to:06}");
                    client.call(&call("AttachPids", &(path, &pids, NONE)))?;
                    std::thread::sleep(APART);
                }
            }
            Self::Lists => {
                let pages = bench.scale.siblings.div_ceil(PAGE);
                for page in (0..pages).cycle().take_while(|_| time_is_left(bench)) {
                    let after = match page {
                        0 => String::new(),
                        page => format!("/busy/work/{:06}", page * PAGE - 1),
                    };
                    let page = ("/busy/work", 1u32, after, PAGE as u32, NONE);
                    client.call(&call("List", &page))?;
                }
            }
        }
        Ok(())
    }
}
