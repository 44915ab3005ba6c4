//! What belongs to systemd where it is pid 1. It is the only writer of its cgroups; others keep
//! to a part that it has delegated (`https://systemd.io/CGROUP_DELEGATION`), which it marks with
//! an extended attribute on the unit's cgroup.

use std::path::Path;

use cgroupd_proto::CgroupPath;
use nix::errno::Errno;
use rustix::fs::fgetxattr;

use super::Dir;
use super::layout::own_path;
use super::mounts::Mount;

/// The cgroup of the unit that is packaged for it: delegated, and held while the daemon is away.
pub const TREE: &str = "/system.slice/cgroupd-tree.service";

/// Set to `1` on a delegated unit's cgroup. Only root can set the first; the second is there for
/// those who cannot read it, and in containers, whose systemd cannot write it.
const MARKS: [&str; 2] = ["trusted.delegate", "user.delegate"];

/// The kinds of unit that have a cgroup, as the end of its name says.
const UNITS: [&str; 6] = [".service", ".scope", ".slice", ".socket", ".mount", ".swap"];

/// Why systemd's tree cannot be used at a managed root.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDelegated {
    /// It lies in no unit at all.
    #[error("it lies in no unit")]
    NoUnit,
    /// The innermost unit has no cgroup.
    #[error("{0} does not run")]
    NotRunning(String),
    /// The innermost unit is systemd's own.
    #[error("{0} has no Delegate=yes")]
    Undelegated(String),
    /// The kernel refused a look at it.
    #[error("cannot look at {0}: {1}")]
    Kernel(String, Errno),
}

/// Whether systemd is pid 1, by its documented sign (`sd_booted(3)`).
pub(crate) fn runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// The hierarchies that others may write: not its named one, nor cgroup2 beside v1, where it
/// keeps track of its processes.
pub(super) fn others(mounts: Vec<Mount>) -> Vec<Mount> {
    let hybrid = mounts.iter().any(|mount| !mount.is_v2);
    let is_free = |mount: &Mount| match mount.is_v2 {
        true => !hybrid,
        false => !mount.controllers(cgroupd_proto::CONTROLLERS).is_empty(),
    };
    mounts.into_iter().filter(is_free).collect()
}

/// How many names of `root` lead to the delegated unit in which it lies. Whatever is called like
/// a unit must be a delegated one, so that the innermost decides: below a delegated unit there
/// may be another manager with units of its own.
///
/// # Errors
/// Why it is not in one.
pub(super) fn delegated_at(top: &Dir, root: &CgroupPath) -> Result<usize, NotDelegated> {
    let names = root.components();
    let is_unit = |name: &String| UNITS.iter().any(|kind| name.ends_with(kind));
    let depth = names.iter().rposition(is_unit).ok_or(NotDelegated::NoUnit)? + 1;
    let unit = names[..depth].join("/");
    match top.open(&unit).and_then(|dir| is_delegated(&dir)) {
        Ok(true) => Ok(depth),
        Ok(false) => Err(NotDelegated::Undelegated(names[depth - 1].clone())),
        Err(Errno::ENOENT) => Err(NotDelegated::NotRunning(names[depth - 1].clone())),
        Err(errno) => Err(NotDelegated::Kernel(unit, errno)),
    }
}

/// The delegated unit that this process is in: its path below cgroup2's mount, without a leading
/// `/`, and its directory.
///
/// # Errors
/// It is in none, or the kernel refuses a look.
pub(crate) fn own_unit() -> Result<(String, Dir), NotDelegated> {
    let refused = |errno| NotDelegated::Kernel("the own cgroup".to_owned(), errno);
    let (path, top) = own_path().map_err(refused)?;
    let path = CgroupPath::parse(&path).map_err(|_| refused(Errno::EINVAL))?;
    let unit = path.components()[..delegated_at(&top, &path)?].join("/");
    let dir = top.open(&unit).map_err(refused)?;
    Ok((unit, dir))
}

