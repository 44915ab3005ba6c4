//! Which hierarchies this host has and where: read once from mountinfo, opened once.
//!
//! A hierarchy is its mount, whatever it is called and wherever it lies; co-mounted
//! controllers share one, `name=` hierarchies have none, cgroup2 is one.

use std::path::PathBuf;
use std::sync::Arc;

use cgroupd_proto::{CONTROLLERS, CgroupPath, PathError};
use nix::errno::Errno;

use super::mounts::{self, Mount};
use super::{Dir, inherit_cpuset};

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
    /// The managed root's name is not a cgroup path.
    #[error("the managed root: {0}")]
    Root(#[from] PathError),
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
    /// Reads mountinfo, opens every hierarchy, and makes the managed root where it is missing.
    ///
    /// # Errors
    /// No hierarchy at all, or one that cannot be opened.
    pub fn detect(root: &str) -> Result<Self, LayoutError> {
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let root = CgroupPath::parse(root)?;
        let mut hierarchies = Vec::new();
        let chosen = mounts::choose(mounts::parse(&text));
        // systemd alone writes what lies above a delegated part, and beside v1 nobody waits for
        // the few controllers that are left over.
        let is_ours = !runs_systemd()
            && chosen.iter().all(|m| m.is_v2 || m.controllers(CONTROLLERS).is_empty());
        for mount in chosen {
            hierarchies.extend(Hierarchy::open(mount, &root, is_ours)?);
        }
        if runs_systemd() {
            hierarchies = leave_to_systemd(hierarchies);
        }
        if hierarchies.is_empty() { Err(LayoutError::Nothing) } else { Ok(Self { hierarchies }) }
    }

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

impl Hierarchy {
    /// Opens a mounted hierarchy; `None` for one that is hidden by another mount or has nothing
    /// to manage (unknown controllers).
    fn open(mount: Mount, root: &CgroupPath, is_ours: bool) -> Result<Option<Self>, LayoutError> {
        let kernel = |what: &str| {
            let (what, mount) = (what.to_owned(), mount.point.clone());
            move |errno| LayoutError::Kernel { what, mount, errno }
        };
        let top = Dir::open_mount(&mount.point).map_err(kernel("open"))?;
        if !is_on(&top, &mount.device) {
            return Ok(None);
        }
        let (version, controllers, label) = match mount.is_v2 {
            true => (Version::V2, available(&top), "unified".to_owned()),
            false => (Version::V1, mount.controllers(CONTROLLERS), mount.label(CONTROLLERS)),
        };
        if label.is_empty() {
            return Ok(None);
        }
        let is_cpuset = version == Version::V1 && controllers.iter().any(|c| c == "cpuset");
        let (managed, made) = make_root(&top, root, is_cpuset)
            .map_err(kernel(&format!("make the managed root {root}")))?;
        if made && is_ours && version == Version::V2 {
            enable_down_to(&top, root, &controllers);
        }
        Ok(Some(Self {
            version,
            implied: version == Version::V2 || !controllers.is_empty(),
            label,
            controllers,
            mounted: mount.root,
            root: Arc::new(managed),
            root_path: root.components().join("/"),
            mount: mount.point,
            top,
        }))
    }

    /// The names from the managed root down to `dir`, where it is now.
    ///
    /// # Errors
    /// ENOENT when it was removed or lies elsewhere.
    pub fn names_of(&self, dir: &Dir) -> nix::Result<Vec<String>> {
        let place = dir.place()?;
        let below = place.strip_prefix(self.root.place()?).map_err(|_| Errno::ENOENT)?;
        Ok(below.iter().map(|name| name.to_string_lossy().into_owned()).collect())
    }

    /// Whether this is the v1 hierarchy of `controller`.
    pub fn is_v1_of(&self, controller: &str) -> bool {
        self.version == Version::V1 && self.controllers.iter().any(|c| c == controller)
    }
}

/// Whether a directory lies on the device mountinfo named.
fn is_on(dir: &Dir, device: &str) -> bool {
    use nix::sys::stat::{major, minor};
    dir.id().is_ok_and(|id| format!("{}:{}", major(id.device), minor(id.device)) == device)
}

/// What the v2 root offers; controllers held by v1 are not in it.
fn available(top: &Dir) -> Vec<String> {
    let text = top.read("cgroup.controllers").unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// The managed root, and whether it had to be made.
fn make_root(top: &Dir, root: &CgroupPath, is_cpuset: bool) -> nix::Result<(Dir, bool)> {
    let (mut dir, mut made) = (top.try_clone()?, false);
    for name in root.components() {
        match dir.make(name) {
            Ok(()) => made = true,
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
        let child = dir.open(name)?;
        if is_cpuset {
            inherit_cpuset(&dir, &child)?;
        }
        dir = child;
    }
    Ok((dir, made))
}

/// Gives a new managed root the controllers there are. Each by itself: one that cannot be enabled
/// (cpu beside real-time processes, any above processes) does not keep the others away.
fn enable_down_to(top: &Dir, root: &CgroupPath, controllers: &[String]) {
    for depth in 0..root.components().len() {
        let Ok(dir) = top.open(root.components()[..depth].join("/")) else { return };
        for controller in controllers {
            if let Err(errno) = dir.write("cgroup.subtree_control", &format!("+{controller}")) {
                tracing::debug!(%controller, depth, %errno, "not enabled above the managed root");
            }
        }
    }
}

/// Whether systemd is pid 1, by its documented sign (`sd_booted(3)`).
fn runs_systemd() -> bool {
    std::path::Path::new("/run/systemd/system").is_dir()
}

/// systemd writes its named hierarchy, and cgroup2 on hybrid hosts, alone.
fn leave_to_systemd(hierarchies: Vec<Hierarchy>) -> Vec<Hierarchy> {
    let hybrid = hierarchies.iter().any(|h| h.version == Version::V1);
    let mine = |h: &Hierarchy| match h.version {
        Version::V1 => !h.controllers.is_empty(),
        Version::V2 => !hybrid,
    };
    hierarchies.into_iter().filter(mine).collect()
}
