//! The cgroups of one run: all below one of its own, in every hierarchy, and gone at the end.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use cgroupd_tests::{hierarchies, place};

/// Where the hierarchy of a controller is mounted.
pub(crate) fn mount_of(controller: &str) -> Option<PathBuf> {
    hierarchies::of(controller).map(|hierarchy| hierarchy.mount.clone())
}

/// Whether a v1 hierarchy has the controller.
pub(crate) fn is_on_v1(controller: &str) -> bool {
    hierarchies::v1_of(controller).is_some()
}

/// One of these controllers for each hierarchy that they lie in.
pub(crate) fn one_of_each(controllers: &[&'static str]) -> Vec<&'static str> {
    let mut mounts = BTreeSet::new();
    controllers.iter().copied().filter(|controller| mounts.insert(mount_of(controller))).collect()
}

/// Where calls that name no controllers look: the hierarchies of controllers, and cgroup2.
pub(crate) fn implied_mounts() -> Vec<PathBuf> {
    hierarchies::implied().map(|hierarchy| hierarchy.mount.clone()).collect()
}

/// The managed root of the daemon that is measured. Dropping it removes it everywhere, with
/// whatever is left below.
#[derive(Debug)]
pub(crate) struct Place {
    /// Its path, without the leading `/`.
    pub(crate) root: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { root: format!("{}cgroupd-test-bench-{}", place::prefix(), std::process::id()) }
    }

    /// The directory of `path` in the controller's hierarchy.
    pub(crate) fn dir(&self, controller: &str, path: &str) -> PathBuf {
        let mount = mount_of(controller).unwrap_or_default();
        mount.join(&self.root).join(path)
    }

    /// Makes a cgroup that belongs to `uid`, its parents included, whose children have the
    /// controller.
    pub(crate) fn make(&self, controller: &str, path: &str, uid: u32) -> io::Result<PathBuf> {
        let mut dir = self.dir(controller, "");
        for name in [""].into_iter().chain(path.split('/')) {
            dir.push(name);
            fs::create_dir_all(&dir)?;
            if !is_on_v1(controller) {
                fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"))?;
            }
        }
        let other = if is_on_v1(controller) { "tasks" } else { "cgroup.subtree_control" };
        for path in [dir.clone(), dir.join("cgroup.procs"), dir.join(other)] {
            chown(path, Some(uid), Some(uid))?;
        }
        Ok(dir)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for hierarchy in hierarchies::all() {
            let root = hierarchy.mount.join(&self.root);
            if root.is_dir()
                && let Err(error) = remove(&root)
            {
                eprintln!("cannot remove {}: {error}", root.display());
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
