//! What a row may change: directories, owners, modes and settings of its ground.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::sweep;

/// Files whose text a row may change.
const SETTINGS: &[&str] = &[
    "pids.max",
    "cgroup.max.depth",
    "cgroup.pressure",
    "cgroup.clone_children",
    "notify_on_release",
    "memory.oom_control",
    "devices.list",
];
/// Others that a row may want to write.
const WRITTEN: &[&str] = &["devices.deny"];

/// A line for each directory and file.
pub(super) type State = BTreeMap<String, String>;

/// The files a delegatee owns, of both versions: a cgroup has those of its own.
pub(super) fn delegated() -> Vec<String> {
    let list = fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap_or_default();
    let v1 = ["cgroup.procs", "tasks"].map(str::to_owned);
    let v2 = list.lines().filter(|file| *file != "cgroup.procs").map(str::to_owned);
    v1.into_iter().chain(v2).collect()
}

/// The files of a cgroup that a row is about.
pub(super) fn files() -> Vec<String> {
    let settings = SETTINGS.iter().chain(WRITTEN).map(|file| (*file).to_owned());
    delegated().into_iter().chain(settings).collect()
}

/// Reads a directory and everything below it, or only the directory and its own files.
pub(super) fn read(top: &Path, files: &[String], below: bool) -> State {
    let mut state = State::new();
    let dirs = if below { sweep::tree(top) } else { vec![top.to_owned()] };
    for dir in dirs {
        let name = dir.strip_prefix(top).unwrap_or(&dir).display().to_string();
        for file in files {
            let path = dir.join(file);
            // What lies deeper is made and removed, but not set.
            let is_set = dir == top || dir.ends_with("kid");
            let text = match is_set && SETTINGS.contains(&file.as_str()) {
                true => fs::read_to_string(&path).unwrap_or_default(),
                false => String::new(),
            };
            state.insert(format!("{name}/{file}"), format!("{} {text:?}", owner(&path)));
        }
        state.insert(name, owner(&dir));
    }
    state
}

/// What differs, one line each.
pub(super) fn difference(before: &State, after: &State) -> Vec<String> {
    let keys = before.keys().chain(after.keys().filter(|key| !before.contains_key(*key)));
    let shown = |state: &State, key| state.get(key).cloned().unwrap_or("absent".to_owned());
    keys.filter(|key| before.get(*key) != after.get(*key))
        .map(|key| format!("{key:?}: {} -> {}", shown(before, key), shown(after, key)))
        .collect()
}

fn owner(path: &Path) -> String {
    fs::symlink_metadata(path).map_or("gone".to_owned(), |stat| {
        format!("{}:{} {:04o}", stat.uid(), stat.gid(), stat.mode() & 0o7777)
    })
}
