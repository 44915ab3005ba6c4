//! Cgroups of a test's own, the same path in every hierarchy. When the guard is dropped their
//! processes are killed and they are removed.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::hierarchies::{self, Hierarchy, Version};
use crate::place;
use crate::sweep;

/// What all names of test cgroups start with.
pub const PREFIX: &str = "cgroupd-test-";

/// A cgroup called `cgroupd-test-SUITE-PID-N` in every hierarchy, made by the test as root, at
/// the hierarchy's root or where [`place`] says.
#[derive(Debug)]
pub struct Cgroups {
    name: String,
}

impl Cgroups {
    /// Makes it.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn new(suite: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let cgroups = Self {
            name: format!("{}{PREFIX}{suite}-{}-{number}", place::prefix(), std::process::id()),
        };
        for hierarchy in hierarchies::all() {
            enable_all(hierarchy);
            mkdir(hierarchy, &cgroups.dir(hierarchy, ""));
        }
        cgroups
    }

    /// The absolute path, as `--root` takes it.
    pub fn path(&self) -> String {
        format!("/{}", self.name)
    }

    /// Where `path` is in one hierarchy; a leading `/` is the guard's own cgroup.
    pub fn dir(&self, hierarchy: &Hierarchy, path: &str) -> PathBuf {
        hierarchy.mount.join(&self.name).join(path.trim_start_matches('/'))
    }

    /// Moves a process to `path` in every implied hierarchy where it exists.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn put_where_it_is(&self, path: &str, pid: i32) {
        let there = hierarchies::implied().filter(|hierarchy| self.dir(hierarchy, path).is_dir());
        there.for_each(|hierarchy| self.put_in(hierarchy, path, pid));
    }

    /// Makes `path`, whose parent exists, in every implied hierarchy, as root.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn make(&self, path: &str) {
        hierarchies::implied().for_each(|hierarchy| self.make_in(hierarchy, path));
    }

    /// Makes `path` in one hierarchy.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn make_in(&self, hierarchy: &Hierarchy, path: &str) {
        mkdir(hierarchy, &self.dir(hierarchy, path));
    }

    /// Hands `path` over in every implied hierarchy where it exists: the directory and the files
    /// a delegatee owns, no limits.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn give(&self, path: &str, uid: u32, gid: u32) {
        for hierarchy in hierarchies::implied() {
            let dir = self.dir(hierarchy, path);
            if dir.is_dir() {
                give(&dir, uid, gid);
            }
        }
    }

    /// Makes `path` and hands it over.
    pub fn make_for(&self, path: &str, uid: u32) {
        self.make(path);
        self.give(path, uid, uid);
    }

    /// The labels of the hierarchies in which `path` exists.
    pub fn places(&self, path: &str) -> Vec<&'static str> {
        let there = |hierarchy: &&Hierarchy| self.dir(hierarchy, path).is_dir();
        hierarchies::all().iter().filter(there).map(|h| h.label.as_str()).collect()
    }

    /// Whether `path` exists in all implied hierarchies and in no other.
    pub fn is_everywhere(&self, path: &str) -> bool {
        self.places(path) == labels(hierarchies::implied())
    }

    /// Whether `path` exists in no hierarchy.
    pub fn is_nowhere(&self, path: &str) -> bool {
        self.places(path).is_empty()
    }

    /// The processes in `path` in one hierarchy.
    pub fn procs(&self, hierarchy: &Hierarchy, path: &str) -> Vec<i32> {
        sweep::procs(&self.dir(hierarchy, path))
    }

    /// Whether the process is in `path` in every implied hierarchy where that exists.
    pub fn all_hold(&self, path: &str, pid: i32) -> bool {
        let mut there = hierarchies::implied().filter(|h| self.dir(h, path).is_dir()).peekable();
        there.peek().is_some() && there.all(|h| self.procs(h, path).contains(&pid))
    }

    /// Puts a process into `path` in every implied hierarchy, as root.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn put(&self, path: &str, pid: i32) {
        for hierarchy in hierarchies::implied() {
            self.put_in(hierarchy, path, pid);
        }
    }

    /// Puts a process into `path` in one hierarchy, as root.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn put_in(&self, hierarchy: &Hierarchy, path: &str, pid: i32) {
        let file = self.dir(hierarchy, path).join("cgroup.procs");
        let result = fs::write(&file, pid.to_string());
        result.unwrap_or_else(|error| panic!("put {pid} into {}: {error}", file.display()));
    }

    /// An interface file's text, as root reads it.
    ///
    /// # Panics
    /// When it is not there.
    pub fn read(&self, hierarchy: &Hierarchy, path: &str, file: &str) -> String {
        let file = self.dir(hierarchy, path).join(file);
        let text = fs::read_to_string(&file);
        text.unwrap_or_else(|error| panic!("read {}: {error}", file.display())).trim().to_owned()
    }

    /// Writes an interface file as root.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn write(&self, hierarchy: &Hierarchy, path: &str, file: &str, value: &str) {
        let file = self.dir(hierarchy, path).join(file);
        let result = fs::write(&file, value);
        result.unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
    }

    /// Owner, group and mode of a file in `path`; of the directory when `file` is empty.
    ///
    /// # Panics
    /// When it is not there.
    pub fn owner(&self, hierarchy: &Hierarchy, path: &str, file: &str) -> (u32, u32, u32) {
        let file = self.dir(hierarchy, path).join(file);
        let stat = fs::metadata(&file);
        let stat = stat.unwrap_or_else(|error| panic!("stat {}: {error}", file.display()));
        (stat.uid(), stat.gid(), stat.mode() & 0o7777)
    }

    /// Changes the mode of `path`'s directory in every implied hierarchy, as root.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn chmod(&self, path: &str, mode: u32) {
        for hierarchy in hierarchies::implied() {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(self.dir(hierarchy, path), permissions).expect("our cgroup");
        }
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for hierarchy in hierarchies::all() {
            let result = sweep::remove(&self.dir(hierarchy, ""));
            match result {
                Err(error) if !std::thread::panicking() => panic!("left behind: {error}"),
                Err(error) => eprintln!("left behind: {error}"),
                Ok(()) => {}
            }
        }
    }
}

