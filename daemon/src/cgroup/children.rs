//! The children of a cgroup, a few at a time in the order of their names: somebody may have made
//! 100,000 of them, with names of 4,000 bytes.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::str::from_utf8;

use cgroupd_proto::escape_name;

use super::Dir;

/// The first children of a cgroup that were asked for.
#[derive(Debug, Default)]
pub struct Few {
    /// Their names, in order.
    pub names: Vec<OsString>,
    /// Whether there are more behind them.
    pub more: bool,
}

/// The most names at a time, and the most bytes that they have together unless it is a single name.
pub(crate) const MOST_NAMES: usize = 1000;
const MOST_BYTES: usize = 32 << 10;

/// Whether a name comes after `last`; every name does where there was none.
pub fn is_after(name: &OsStr, last: Option<&OsStr>) -> bool {
    last.is_none_or(|last| compare_names(name, last).is_gt())
}

/// How names are ordered: as they are shown, in which pages of List are found again.
fn compare_names(one: &OsStr, other: &OsStr) -> Ordering {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    match (from_utf8(one), from_utf8(other)) {
        (Ok(_), Ok(_)) => one.cmp(other),
        _ => escape_name(one).cmp(&escape_name(other)).then_with(|| one.cmp(other)),
    }
}

impl Dir {
    /// The first few of its children that are `wanted`. The whole directory is read for it.
    ///
    /// # Errors
    /// EACCES without read permission.
    pub fn few_children(&self, mut wanted: impl FnMut(&OsStr) -> bool) -> nix::Result<Few> {
        let mut first = First::default();
        self.each_entry(|name, is_child| {
            if is_child && wanted(name) {
                first.offer(name);
            }
        })?;
        Ok(first.few())
    }

    /// The first few of its children whose names come after `last`, or the very first.
    ///
    /// # Errors
    /// EACCES without read permission.
    pub fn children_after(&self, last: Option<&OsStr>) -> nix::Result<Few> {
        self.few_children(|name| is_after(name, last))
    }
}

/// The smallest names that were offered.
#[derive(Debug, Default)]
struct First {
    names: BinaryHeap<Name>,
    bytes: usize,
    more: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Name(OsString);

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_names(&self.0, &other.0)
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl First {
    fn offer(&mut self, name: &OsStr) {
        if self.more && self.names.peek().is_some_and(|last| compare_names(name, &last.0).is_gt()) {
            return;
        }
        self.bytes += name.len();
        self.names.push(Name(name.to_owned()));
        while self.names.len() > MOST_NAMES || self.bytes > MOST_BYTES && self.names.len() > 1 {
            self.more = true;
            self.bytes -= self.names.pop().map_or(0, |Name(last)| last.len());
        }
    }

    fn few(self) -> Few {
        let names = self.names.into_sorted_vec().into_iter().map(|Name(name)| name).collect();
        Few { names, more: self.more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(few: &Few) -> Vec<&str> {
        few.names.iter().map(|name| name.to_str().unwrap()).collect()
    }

    #[test]
    fn all_children_are_met_once_and_compare_names() {
        let top = tempfile::tempdir().unwrap();
        for n in 0..2500 {
            std::fs::create_dir(top.path().join(format!("{n:04}"))).unwrap();
        }
        std::fs::write(top.path().join("file"), "").unwrap();
        let dir = Dir::open_mount(top.path()).unwrap();
        let (mut met, mut last) = (Vec::new(), None);
        loop {
            let few = dir.children_after(last.as_deref()).unwrap();
            assert!(few.names.len() <= MOST_NAMES);
            last = few.names.last().cloned();
            met.extend(few.names);
            if !few.more {
                break;
            }
        }
        let expected: Vec<OsString> = (0..2500).map(|n| format!("{n:04}").into()).collect();
        assert_eq!(met, expected);
    }

    #[test]
    fn long_names_are_few_at_a_time() {
        let mut first = First::default();
        for letter in ["d", "b", "c", "a"] {
            first.offer(letter.repeat(MOST_BYTES / 2).as_ref());
        }
        let few = first.few();
        assert!(few.more);
        let starts: Vec<_> = names(&few).iter().map(|name| &name[..1]).collect();
        assert_eq!(starts, ["a", "b"]);
        let mut first = First::default();
        first.offer("x".repeat(2 * MOST_BYTES).as_ref());
        let few = first.few();
        assert_eq!((few.names.len(), few.more), (1, false), "one is always taken");
    }

    #[test]
    fn names_that_are_not_utf8_are_ordered_as_they_are_shown() {
        let name = |bytes: &'static [u8]| OsStr::from_bytes(bytes);
        assert!(compare_names(name(b"\xff"), name(b"a")).is_lt(), "it is shown as \\xff");
        assert!(compare_names(name(b"\\xff"), name(b"\xff")).is_lt(), "they look the same");
        assert!(compare_names(name(b"a"), name(b"b")).is_lt());
    }
}
