//! `cgctl stat`: what cgroups use, a row for each.

use std::time::Duration;

use cgroupd_proto::round_size;
use serde_json::Value;

use crate::{
    exit::{Exit, Failure},
    output::object,
    request::{self, Stats},
    session::Session,
};

/// A column: its title, the number, and how people read it.
type Column = (&'static str, &'static str, fn(u64) -> String);

const COLUMNS: &[Column] = &[
    ("MEMORY", "memory.current", round_size),
    ("PEAK", "memory.peak", round_size),
    ("MAX", "memory.max", round_size),
    ("OOM-KILLS", "memory.events.oom_kill", plain),
    ("CPU", "cpu.usage_usec", seconds),
    ("THROTTLED", "cpu.throttled_usec", seconds),
    ("PIDS", "pids.current", plain),
    ("MAX", "pids.max", plain),
    ("READ", "io.rbytes", round_size),
    ("WRITTEN", "io.wbytes", round_size),
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
    let document = object([("path", path.into()), ("stats", to_json(stats))]);
    Ok(session.output.document(&document)?)
}

/// All of them as one JSON object.
pub(super) fn to_json(stats: &Stats) -> Value {
    object(stats.iter().map(|(name, number)| (name.as_str(), (*number).into())))
}

fn row(path: String, stats: &Stats) -> Vec<String> {
    let cell = |(_, name, shown): &Column| {
        stats.get(*name).map_or_else(|| "-".to_owned(), |number| shown(*number))
    };
    [path].into_iter().chain(COLUMNS.iter().map(cell)).collect()
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
