//! The files that tell of events, and what v1 has in their place.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use nix::errno::Errno;

use crate::cgroup::{Dir, Version, below};

/// Where events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// `populated` and `frozen`: `cgroup.events`; on v1 the processes and `freezer.state`.
    Cgroup,
    /// `memory.events`; on v1 `oom_kill` of `memory.oom_control`.
    Memory,
    /// `max`: `pids.events`, the same on both.
    Pids,
}

impl Source {
    /// The file that whoever wants to know must be allowed to read.
    pub fn file(self, version: Version) -> &'static str {
        match (self, version) {
            (Self::Cgroup, Version::V2) => "cgroup.events",
            (Self::Cgroup, Version::V1) => "cgroup.procs",
            (Self::Memory, Version::V2) => "memory.events",
            (Self::Memory, Version::V1) => "memory.oom_control",
            (Self::Pids, _) => "pids.events",
        }
    }
}

/// The values of a source, by name.
///
/// # Errors
/// What the kernel answers to reading: ENOENT where there is no such file, ENODEV when the cgroup
/// is gone.
pub fn counters(dir: &Dir, version: Version, source: Source) -> nix::Result<BTreeMap<String, u64>> {
    if (source, version) == (Source::Cgroup, Version::V1) {
        return v1_states(dir);
    }
    Ok(parse(&dir.read(source.file(version))?))
}

fn parse(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

fn v1_states(dir: &Dir) -> nix::Result<BTreeMap<String, u64>> {
    let mut states = BTreeMap::from([("populated".to_owned(), u64::from(is_populated(dir)?))]);
    match dir.read("freezer.state") {
        Ok(state) => drop(states.insert("frozen".to_owned(), u64::from(state.trim() == "FROZEN"))),
        Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno),
    }
    Ok(states)
}

/// Whether there is a process in it or below.
fn is_populated(top: &Dir) -> nix::Result<bool> {
    let mut populated = !top.read("cgroup.procs")?.is_empty();
    if !populated && top.has_children()? {
        below(top, |_, _, dir| {
            populated = dir.read("cgroup.procs").is_ok_and(|text| !text.is_empty());
            Ok(if populated { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    }
    Ok(populated)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn what_is_no_number_is_passed_over() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\nodd\nmax x\n";
        let parsed = parse(text);
        assert_eq!(parsed.get("oom_kill"), Some(&3));
        assert_eq!(parsed.len(), 3);
    }
}
