//! The rows that compare with more than a system call: a cgroup made, limited and filled in
//! one call, and the predecessor.

use crate::bench::{Bench, Result, run};
use crate::calls::FULL_CONTROLLERS;
use crate::job::{Op, Side};
use crate::place;
use crate::report::{Report, Row, digits};
use crate::stats::Cost;

/// What one call may cost beyond its system calls: so many times, and so many µs.
const TIMES: f64 = 1.3;
const MORE: f64 = 20.0;

/// cgmanager 0.42 with client and daemon on one CPU, and the system calls of the same effect
/// in the same run, in µs: recorded on Linux 6.18, since nobody ships it any more. What counts
/// is how many times the system calls it costs.
const CGMANAGER: [(Op, f64, f64, f64); 6] = [
    (Op::Ping, 21.0, 10.0, 1.0),
    (Op::Create, 251.0, 39.0, 3.0),
    (Op::WriteFile, 68.0, 11.0, 2.0),
    (Op::AttachPids, 83.0, 14.0, 2.0),
    (Op::ReadFile, 65.0, 8.0, 2.0),
    (Op::Remove, 213.0, 34.0, 3.0),
];

/// Four limits and a process, in up to three hierarchies.
pub(crate) fn measure(bench: &mut Bench, report: &mut Report) -> Result<()> {
    bench.pin(true)?;
    let mut pair = [Vec::new(), Vec::new()];
    let each = place::one_of_each(&FULL_CONTROLLERS);
    for _ in 0..bench.scale.repeats {
        for (index, side) in [Side::Direct, Side::Daemon].into_iter().enumerate() {
            for controller in FULL_CONTROLLERS {
                bench.place.make(controller, "full", 0)?;
            }
            let mut job = bench.job(side, Op::CreateFull, "full");
            job.pids = bench.sleepers(0, 1, "full", &each)?;
            pair[index].push(run(&job, 0)?);
            bench.sleepers(0, 1, "", &each)?;
            for controller in &each {
                place::remove(&bench.place.dir(controller, "full"))?;
            }
        }
    }
    bench.pin(false)?;
    let [direct, daemon] = pair.each_ref().map(|series| Cost::of(series));
    let name = "Create with 4 limits and a process, one call";
    let mut row = Row::limited(name, daemon.p50, TIMES * direct.p50 + MORE, "µs");
    row.measured = format!(
        "{} ({})  direct {} ({})",
        digits(daemon.p50),
        digits(daemon.p99),
        digits(direct.p50),
        digits(direct.p99)
    );
    let figures = [("p99", daemon.p99), ("cpu", daemon.cpu), ("direct_p50", direct.p50)];
    report.add(&row.figures(&figures));
    Ok(())
}

/// How many times the system calls a call costs, beside what cgmanager's did.
pub(crate) fn compare(report: &mut Report, costs: &[(Op, Cost, Cost)]) {
    let about = "Times the direct system calls, one connection, one CPU. Its figures are recorded.";
    report.section("Against cgmanager 0.42", about);
    for (op, its, its_direct, cheaper) in CGMANAGER {
        let Some((_, direct, daemon)) = costs.iter().find(|(measured, ..)| *measured == op) else {
            report.add(&Row::absent(op.name(), "the call failed"));
            continue;
        };
        let (ours, its) = (daemon.p50 / direct.p50, its / its_direct);
        let mut row = Row::limited(op.name(), ours, its / cheaper, "×");
        row.measured = format!("{} ×, cgmanager {} ×", digits(ours), digits(its));
        report.add(&row.figures(&[("cgmanager", its)]));
    }
}
