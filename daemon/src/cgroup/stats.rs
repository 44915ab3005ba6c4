//! What a cgroup uses, and what its limits have done: counters and gauges under v2's names, in
//! bytes, microseconds and plain numbers, on v1 too (cgroup-v2.rst, cgroup-v1/*.rst). What a
//! cgroup does not have, or has without bound, is not among them.

use std::collections::BTreeMap;

use super::{Dir, Hierarchy, Version};
use crate::known;

/// By name: `memory.current`, `cpu.usage_usec`, `io.rbytes`, `memory.pressure.some.total`.
pub type Stats = BTreeMap<String, u64>;

/// How a file says it.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// One number, to be divided; `max` is none.
    One(&'static str, u64),
    /// Lines of a key and a number, all of them under this prefix.
    Keys(&'static str),
    /// Lines of a key and a number: those of these keys, to be divided.
    These(&'static [(&'static str, &'static str, u64)]),
    /// v2's io.stat: lines of a device and `key=number`, summed up over the devices.
    Devices,
    /// v1's blkio: lines of a device, an operation and a number, likewise.
    Operations([&'static str; 2]),
    /// Stall information: the totals.
    Pressure,
}

/// A file, and whose it is; of none: every cgroup of v2 has it.
type Row = (&'static str, &'static str, Form);

use Form::{Devices, Keys, One, Operations, Pressure, These};

/// Nanoseconds in a microsecond.
const NANO: u64 = 1000;
/// v1's limits without bound are the largest number of whole pages, whatever their size.
const UNBOUNDED: u64 = i64::MAX as u64 - (1 << 20);

#[rustfmt::skip]
const V2: &[Row] = &[
    ("", "cgroup.events", Keys("cgroup.")),
    ("", "cgroup.stat", Keys("cgroup.")),
    ("", "cpu.stat", Keys("cpu.")),
    ("", "cpu.pressure", Pressure),
    ("", "memory.pressure", Pressure),
    ("", "io.pressure", Pressure),
    ("memory", "memory.current", One("memory.current", 1)),
    ("memory", "memory.peak", One("memory.peak", 1)),
    ("memory", "memory.max", One("memory.max", 1)),
    ("memory", "memory.events", Keys("memory.events.")),
    ("memory", "memory.swap.current", One("memory.swap.current", 1)),
    ("pids", "pids.current", One("pids.current", 1)),
    ("pids", "pids.peak", One("pids.peak", 1)),
    ("pids", "pids.max", One("pids.max", 1)),
    ("pids", "pids.events", Keys("pids.events.")),
    ("io", "io.stat", Devices),
];

#[rustfmt::skip]
const V1: &[Row] = &[
    ("memory", "memory.usage_in_bytes", One("memory.current", 1)),
    ("memory", "memory.max_usage_in_bytes", One("memory.peak", 1)),
    ("memory", "memory.limit_in_bytes", One("memory.max", 1)),
    ("memory", "memory.failcnt", One("memory.events.max", 1)),
    ("memory", "memory.oom_control", These(&[("oom_kill", "memory.events.oom_kill", 1)])),
    ("cpuacct", "cpuacct.usage", One("cpu.usage_usec", NANO)),
    ("cpuacct", "cpuacct.usage_user", One("cpu.user_usec", NANO)),
    ("cpuacct", "cpuacct.usage_sys", One("cpu.system_usec", NANO)),
    ("cpu", "cpu.stat", These(&[
        ("nr_periods", "cpu.nr_periods", 1),
        ("nr_throttled", "cpu.nr_throttled", 1),
        ("throttled_time", "cpu.throttled_usec", NANO),
    ])),
    ("pids", "pids.current", One("pids.current", 1)),
    ("pids", "pids.max", One("pids.max", 1)),
    ("pids", "pids.events", Keys("pids.events.")),
    ("blkio", "blkio.throttle.io_service_bytes_recursive", Operations(["io.rbytes", "io.wbytes"])),
    ("blkio", "blkio.throttle.io_serviced_recursive", Operations(["io.rios", "io.wios"])),
];

/// Reads all that there is. Files that are not there, or that this thread may not read, are left out.
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM: it cannot be told what there is.
pub fn stats(dir: &Dir, hierarchy: &Hierarchy) -> nix::Result<Stats> {
    let rows = match hierarchy.version {
        Version::V1 => V1,
        Version::V2 => V2,
    };
    let has = |controller: &str| {
        controller.is_empty() || hierarchy.controllers.iter().any(|known| known == controller)
    };
    let mut stats = Stats::new();
    for (_, file, form) in rows.iter().filter(|(controller, ..)| has(controller)) {
        if let Some(text) = known(dir.read(file))? {
            form.read(file, &text, &mut stats);
        }
    }
    Ok(stats)
}

impl Form {
    fn read(self, file: &str, text: &str, stats: &mut Stats) {
        match self {
            One(name, unit) => {
                let number = text.trim().parse().ok().filter(|number| *number < UNBOUNDED);
                stats.extend(number.map(|number: u64| (name.to_owned(), number / unit)));
            }
            Keys(prefix) => {
                stats.extend(pairs(text).map(|(key, number)| (format!("{prefix}{key}"), number)));
            }
            These(known) => stats.extend(pairs(text).filter_map(|(key, number)| {
                let (_, name, unit) = known.iter().find(|(known, ..)| *known == key)?;
                Some(((*name).to_owned(), number / unit))
            })),
            Devices => {
                for (key, number) in text.split_ascii_whitespace().filter_map(assignment) {
                    add(stats, format!("io.{key}"), number);
                }
            }
            Operations([read, written]) => {
                for line in text.lines() {
                    match line.split_ascii_whitespace().collect::<Vec<_>>()[..] {
                        [_, "Read", number] => add(stats, read.to_owned(), parsed(number)),
                        [_, "Write", number] => add(stats, written.to_owned(), parsed(number)),
                        _ => {}
                    }
                }
            }
            Pressure => {
                for line in text.lines() {
                    let (kind, rest) = line.split_once(' ').unwrap_or_default();
                    let total = rest.split_ascii_whitespace().filter_map(assignment);
                    let total = total.filter(|(key, _)| *key == "total");
                    stats.extend(total.map(|(key, time)| (format!("{file}.{kind}.{key}"), time)));
                }
            }
        }
    }
}

fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, number) = line.split_once(' ')?;
        Some((key, number.trim().parse().ok()?))
    })
}

