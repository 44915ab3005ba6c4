//! Which hierarchies this host has and where: read once from mountinfo, opened once.
//!
//! A hierarchy is its mount, whatever it is called and wherever it lies; co-mounted
//! controllers share one, `name=` hierarchies have none, cgroup2 is one.

use std::path::PathBuf;
use std::sync::Arc;

use nix::errno::Errno;

use super::Dir;

/// The interface generation of a hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// cgroup v1.
    V1,
    /// cgroup v2.
    V2,
}

/// What kind of host this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutKind {
    /// v1 hierarchies only.
    Legacy,
    /// v1 hierarchies and cgroup2.
    Hybrid,
    /// cgroup2 only.
    Unified,
}

/// One mounted hierarchy.
#[derive(Debug)]
pub struct Hierarchy {
    /// v1 or v2.
    pub version: Version,
    /// As in `/proc/PID/cgroup`: `memory`, `cpu,cpuacct`, `name=systemd`; `unified` for v2.
    pub label: String,
    /// Its controllers: the co-mounted ones, or what the v2 root offers.
    pub controllers: Vec<String>,
    /// Whether calls that name no controllers mean this one too.
    pub implied: bool,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The cgroup that is mounted there: `/` but for bind mounts of a subtree.
    pub mounted: String,
    /// The mount's root directory.
    pub top: Dir,
    /// The managed root: outside it the daemon never acts.
    pub root: Arc<Dir>,
    /// The managed root's path below `top`, without a leading `/`; empty when it is `top`.
    pub root_path: String,
}

/// All hierarchies, in the order of mountinfo.
#[derive(Debug)]
pub struct Layout {
    /// The hierarchies.
    pub hierarchies: Vec<Hierarchy>,
}

/// Why the layout cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// No cgroup file system is mounted.
    #[error("no cgroup hierarchy is mounted; mount cgroup2 on /sys/fs/cgroup")]
    Nothing,
    /// The kernel refused something while opening a hierarchy.
    #[error("{mount}: cannot {what}: {errno}", mount = mount.display())]
    Kernel {
        /// What was attempted.
        what: String,
        /// The hierarchy's mount point.
        mount: PathBuf,
        /// What the kernel answered.
        errno: Errno,
    },
}

impl Layout {
    /// `legacy`, `hybrid` or `unified`.
    pub fn kind(&self) -> LayoutKind {
        let v1 = self.hierarchies.iter().any(|h| h.version == Version::V1);
        let v2 = self.hierarchies.iter().any(|h| h.version == Version::V2);
        match (v1, v2) {
            (true, true) => LayoutKind::Hybrid,
            (false, true) => LayoutKind::Unified,
            _ => LayoutKind::Legacy,
        }
    }

    /// The hierarchy that has `controller` (or is called so: `name=x`, `unified`).
    pub fn find(&self, controller: &str) -> Option<usize> {
        self.hierarchies
            .iter()
            .position(|h| h.controllers.iter().any(|c| c == controller) || h.label == controller)
    }
}

impl LayoutKind {
    /// The wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Hybrid => "hybrid",
            Self::Unified => "unified",
        }
    }
}
