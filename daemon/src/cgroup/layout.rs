//! Which hierarchies this host has and where: read once from mountinfo, opened once.
//!
//! A hierarchy is its mount, whatever it is called and wherever it lies; co-mounted
//! controllers share one, `name=` hierarchies have none, cgroup2 is one.

use std::path::PathBuf;
use std::sync::Arc;

use cgroupd_proto::{CONTROLLERS, CgroupPath, PathError};
use nix::errno::Errno;

use super::handle::errno_of;
use super::mounts::{self, Mount};
use super::systemd::{self, NotDelegated};
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
    #[error(
        "no cgroup hierarchy is mounted where it can be reached; mount cgroup2 on \
         /sys/fs/cgroup, or unmount what is mounted over it"
    )]
    Nothing,
    /// The managed root's name is not a cgroup path.
    #[error("the managed root: {0}")]
    Root(#[from] PathError),
    /// systemd owns the tree and has not handed this part over.
    #[error(
        "systemd owns the cgroup tree of this host, and {root} is in no part that it has \
         delegated: {why}\n\
         hint: start cgroupd-tree.service and leave `root` out of the configuration, or set it \
         to the cgroup of a unit that has Delegate=yes"
    )]
    NotDelegated {
        /// The managed root.
        root: CgroupPath,
        /// What is wrong with it.
        why: NotDelegated,
    },
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
    /// The managed root where none is configured: the hierarchies' own root or, where systemd
    /// owns that on v2, the cgroup of the unit that is packaged for it.
    ///
    /// # Errors
    /// mountinfo cannot be read.
    pub fn default_root() -> Result<&'static str, LayoutError> {
        let owned = systemd::runs() && usable_mounts()?.iter().any(|mount| mount.is_v2);
        Ok(if owned { systemd::TREE } else { "/" })
    }

    /// Reads mountinfo, opens every hierarchy that can be reached, and makes the managed root
    /// where it is missing.
    ///
    /// # Errors
    /// No hierarchy that can be reached, or one that cannot be opened; on v2 under systemd a managed root
    /// that it has not delegated: nothing is made then.
    pub fn detect(root: &str) -> Result<Self, LayoutError> {
        let root = CgroupPath::parse(root)?;
        let mut hierarchies = Vec::new();
        let mounts = mounts::choose(usable_mounts()?).map_err(unreadable("open"))?;
        for (mount, top) in mounts {
            hierarchies.extend(Hierarchy::open(mount, top, &root)?);
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
    /// Takes a mounted hierarchy; `None` for one that has nothing to manage (unknown
    /// controllers).
    fn open(mount: Mount, top: Dir, root: &CgroupPath) -> Result<Option<Self>, LayoutError> {
        let kernel = |what: &str| {
            let (what, mount) = (what.to_owned(), mount.point.clone());
            move |errno| LayoutError::Kernel { what, mount, errno }
        };
        let (version, label) = match mount.is_v2 {
            true => (Version::V2, "unified".to_owned()),
            false => (Version::V1, mount.label(CONTROLLERS)),
        };
        if label.is_empty() {
            return Ok(None);
        }
        let v1 = mount.controllers(CONTROLLERS);
        let is_cpuset = !mount.is_v2 && v1.iter().any(|c| c == "cpuset");
        let ours_from = if mount.is_v2 { ours_from(&top, root)? } else { 0 };
        let (managed, made) = make_root(&top, root, is_cpuset)
            .map_err(kernel(&format!("make the managed root {root}")))?;
        if made && mount.is_v2 {
            enable_down_to(&top, root, ours_from).map_err(kernel("read the mounts beside"))?;
        }
        let controllers = match mount.is_v2 {
            false => v1,
            // systemd keeps some for itself; elsewhere what is not enabled down to here can be.
            true => available(if ours_from > 0 { &managed } else { &top })
                .map_err(kernel("read cgroup.controllers"))?,
        };
        let implied = mount.is_v2 || !controllers.is_empty();
        let (root, root_path) = (Arc::new(managed), root.components().join("/"));
        let (mounted, mount) = (mount.root, mount.point);
        let it =
            Self { version, implied, label, controllers, mounted, root, root_path, mount, top };
        Ok(Some(it))
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

    /// The names from the hierarchy's root down to the managed root.
    pub fn base(&self) -> Vec<String> {
        [names_in(&self.mounted), names_in(&self.root_path)].concat()
    }

    /// Whether it is v1's of `net_cls` or `net_prio`, and of nothing else.
    pub fn is_of_network_classes(&self) -> bool {
        let classes = ["net_cls", "net_prio"];
        let is_one = |controller: &String| classes.contains(&controller.as_str());
        !self.controllers.is_empty() && self.controllers.iter().all(is_one)
    }

    /// Whether this is the v1 hierarchy of `controller`.
    pub fn is_v1_of(&self, controller: &str) -> bool {
        self.version == Version::V1 && self.controllers.iter().any(|c| c == controller)
    }
}

#[cfg(test)]
impl Hierarchy {
    /// One that is not mounted, for what does not look into it.
    pub(crate) fn pretended(version: Version, label: &str, controllers: &[&str]) -> Self {
        let dir = || Dir::open_mount(std::path::Path::new("/")).unwrap();
        Self {
            version,
            label: label.to_owned(),
            controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
            implied: true,
            mount: "/".into(),
            mounted: "/".to_owned(),
            top: dir(),
            root: Arc::new(dir()),
            root_path: String::new(),
        }
    }
}

/// The names of a path, from the top down.
pub fn names_in(path: &str) -> Vec<String> {
    path.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The cgroup of this process on cgroup2: its path below the mount, and the directory.
///
/// # Errors
/// ENOENT when cgroup2 is not mounted, or the process is outside of what is.
pub fn own_cgroup() -> nix::Result<(String, Dir)> {
    let (path, top) = own_path()?;
    let dir = top.open(path.trim_start_matches('/'))?;
    Ok((path, dir))
}

/// As [`own_cgroup`], with the mount's root directory.
pub(super) fn own_path() -> nix::Result<(String, Dir)> {
    let mounts = mounts::choose(mounts::read()?.into_iter().filter(|m| m.is_v2).collect())?;
    let (mount, top) = mounts.into_iter().next().ok_or(Errno::ENOENT)?;
    let text = std::fs::read_to_string("/proc/self/cgroup").map_err(errno_of)?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::")).ok_or(Errno::ENOENT)?;
    let below = path.strip_prefix(mount.root.trim_end_matches('/')).ok_or(Errno::ENOENT)?;
    Ok((below.to_owned(), top))
}

/// What a v2 cgroup offers; controllers held by v1 are not in it.
fn available(cgroup: &Dir) -> nix::Result<Vec<String>> {
    let text = cgroup.read("cgroup.controllers")?;
    Ok(text.split_ascii_whitespace().map(str::to_owned).collect())
}

/// The mounts of hierarchies that are not systemd's alone. What can be reached is a matter of
/// later: a v1 hierarchy that is hidden makes the host a hybrid one all the same.
fn usable_mounts() -> Result<Vec<Mount>, LayoutError> {
    let mounts = mounts::read().map_err(unreadable("read"))?;
    Ok(if systemd::runs() { systemd::others(mounts) } else { mounts })
}

/// For `map_err`: the list of mounts, or one of them, could not be looked at.
fn unreadable(what: &str) -> impl FnOnce(Errno) -> LayoutError {
    let (what, mount) = (format!("{what} the cgroup mounts"), "/proc/self/mountinfo".into());
    move |errno| LayoutError::Kernel { what, mount, errno }
}

/// Whether no v1 hierarchy has controllers.
fn is_alone() -> nix::Result<bool> {
    let is_v2 = |mount: &Mount| mount.is_v2 || mount.controllers(CONTROLLERS).is_empty();
    Ok(mounts::read()?.iter().all(is_v2))
}

/// From which level on down a v2 managed root's way is ours to write: all of it, or what is
/// below a delegated unit.
fn ours_from(top: &Dir, root: &CgroupPath) -> Result<usize, LayoutError> {
    if !systemd::runs() {
        return Ok(0);
    }
    let not = |why| LayoutError::NotDelegated { root: root.clone(), why };
    systemd::delegated_at(top, root).map_err(not)
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

/// Beside v1 these are missed when they are on v2; nobody waits for the rest that is left over.
const MISSED: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// Gives a new managed root the controllers there are, from the level on that is ours to write.
/// Each by itself: one that cannot be enabled (cpu beside real-time processes, any above
/// processes) does not keep the others away.
fn enable_down_to(top: &Dir, root: &CgroupPath, ours_from: usize) -> nix::Result<()> {
    let alone = is_alone()?;
    let wanted = |controller: &String| alone || MISSED.contains(&controller.as_str());
    for depth in ours_from..root.components().len() {
        let dir = top.open(root.components()[..depth].join("/"))?;
        for controller in available(&dir)?.into_iter().filter(wanted) {
            if let Err(errno) = dir.write("cgroup.subtree_control", &format!("+{controller}")) {
                tracing::debug!(%controller, depth, %errno, "not enabled above the managed root");
            }
        }
    }
    Ok(())
}
