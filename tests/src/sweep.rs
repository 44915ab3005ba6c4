//! Removing test cgroups, with the processes in them: those of a test that ends, and those of
//! earlier runs that were killed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cgroups::PREFIX;
use crate::hierarchies;
use crate::need::patience;
use crate::place;

/// How long the processes of a cgroup may take to die.
const PATIENCE: Duration = Duration::from_secs(10);

/// The processes directly in a cgroup; none when it is not there.
pub fn procs(dir: &Path) -> Vec<i32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Kills what is in a test cgroup and below, and removes all of it.
///
/// # Errors
/// When something lives or stays in it in spite of that.
pub fn remove(top: &Path) -> io::Result<()> {
    let end = Instant::now() + patience(PATIENCE);
    loop {
        let found = tree(top);
        found.iter().for_each(|dir| kill_all(dir));
        found.iter().for_each(|dir| thaw(dir));
        let result = found.iter().rev().try_for_each(|dir| match fs::remove_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err((dir, error)),
            _ => Ok(()),
        });
        match result {
            Ok(()) => return Ok(()),
            Err((dir, error)) if Instant::now() > end => {
                let text = format!("{}: {error}, processes {:?}", dir.display(), procs(dir));
                return Err(io::Error::other(text));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// The directory and everything below it, parents first; empty when it is not there.
pub fn tree(top: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = top.is_dir().then(|| top.to_owned()).into_iter().collect();
    let mut next = 0;
    while next < found.len() {
        let entries = fs::read_dir(&found[next]).into_iter().flatten().flatten();
        let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut dirs: Vec<PathBuf> = dirs.map(|entry| entry.path()).collect();
        dirs.sort();
        found.append(&mut dirs);
        next += 1;
    }
    found
}

fn kill_all(dir: &Path) {
    let own = std::process::id().cast_signed();
    for pid in procs(dir).into_iter().filter(|pid| *pid > 1 && *pid != own) {
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// On v1 nobody dies who is frozen.
fn thaw(dir: &Path) {
    for (file, value) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        let file = dir.join(file);
        if file.exists() {
            let _ = fs::write(file, value);
        }
    }
}

/// Removes the cgroups and directories of test runs whose process does not exist any more.
pub fn leftovers() {
    for hierarchy in hierarchies::all() {
        for dir in named(&place::dir(hierarchy), |rest| rest.rsplit('-').nth(1)) {
            if let Err(error) = remove(&dir) {
                eprintln!("cannot remove what an earlier run left: {error}");
            }
        }
    }
    for dir in named(&std::env::temp_dir(), |rest| rest.split('-').next()) {
        let _ = fs::remove_dir_all(dir);
    }
}

/// What is called `cgroupd-test-…` in `parent` after a process that is gone; `pid` finds its
/// number in the rest of the name.
fn named(parent: &Path, pid: impl Fn(&str) -> Option<&str>) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let is_leftover = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let pid = rest.and_then(&pid).and_then(|pid| pid.parse::<u32>().ok());
        pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    };
    entries.filter(is_leftover).map(|entry| entry.path()).collect()
}
