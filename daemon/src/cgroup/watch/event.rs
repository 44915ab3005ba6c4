//! The events of a cgroup and what their files say of them.
//!
//! The files are those of cgroup-v2.rst; on v1 memory.oom_control (cgroup-v1/memory.rst) and
//! freezer.state (cgroup-v1/freezer-subsystem.rst).

use std::ops::ControlFlow;

use crate::cgroup::{Dir, Version, below};
use crate::known;

/// Something that can happen to a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A process is in it, or below, where none was.
    Populated,
    /// The last process has left it and what is below.
    Empty,
    /// An allocation failed at its memory limit.
    Oom,
    /// A process was killed at its memory limit.
    OomKill,
    /// It was about to exceed memory.max.
    Max,
    /// It exceeded memory.high.
    High,
    /// All its processes are frozen.
    Frozen,
    /// They run again.
    Thawed,
    /// A fork failed at pids.max.
    PidsMax,
    /// It is gone.
    Removed,
}

/// The file an event is read from, and how it shows there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `key` in `file` turns into `value`.
    State {
        /// The interface file.
        file: &'static str,
        /// The first word of the line; empty when the file holds the value alone.
        key: &'static str,
        /// What the line says afterwards.
        value: &'static str,
    },
    /// The number behind `key` in `file` grows.
    Counter {
        /// The interface file.
        file: &'static str,
        /// The first word of the line.
        key: &'static str,
    },
    /// The cgroup's own end.
    End,
}

/// The list of a cgroup's own processes.
const MEMBERS: &str = "cgroup.procs";
/// How many cgroups below are asked for processes; where there are more they count as some.
const BELOW: usize = 1000;

/// Names on the wire, in the order of [`Event`].
const NAMES: [(Event, &str); 10] = [
    (Event::Populated, "populated"),
    (Event::Empty, "empty"),
    (Event::Oom, "oom"),
    (Event::OomKill, "oom_kill"),
    (Event::Max, "max"),
    (Event::High, "high"),
    (Event::Frozen, "frozen"),
    (Event::Thawed, "thawed"),
    (Event::PidsMax, "pids_max"),
    (Event::Removed, "removed"),
];

impl Event {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(event, _)| *event)
    }

    /// The event of this name.
    pub fn parse(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(event, _)| *event)
    }

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(event, _)| *event == self).map_or("", |(_, name)| name)
    }

    /// Where it is read, in a hierarchy of this version.
    ///
    /// # Errors
    /// Why this version cannot tell, in words.
    pub fn source(self, version: Version) -> Result<Source, &'static str> {
        match version {
            Version::V2 => Ok(self.unified()),
            Version::V1 => self.legacy(),
        }
    }

    fn unified(self) -> Source {
        let state = |key, value| Source::State { file: "cgroup.events", key, value };
        let memory = |key| Source::Counter { file: "memory.events", key };
        match self {
            Self::Populated => state("populated", "1"),
            Self::Empty => state("populated", "0"),
            Self::Frozen => state("frozen", "1"),
            Self::Thawed => state("frozen", "0"),
            Self::Oom => memory("oom"),
            Self::OomKill => memory("oom_kill"),
            Self::Max => memory("max"),
            Self::High => memory("high"),
            Self::PidsMax => Source::Counter { file: "pids.events", key: "max" },
            Self::Removed => Source::End,
        }
    }

    fn legacy(self) -> Result<Source, &'static str> {
        let freezer = |value| Source::State { file: "freezer.state", key: "", value };
        let members = |value| Source::State { file: MEMBERS, key: "", value };
        match self {
            Self::OomKill => Ok(Source::Counter { file: "memory.oom_control", key: "oom_kill" }),
            Self::PidsMax => Ok(Source::Counter { file: "pids.events", key: "max" }),
            Self::Frozen => Ok(freezer("FROZEN")),
            Self::Thawed => Ok(freezer("THAWED")),
            Self::Removed => Ok(Source::End),
            // No file says it: [`reading`] looks below.
            Self::Populated => Ok(members("1")),
            Self::Empty => Ok(members("0")),
            Self::Oom | Self::Max => Err("v1 counts only the processes it killed"),
            Self::High => Err("v1 has no memory.high"),
        }
    }
}

