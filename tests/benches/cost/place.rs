//! The cgroups of one run: all below one of its own, in every hierarchy, and gone at the end.

use std::fs;
use std::io;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

/// Where a v1 hierarchy is mounted.
pub(crate) fn mount_of(controller: &str) -> Option<PathBuf> {
    v1_mounts()
        .into_iter()
        .find(|(_, options)| options.iter().any(|o| o == controller))
        .map(|m| m.0)
}

/// Where calls that name no controllers look: the hierarchies of controllers, and cgroup2.
pub(crate) fn controller_mounts() -> Vec<PathBuf> {
    let is_named = |options: &[String]| options.iter().any(|option| option.starts_with("name="));
    let looked_in = |kind: &str, options: &[String]| match kind {
        "cgroup2" => true,
        kind => kind == "cgroup" && !is_named(options),
    };
    mounts().filter(|(_, kind, options)| looked_in(kind, options)).map(|mount| mount.0).collect()
}

fn v1_mounts() -> Vec<(PathBuf, Vec<String>)> {
    mounts()
        .filter(|(_, kind, _)| kind == "cgroup")
        .map(|(point, _, options)| (point, options))
        .collect()
}

fn mounts() -> impl Iterator<Item = (PathBuf, String, Vec<String>)> {
    let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let parse = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?.into(), fields.next()?.to_owned());
        Some((point, kind, fields.next()?.split(',').map(str::to_owned).collect()))
    };
    text.lines().filter_map(parse).collect::<Vec<_>>().into_iter()
}

/// The managed root of the daemon that is measured. Dropping it removes it everywhere, with
/// whatever is left below.
#[derive(Debug)]
pub(crate) struct Place {
    /// Its name.
    pub(crate) root: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { root: format!("cgroupd-test-bench-{}", std::process::id()) }
    }

    /// The directory of `path` in one v1 hierarchy.
    pub(crate) fn dir(&self, controller: &str, path: &str) -> PathBuf {
        let mount = mount_of(controller).unwrap_or_default();
        mount.join(&self.root).join(path)
    }

    /// Makes a cgroup that belongs to `uid`, its parents included.
    pub(crate) fn make(&self, controller: &str, path: &str, uid: u32) -> io::Result<PathBuf> {
        let dir = self.dir(controller, path);
        fs::create_dir_all(&dir)?;
        for path in [dir.clone(), dir.join("cgroup.procs"), dir.join("tasks")] {
            chown(path, Some(uid), Some(uid))?;
        }
        Ok(dir)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for (point, kind, _) in mounts() {
            if kind.starts_with("cgroup") {
                let root = point.join(&self.root);
                if root.is_dir()
                    && let Err(error) = remove(&root)
                {
                    eprintln!("cannot remove {}: {error}", root.display());
                }
            }
        }
    }
}

/// Removes a cgroup and what is below it. A memory cgroup that was just emptied is busy for a
/// moment.
pub(crate) fn remove(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    for _ in 0..50 {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            result => return result,
        }
    }
    fs::remove_dir(dir)
}
