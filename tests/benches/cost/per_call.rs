//! The rows of single calls: each beside the system calls of the same effect, in the same run.

use std::collections::BTreeMap;

use crate::bench::{Bench, OTHER, Result, run};
use crate::job::{Op, Side};
use crate::parts::Parts;
use crate::place;
use crate::report::{Report, Row, Verdict, digits};
use crate::stats::{Cost, Series};

/// Who calls, over how many connections, and where it runs.
#[derive(Clone, Copy, Debug)]
struct Setting {
    uid: u32,
    connections: usize,
    pinned: bool,
    side: Side,
}

const FIRST: Setting = Setting { uid: 0, connections: 1, pinned: true, side: Side::Daemon };
const SETTINGS: [Setting; 8] = [
    FIRST,
    Setting { uid: OTHER, ..FIRST },
    Setting { side: Side::Old, ..FIRST },
    Setting { uid: OTHER, side: Side::Old, ..FIRST },
    Setting { connections: 8, ..FIRST },
    Setting { pinned: false, ..FIRST },
    Setting { uid: OTHER, pinned: false, ..FIRST },
    Setting { connections: 8, pinned: false, ..FIRST },
];

/// What a call may cost beyond the system calls, in µs; and when the daemon acts as another.
const MORE: f64 = 20.0;
const MORE_AS_ANOTHER: f64 = 5.0;
/// How many times a socket echo a Ping may cost.
const ECHOES: f64 = 1.8;

/// Both sides of one call.
type Pair = [Vec<Series>; 2];

/// Measures and prints them all. Answers what root's calls cost directly and over one pinned
/// connection.
pub(crate) fn measure(
    bench: &mut Bench,
    report: &mut Report,
    parts: &Parts,
) -> Result<Vec<(Op, Cost, Cost)>> {
    let mut costs = Vec::new();
    let mut ping = Cost::default();
    for setting in SETTINGS.into_iter().take(bench.scale.settings) {
        report.section(&setting.title(), "");
        bench.pin(setting.pinned)?;
        let pairs = all(bench, setting)?;
        for op in setting.calls() {
            let row = match &pairs[op.name()] {
                Err(why) => Row::absent(setting.name_of(*op), why.as_str()),
                Ok(pair) => {
                    let [direct, daemon] = pair.each_ref().map(|series| Cost::of(series));
                    if setting.uid == 0 && setting.is_budgeted() && setting.side == Side::Daemon {
                        costs.push((*op, direct, daemon));
                    }
                    if *op == Op::Ping {
                        ping = daemon;
                    }
                    let parts = parts.of(*op, setting.uid, ping, direct, daemon);
                    row(*op, setting, direct, daemon).parts(parts)
                }
            };
            report.add(&row);
        }
    }
    Ok(costs)
}

impl Setting {
    fn calls(self) -> &'static [Op] {
        if self.side == Side::Old { &Op::OLD_CALLS } else { &Op::CALLS }
    }

    fn name_of(self, op: Op) -> &'static str {
        if self.side == Side::Old { op.old_name() } else { op.name() }
    }

    /// The budgets hold for one caller at a time on one CPU.
    fn is_budgeted(self) -> bool {
        self.pinned && self.connections == 1
    }

    fn title(self) -> String {
        let who = if self.uid == 0 { "host root" } else { "another uid" };
        let connections = match self.connections {
            1 => "one connection".to_owned(),
            many => format!("{many} connections at once"),
        };
        let place = if self.pinned { "client and daemon on one CPU" } else { "not pinned" };
        let version = if place::is_on_v1("memory") { "v1" } else { "v2" };
        let interface = match self.side {
            Side::Old => "Calls as cgmanager's clients make them",
            _ => "Calls",
        };
        format!("{interface} on {version} memory: {who}, {connections}, {place}")
    }
}

/// A cgroup's life, so that every call finds what it needs, again and again.
fn all(
    bench: &mut Bench,
    setting: Setting,
) -> Result<BTreeMap<&'static str, std::result::Result<Pair, String>>> {
    let mut pairs: BTreeMap<_, _> =
        setting.calls().iter().map(|op| (op.name(), Ok(Pair::default()))).collect();
    for _ in 0..bench.scale.repeats {
        for (index, side) in [Side::Direct, setting.side].into_iter().enumerate() {
            let dir = bench.place.make("memory", "calls", setting.uid)?;
            for op in setting.calls() {
                let mut job = bench.job(side, *op, "calls");
                job.connections = setting.connections;
                job.pinned = setting.pinned;
                job.pids =
                    bench.sleepers(setting.uid, setting.connections, "calls", &["memory"])?;
                let done = run(&job, setting.uid);
                match (pairs.get_mut(op.name()), done) {
                    (Some(Ok(pair)), Ok(series)) => pair[index].push(series),
                    (Some(pair), Err(error)) => *pair = Err(error.to_string()),
                    _ => {}
                }
            }
            bench.sleepers(setting.uid, setting.connections, "", &["memory"])?;
            place::remove(&dir)?;
        }
    }
    Ok(pairs)
}

fn row(op: Op, setting: Setting, direct: Cost, daemon: Cost) -> Row {
    let more = if setting.uid == 0 { MORE } else { MORE + MORE_AS_ANOTHER };
    let most = if op == Op::Ping { direct.p50 * ECHOES } else { direct.p50 + more };
    let measured = format!(
        "{:>6} ({:>6})  direct {:>6} ({:>6})  {:>7}/s  cpu {:>5}",
        digits(daemon.p50),
        digits(daemon.p99),
        digits(direct.p50),
        digits(direct.p99),
        digits(daemon.per_second),
        digits(daemon.cpu),
    );
    let figures = [
        ("uid", f64::from(setting.uid)),
        ("connections", setting.connections as f64),
        ("pinned", f64::from(u8::from(setting.pinned))),
        ("p50", daemon.p50),
        ("p99", daemon.p99),
        ("per_second", daemon.per_second),
        ("cpu", daemon.cpu),
        ("direct_p50", direct.p50),
        ("direct_p99", direct.p99),
    ];
    let mut row = Row::limited(setting.name_of(op), daemon.p50, most, "µs").figures(&figures);
    row.measured = measured;
    if !setting.is_budgeted() {
        (row.verdict, row.budget) = (Verdict::Plain, String::new());
    }
    row
}