/// Whether systemd has handed this cgroup, its own unit's, to somebody else.
pub(crate) fn is_delegated(unit: &Dir) -> nix::Result<bool> {
    let attributes = unit.attributes()?;
    let is_set = |mark: &&str| {
        let mut value = [0; 2];
        fgetxattr(&attributes, *mark, &mut value[..]).is_ok_and(|length| value[..length] == *b"1")
    };
    Ok(MARKS.iter().any(is_set))
}

#[cfg(test)]
mod tests {
    use super::super::mounts::parse;
    use super::*;

    #[test]
    fn its_own_hierarchies_are_left_alone() {
        let v1 = "32 31 0:29 / /c/memory rw - cgroup cgroup rw,memory\n\
                  35 31 0:37 / /c/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";
        let v2 = "41 31 0:38 / /c/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let points = |text: &str| -> Vec<String> {
            let free = others(parse(text));
            free.iter().map(|mount| mount.point.display().to_string()).collect()
        };
        assert_eq!(points(v2), ["/c/unified"]);
        assert_eq!(points(v1), ["/c/memory"]);
        assert_eq!(points(&format!("{v1}{v2}")), ["/c/memory"]);
    }

    /// `a.slice/b.service/app.slice/c.service`, and a cgroup beside the last two.
    fn units(place: &Path) -> (tempfile::TempDir, Dir) {
        let top = tempfile::tempdir_in(place).unwrap();
        for path in ["a.slice/b.service/app.slice/c.service", "a.slice/b.service/x"] {
            std::fs::create_dir_all(top.path().join(path)).unwrap();
        }
        let dir = Dir::open_mount(top.path()).unwrap();
        (top, dir)
    }

    fn at(dir: &Dir, path: &str) -> Result<usize, NotDelegated> {
        delegated_at(dir, &CgroupPath::parse(path).unwrap())
    }

    fn undelegated(unit: &str) -> Result<usize, NotDelegated> {
        Err(NotDelegated::Undelegated(unit.to_owned()))
    }

    #[test]
    fn without_a_delegated_unit_there_is_no_place() {
        let (_top, dir) = units(&std::env::temp_dir());
        for path in ["/", "/x", "/x/y"] {
            assert_eq!(at(&dir, path), Err(NotDelegated::NoUnit), "{path}");
        }
        assert_eq!(at(&dir, "/a.slice/b.service/x"), undelegated("b.service"));
        assert_eq!(at(&dir, "/n.service"), Err(NotDelegated::NotRunning("n.service".to_owned())));
    }

    /// Attributes of `user.` can be set on any directory of most file systems; tmpfs has them
    /// since Linux 6.6.
    #[test]
    fn the_innermost_unit_decides() {
        let set = |dir: &Dir, value: &[u8]| {
            let unit = dir.open("a.slice/b.service").unwrap().attributes().unwrap();
            rustix::fs::fsetxattr(&unit, MARKS[1], value, rustix::fs::XattrFlags::empty())
        };
        let places = [std::env::temp_dir(), "/var/tmp".into()];
        let found = places.iter().map(|place| units(place)).find(|(_, dir)| set(dir, b"1").is_ok());
        let (_top, dir) =
            found.expect("a directory for temporary files whose files have attributes");
        for path in ["/a.slice/b.service", "/a.slice/b.service/x", "/a.slice/b.service/new/one"] {
            assert_eq!(at(&dir, path), Ok(2), "{path}");
        }
        assert_eq!(at(&dir, "/a.slice/x"), undelegated("a.slice"));
        let inner = "/a.slice/b.service/app.slice/c.service";
        assert_eq!(at(&dir, inner), undelegated("c.service"));
        set(&dir, b"0").unwrap();
        assert_eq!(at(&dir, "/a.slice/b.service"), undelegated("b.service"));
    }
}
