//! The rows of large trees: whether a call costs more where there is much, or deep down.

use std::fs;

use crate::bench::{Bench, Result, run};
use crate::job::{Op, Side};
use crate::place;
use crate::report::{Report, Row, digits};
use crate::stats::Cost;

/// How many times the cost without.
const MOST: f64 = 1.5;
/// The deepest a cgroup may lie below its home.
const DEPTH: usize = 32;
/// Calls that are compared, in an order that works.
const OPS: [Op; 4] = [Op::Create, Op::WriteFile, Op::ReadFile, Op::Remove];

pub(crate) fn measure(bench: &mut Bench, report: &mut Report) -> Result<()> {
    report.section("Large trees", "The same call in a small tree and in a large one, on one CPU.");
    bench.pin(true)?;
    depth(bench, report)?;
    siblings(bench, report)?;
    bench.pin(false)?;
    Ok(())
}

/// Names as short as they come: the path is to be deep, not long.
fn depth(bench: &mut Bench, report: &mut Report) -> Result<()> {
    let parent = vec!["d"; DEPTH - 1].join("/");
    let place = |bench: &Bench, parent: &str| bench.place.make("memory", parent, 0).map(drop);
    compare(
        bench,
        report,
        &format!("at depth {DEPTH}"),
        "memory",
        &OPS,
        [("s", &place), (&parent, &place)],
    )
}

fn siblings(bench: &mut Bench, report: &mut Report) -> Result<()> {
    let many = bench.scale.siblings;
    let small = |bench: &Bench, parent: &str| bench.place.make("pids", parent, 0).map(drop);
    let large = |bench: &Bench, parent: &str| {
        let dir = bench.place.make("pids", parent, 0)?;
        (0..many).try_for_each(|n| fs::create_dir(dir.join(format!("s{n}"))))
    };
    let name = format!("with {many} siblings");
    compare(bench, report, &name, "pids", &[Op::Create, Op::Remove], [("s", &small), ("l", &large)])
}

type Make<'a> = &'a dyn Fn(&Bench, &str) -> std::io::Result<()>;

/// Runs `ops` below each parent in turn, and compares the second with the first.
fn compare(
    bench: &Bench,
    report: &mut Report,
    name: &str,
    controller: &str,
    ops: &[Op],
    parents: [(&str, Make<'_>); 2],
) -> Result<()> {
    for (parent, make) in parents {
        make(bench, parent)?;
    }
    let mut costs = vec![[Vec::new(), Vec::new()]; ops.len()];
    for _ in 0..bench.scale.repeats {
        for (index, (parent, _)) in parents.iter().enumerate() {
            for (op, costs) in ops.iter().zip(&mut costs) {
                let mut job = bench.job(Side::Daemon, *op, parent);
                job.controller = controller.to_owned();
                costs[index].push(run(&job, 0)?);
            }
        }
    }
    for (parent, _) in parents {
        let top = parent.split('/').next().unwrap_or(parent);
        place::remove(&bench.place.dir(controller, top))?;
    }
    for (op, costs) in ops.iter().zip(&costs) {
        let [without, with] = costs.each_ref().map(|series| Cost::of(series));
        let name = format!("{} {name}", op.name());
        let mut row = Row::limited(name, with.p50, MOST * without.p50, "µs");
        row.measured = format!("{} µs, without {}", digits(with.p50), digits(without.p50));
        report.add(&row.figures(&[("without", without.p50)]));
    }
    Ok(())
}
