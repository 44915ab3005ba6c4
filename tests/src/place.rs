//! Where test cgroups are made: at the hierarchies' roots or, where those belong to systemd,
//! below a delegated unit that the tests were started in.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::hierarchies::{self, Hierarchy, Version};
use crate::sweep;

/// The variable: the absolute path of the cgroup below which tests make theirs.
pub const VARIABLE: &str = "CGROUPD_TEST_ROOT";

/// Where the tests' own processes go that were started in it: a cgroup with processes can give
/// its children no controllers.
const LEAF: &str = ".tests";

/// What the path of every test cgroup starts with: empty, or the cgroup and a `/`, without a
/// leading one.
///
/// # Panics
/// When the processes in the cgroup cannot be moved to a leaf of it.
pub fn prefix() -> &'static str {
    static PREFIX: OnceLock<String> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let given = std::env::var(VARIABLE).unwrap_or_default();
        let names = given.trim_matches('/');
        if names.is_empty() {
            return String::new();
        }
        let v2 = hierarchies::all().iter().find(|hierarchy| hierarchy.version == Version::V2);
        v2.into_iter().for_each(|hierarchy| clear(&hierarchy.mount.join(names)));
        format!("{names}/")
    })
}

/// The managed root that holds all test cgroups.
pub fn root() -> String {
    format!("/{}", prefix().trim_end_matches('/'))
}

/// The directory in which test cgroups are made.
pub fn dir(hierarchy: &Hierarchy) -> PathBuf {
    hierarchy.mount.join(prefix())
}

fn clear(dir: &std::path::Path) {
    let inside = sweep::procs(dir);
    let leaf = dir.join(LEAF);
    if !inside.is_empty() && !leaf.is_dir() {
        std::fs::create_dir(&leaf).expect("the cgroup for tests belongs to them");
    }
    for pid in inside {
        // It may have ended by itself.
        let moved = std::fs::write(leaf.join("cgroup.procs"), pid.to_string());
        let alive = std::path::Path::new(&format!("/proc/{pid}")).exists();
        assert!(moved.is_ok() || !alive, "cannot move {pid} to {}: {moved:?}", leaf.display());
    }
}