/// The labels of some hierarchies.
pub fn labels(hierarchies: impl Iterator<Item = &'static Hierarchy>) -> Vec<&'static str> {
    hierarchies.map(|hierarchy| hierarchy.label.as_str()).collect()
}

/// Hands a directory over as an administrator would.
///
/// # Panics
/// When the kernel refuses.
pub fn give(dir: &Path, uid: u32, gid: u32) {
    let list = fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap_or_default();
    let v1 = ["cgroup.procs", "tasks"];
    let v2 = dir.join("cgroup.controllers").exists();
    let files: Vec<&str> = if v2 { list.lines().collect() } else { v1.to_vec() };
    let there = files.iter().map(|file| dir.join(file)).filter(|file| file.exists());
    for path in there.chain([dir.to_owned()]) {
        chown(&path, Some(uid), Some(gid)).expect("root may change owners");
    }
}

/// Makes a cgroup; a v1 cpuset takes over its parent's resources, or nothing could enter it.
fn mkdir(hierarchy: &Hierarchy, dir: &Path) {
    fs::create_dir(dir).unwrap_or_else(|error| panic!("mkdir {}: {error}", dir.display()));
    if hierarchy.is_v1_of("cpuset") {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let parents = dir.parent().expect("below a mount").join(file);
            let value = fs::read_to_string(parents).expect("a cpuset");
            fs::write(dir.join(file), value.trim()).expect("a new cpuset");
        }
    }
}

/// What tests use of v2 beside v1, as far as v1 leaves it to v2; the rest stays as it was found.
const BESIDE_V1: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// On a pure v2 host test cgroups get every controller that the root has.
fn enable_all(hierarchy: &Hierarchy) {
    if hierarchy.version == Version::V1 {
        return;
    }
    let dir = place::dir(hierarchy);
    let hybrid = hierarchies::all().iter().any(|h| h.version == Version::V1);
    let there = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    let wanted = |controller: &&str| !hybrid || BESIDE_V1.contains(controller);
    for controller in there.split_ascii_whitespace().filter(wanted) {
        let file = dir.join("cgroup.subtree_control");
        // One that cannot be enabled, like cpu beside real-time processes, stays away.
        let _: io::Result<()> = fs::write(file, format!("+{controller}"));
    }
}