fn assignment(word: &str) -> Option<(&str, u64)> {
    let (key, number) = word.split_once('=')?;
    Some((key, number.parse().ok()?))
}

fn parsed(number: &str) -> u64 {
    number.parse().unwrap_or_default()
}

fn add(stats: &mut Stats, name: String, more: u64) {
    let sum = stats.entry(name).or_default();
    *sum = sum.saturating_add(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(form: Form, file: &str, text: &str) -> Vec<(String, u64)> {
        let mut stats = Stats::new();
        form.read(file, text, &mut stats);
        stats.into_iter().collect()
    }

    fn expected(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
        pairs.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
    }

    #[test]
    fn each_form_of_file() {
        let one = One("cpu.usage_usec", NANO);
        assert_eq!(read(one, "", "12345\n"), expected(&[("cpu.usage_usec", 12)]));
        for unbounded in ["max\n", "9223372036854771712\n", "9223372036854710272\n", ""] {
            assert_eq!(read(One("memory.max", 1), "", unbounded), []);
        }
        let keys = read(Keys("memory.events."), "", "low 0\noom_kill 3\n");
        assert_eq!(keys, expected(&[("memory.events.low", 0), ("memory.events.oom_kill", 3)]));
        let these = These(&[("oom_kill", "memory.events.oom_kill", 1)]);
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        assert_eq!(read(these, "", v1), expected(&[("memory.events.oom_kill", 2)]));
        let two = "8:0 rbytes=1 wbytes=2 rios=3\n8:16 rbytes=10 wbytes=20\n253:0\n";
        let sums = [("io.rbytes", 11), ("io.rios", 3), ("io.wbytes", 22)];
        assert_eq!(read(Devices, "io.stat", two), expected(&sums));
        let v1 = "8:0 Read 5\n8:0 Write 6\n8:0 Sync 0\n8:0 Total 11\n8:16 Read 1\nTotal 12\n";
        let sums = [("io.rbytes", 6), ("io.wbytes", 6)];
        assert_eq!(read(Operations(["io.rbytes", "io.wbytes"]), "", v1), expected(&sums));
        let psi = "some avg10=0.00 avg60=0.00 avg300=0.00 total=77\n\
                   full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        let totals = [("io.pressure.full.total", 7), ("io.pressure.some.total", 77)];
        assert_eq!(read(Pressure, "io.pressure", psi), expected(&totals));
    }
}