/// What `file` of `dir` says, for [`happened`]. v1 has no file that says whether anybody is in a
/// cgroup or below: for the list of its own processes it is `1` or `0`.
///
/// # Errors
/// What the kernel answers.
pub fn reading(dir: &Dir, file: &str) -> nix::Result<String> {
    if file != MEMBERS {
        return dir.read(file);
    }
    let (mut populated, mut looked) = (!dir.read(MEMBERS)?.is_empty(), 0);
    if !populated {
        below(dir, |_, _, child| {
            looked += 1;
            populated =
                looked > BELOW || known(child.read(MEMBERS))?.is_some_and(|text| !text.is_empty());
            Ok(if populated { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    }
    Ok(u8::from(populated).to_string())
}

impl Source {
    /// The file to read and to watch; none for the cgroup's end.
    pub fn file(self) -> Option<&'static str> {
        match self {
            Self::State { file, .. } | Self::Counter { file, .. } => Some(file),
            Self::End => None,
        }
    }
}

/// Whether the event happened between two readings of its file, as far as they tell: a state that
/// was left and entered again in between is not seen. For what is counted, the kernel's count of
/// it; else 0.
pub fn happened(source: Source, before: &str, after: &str) -> Option<u64> {
    match source {
        Source::State { key, value, .. } => {
            let was = word(before, key).is_some_and(|word| word != value);
            (was && word(after, key) == Some(value)).then_some(0)
        }
        Source::Counter { key, .. } => {
            let (before, after) = (number(before, key)?, number(after, key)?);
            (after > before).then_some(after)
        }
        Source::End => None,
    }
}

fn number(text: &str, key: &str) -> Option<u64> {
    word(text, key)?.parse().ok()
}

fn word<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    if key.is_empty() {
        return Some(text.trim());
    }
    text.lines().filter_map(|line| line.split_once(' ')).find(|(k, _)| *k == key).map(|(_, v)| v)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(event: Event) -> Source {
        event.source(Version::V2).unwrap()
    }

    #[test]
    fn names_and_events_are_one_to_one() {
        for (event, name) in NAMES {
            assert_eq!((Event::parse(name), event.name()), (Some(event), name));
        }
        assert_eq!(Event::parse("Populated"), None);
        assert_eq!(Event::parse(""), None);
    }

    #[test]
    fn a_state_happens_when_it_is_entered() {
        let (empty, full) = ("populated 0\nfrozen 0\n", "populated 1\nfrozen 0\n");
        assert_eq!(happened(v2(Event::Populated), empty, full), Some(0));
        assert_eq!(happened(v2(Event::Populated), full, full), None);
        assert_eq!(happened(v2(Event::Empty), empty, full), None);
        assert_eq!(happened(v2(Event::Empty), full, empty), Some(0));
        assert_eq!(happened(v2(Event::Thawed), empty, full), None);
        assert_eq!(happened(v2(Event::Empty), "", empty), None, "nothing is known of before");
    }

    #[test]
    fn a_counter_says_how_often_in_all() {
        let (before, after) = ("max 3\noom 1\noom_kill 1\n", "max 7\noom 1\noom_kill 2\n");
        assert_eq!(happened(v2(Event::Max), before, after), Some(7));
        assert_eq!(happened(v2(Event::Oom), before, after), None);
        assert_eq!(happened(v2(Event::OomKill), before, after), Some(2));
        assert_eq!(happened(v2(Event::Max), after, before), None, "a counter that went back");
        assert_eq!(happened(v2(Event::High), before, after), None, "a line that is not there");
    }

    #[test]
    fn v1_says_what_it_cannot_tell() {
        let frozen = Event::Frozen.source(Version::V1).unwrap();
        assert_eq!(happened(frozen, "FREEZING\n", "FROZEN\n"), Some(0));
        assert_eq!(happened(frozen, "THAWED\n", "FREEZING\n"), None);
        let killed = Event::OomKill.source(Version::V1).unwrap();
        let text = |n| format!("oom_kill_disable 0\nunder_oom 0\noom_kill {n}\n");
        assert_eq!(happened(killed, &text(0), &text(2)), Some(2));
        assert!(Event::High.source(Version::V1).is_err());
    }
}
