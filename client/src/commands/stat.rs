//! `cgctl stat`: what cgroups use, a row for each.

use std::time::Duration;

use crate::{
    exit::{Exit, Failure},
    output::object,
    request::{self, Stats},
    session::Session,
};

/// A column: its title, the number, and how people read it.
type Column = (&'static str, &'static str, fn(u64) -> String);

const COLUMNS: &[Column] = &[
    ("MEMORY", "memory.current", about),
    ("PEAK", "memory.peak", about),
    ("MAX", "memory.max", about),
    ("OOM-KILLS", "memory.events.oom_kill", plain),
    ("CPU", "cpu.usage_usec", seconds),
    ("THROTTLED", "cpu.throttled_usec", seconds),
    ("PIDS", "pids.current", plain),
    ("MAX", "pids.max", plain),
    ("READ", "io.rbytes", about),
    ("WRITTEN", "io.wbytes", about),
];

pub(super) fn run(session: &mut Session, paths: &[String]) -> Result<Exit, Failure> {
    let own = [String::new()];
    let paths = if paths.is_empty() { &own[..] } else { paths };
    let titles = COLUMNS.iter().map(|(title, ..)| (*title).to_owned());
    let mut rows = vec![["PATH".to_owned()].into_iter().chain(titles).collect::<Vec<_>>()];
    let exit = session.each(paths, |session, path| {
        let shown = if path.is_empty() { "." } else { path };
        let doing = format!("read the statistics of {shown}");
        let found = session.call(request::stats(path), &doing)?;
        let missing = || Failure::new(Exit::NotFound, format!("cannot {doing}: no such cgroup"));
        let (path, stats) = found.into_iter().next().ok_or_else(missing)?;
        match session.output.json {
            true => document(session, &path, &stats),
            false => {
                rows.push(row(path, &stats));
                Ok(())
            }
        }
    })?;
    if rows.len() > 1 {
        session.output.table(&rows)?;
    }
    Ok(exit)
}

fn document(session: &mut Session, path: &str, stats: &Stats) -> Result<(), Failure> {
    let stats = object(stats.iter().map(|(name, number)| (name.as_str(), (*number).into())));
    Ok(session.output.document(&object([("path", path.into()), ("stats", stats)]))?)
}

fn row(path: String, stats: &Stats) -> Vec<String> {
    let cell = |(_, name, shown): &Column| {
        stats.get(*name).map_or_else(|| "-".to_owned(), |number| shown(*number))
    };
    [path].into_iter().chain(COLUMNS.iter().map(cell)).collect()
}

/// A size in bytes, 1024-based, as far as it matters.
pub(super) fn about(bytes: u64) -> String {
    let units = [(1u64 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, letter)) => format!("{:.1}{letter}", bytes as f64 / unit as f64),
        None => bytes.to_string(),
    }
}

fn plain(number: u64) -> String {
    number.to_string()
}

fn seconds(micros: u64) -> String {
    format!("{:.1}s", Duration::from_micros(micros).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_a_dash() {
        let stats = Stats::from([
            ("memory.current".to_owned(), 3_500_000),
            ("cpu.usage_usec".to_owned(), 2_450_000),
            ("pids.current".to_owned(), 4),
        ]);
        let cells = row("/a".to_owned(), &stats);
        assert_eq!(cells, ["/a", "3.3M", "-", "-", "-", "2.5s", "-", "4", "-", "-", "-"]);
    }
}
