//! The state of a test's cgroups: which exist, whose they are, who is in them, and what their
//! settings say. A refused call leaves it as it was.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::cgroups::Cgroups;
use crate::hierarchies;
use crate::sweep;

/// One line of text for each directory and each file that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<String, String>);

impl Snapshot {
    /// Reads everything.
    pub fn of(cgroups: &Cgroups) -> Self {
        let mut lines = BTreeMap::new();
        for hierarchy in hierarchies::all() {
            for dir in sweep::tree(&cgroups.dir(hierarchy, "")) {
                let mut members = sweep::procs(&dir);
                members.sort_unstable();
                lines.insert(shown(&dir), format!("{} processes {members:?}", owner(&dir)));
                lines.extend(settings(&dir));
            }
        }
        Self(lines)
    }

    /// What differs in `later`, one line each.
    pub fn changes(&self, later: &Self) -> Vec<String> {
        let gone = self.0.iter().filter(|(path, _)| !later.0.contains_key(*path));
        let gone = gone.map(|(path, line)| format!("- {path} {line}"));
        let other = later.0.iter().filter(|(path, line)| self.0.get(*path) != Some(line));
        let other = other.map(|(path, line)| match self.0.get(path) {
            Some(before) => format!("! {path} {line} (was {before})"),
            None => format!("+ {path} {line}"),
        });
        gone.chain(other).collect()
    }
}

/// Runs `action` and asserts that it changed nothing.
///
/// # Panics
/// When it did.
#[track_caller]
pub fn unchanged<T>(cgroups: &Cgroups, action: impl FnOnce() -> T) -> T {
    let before = Snapshot::of(cgroups);
    let result = action();
    let changes = before.changes(&Snapshot::of(cgroups));
    assert!(changes.is_empty(), "the state has changed:\n{}", changes.join("\n"));
    result
}

/// Files whose text changes by itself, and the lists of processes, which have a line already. Not
/// `freezer.state`, which is set.
fn is_counter(name: &str) -> bool {
    const PARTS: [&str; 7] = ["usage", "failcnt", "pressure", "procs", "tasks", "threads", "peak"];
    name.ends_with("stat") || PARTS.iter().any(|part| name.contains(part))
}

fn settings(dir: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let line = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        let stat = fs::metadata(&path).ok()?;
        let is_setting = stat.mode() & 0o200 != 0 && !is_counter(&name);
        let text = is_setting.then(|| fs::read_to_string(&path).unwrap_or_default());
        Some((shown(&path), format!("{} {:?}", owner_in(&stat), text.unwrap_or_default().trim())))
    };
    files.filter_map(line).collect()
}

fn owner(path: &Path) -> String {
    fs::metadata(path).map_or_else(|_| "gone".to_owned(), |stat| owner_in(&stat))
}

fn owner_in(stat: &fs::Metadata) -> String {
    format!("{}:{} {:04o}", stat.uid(), stat.gid(), stat.mode() & 0o7777)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
