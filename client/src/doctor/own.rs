//! The caller's own cgroup on cgroup2, and what the caller may do there without the daemon.

use std::{fs, path::PathBuf};

use nix::unistd::{AccessFlags, access};

use super::hierarchies::Mount;

/// Below or at the top of the mount, never outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnCgroup {
    /// As the caller sees it.
    pub(crate) path: String,
    /// Whether cgroups can be made in it.
    pub(crate) may_create: bool,
    /// Whether processes can be moved into and within it.
    pub(crate) may_move: bool,
    /// Whether controllers can be enabled for its children.
    pub(crate) may_enable: bool,
    /// Whether systemd, or who follows its rules, marked it as given away (`user.delegate`).
    pub(crate) is_marked: bool,
    /// Whether it is the root of the whole hierarchy.
    pub(crate) is_top: bool,
    /// The controllers it has.
    pub(crate) controllers: Vec<String>,
    /// The controllers its children have.
    pub(crate) enabled: Vec<String>,
    /// Processes directly in it.
    pub(crate) processes: usize,
}

/// Looks at it through a mount of cgroup2; `None` when it is not to be seen there.
pub(crate) fn look(mount: &Mount, own_cgroups: &str) -> Option<OwnCgroup> {
    let path = own_cgroups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let dir = place(mount, path)?;
    let list = |file: &str| -> Vec<String> {
        let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
        text.split_ascii_whitespace().map(str::to_owned).collect()
    };
    let writable = |file: &str| access(&dir.join(file), AccessFlags::W_OK).is_ok();
    let is_marked = ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0; 8];
        rustix::fs::getxattr(&dir, *name, &mut value).is_ok_and(|length| value[..length] == *b"1")
    });
    fs::metadata(&dir).ok().filter(fs::Metadata::is_dir)?;
    Some(OwnCgroup {
        may_create: access(&dir, AccessFlags::W_OK | AccessFlags::X_OK).is_ok(),
        may_move: writable("cgroup.procs"),
        may_enable: writable("cgroup.subtree_control"),
        is_marked,
        is_top: !dir.join("cgroup.type").exists(),
        controllers: list("cgroup.controllers"),
        enabled: list("cgroup.subtree_control"),
        processes: list("cgroup.procs").len(),
        path: path.to_owned(),
    })
}

/// Where the cgroup `path` is beneath the mount. `..` in either is outside of what can be seen.
fn place(mount: &Mount, path: &str) -> Option<PathBuf> {
    let outside = |path: &str| path.split('/').any(|name| name == "..");
    if outside(path) || outside(&mount.root) {
        return None;
    }
    let root = mount.root.trim_end_matches('/');
    let rest = path.strip_prefix(root).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
    Some(PathBuf::from(&mount.point).join(rest.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_cgroup_is_beneath_a_mount() {
        let at = |root: &str, path: &str| {
            let mount = Mount { root: root.to_owned(), point: "/m".to_owned(), ..Mount::default() };
            place(&mount, path).map(|place| place.display().to_string())
        };
        assert_eq!(at("/", "/a/b").as_deref(), Some("/m/a/b"));
        assert_eq!(at("/a", "/a/b").as_deref(), Some("/m/b"));
        assert_eq!(at("/a", "/ab"), None);
        assert_eq!(at("/", "/../other"), None);
        assert_eq!(at("/..", "/a"), None);
    }
}
