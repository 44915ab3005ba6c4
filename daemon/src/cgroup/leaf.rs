//! Leaves of the daemon's side in a managed root. On v2 a cgroup with processes cannot enable
//! controllers for its children, so whoever has to be at the managed root stays below it.

use nix::errno::Errno;

use super::{Dir, Layout, Version};

/// The daemon's own leaf.
pub const LEAF: &str = ".cgroupd";
/// The leaf of the process that holds a delegated unit of systemd while the daemon is away.
pub const HOLDER: &str = ".holder";

impl Dir {
    /// Moves the process `pid` to the child `leaf`, which is made when missing.
    ///
    /// # Errors
    /// What the kernel answers to `mkdir(2)` or the write to `cgroup.procs`.
    pub fn put_in_leaf(&self, leaf: &str, pid: u32) -> nix::Result<()> {
        match self.make(leaf) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
        self.open(leaf)?.write("cgroup.procs", &pid.to_string())
    }
}

impl Layout {
    /// Whether a process with this `/proc/PID/cgroup` is the holder of the managed root.
    pub fn holds(&self, cgroups: &[u8]) -> bool {
        let line = cgroups.split(|byte| *byte == b'\n').find_map(|l| l.strip_prefix(b"0::"));
        let path = line.and_then(|path| std::str::from_utf8(path).ok());
        let v2 = self.hierarchies.iter().find(|h| h.version == Version::V2);
        let root = v2.map(|h| format!("{}/{}", h.mounted, h.root_path));
        path.zip(root).is_some_and(|(path, root)| is_holders(path, &root))
    }
}

/// Whether `path` is the holder's leaf in the managed root or in a cgroup above it: the delegated
/// unit may be either, and only root makes cgroups there.
fn is_holders(path: &str, root: &str) -> bool {
    let mut names = path.split('/').filter(|name| !name.is_empty());
    let mut above = root.split('/').filter(|name| !name.is_empty());
    names.next_back() == Some(HOLDER) && names.all(|name| above.next() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::is_holders;

    #[test]
    fn the_holder_is_at_the_managed_root_or_above() {
        for (path, root, is) in [
            ("/a/b/.holder", "/a/b", true),
            ("/a/b/.holder", "//a/b/c", true),
            ("/.holder", "//", true),
            ("/a/b/.holder", "/a", false),
            ("/a/x/.holder", "/a/b", false),
            ("/a/b/.holder/x", "/a/b", false),
            ("/a/b", "/a/b", false),
        ] {
            assert_eq!(is_holders(path, root), is, "{path} {root}");
        }
    }
}
