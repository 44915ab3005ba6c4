//! All cgroups below one, with one handle for each level and none for each sibling: there may
//! be more of them than a process can have descriptors, and deeper ones than a stack is long.

use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;

use nix::errno::Errno;

use super::Dir;

/// How deep it goes: a caller's own limit is far above, but what others made may lie deeper.
const DEEPEST: usize = 1000;

/// How a walk opens, lists and reads what it meets.
pub trait Reach {
    /// Opens the child `name` of `parent`.
    ///
    /// # Errors
    /// EACCES without search permission on `parent`.
    fn open(&self, parent: &Dir, name: &OsStr) -> nix::Result<Dir>;

    /// The names of a cgroup's children.
    ///
    /// # Errors
    /// EACCES without read and search permission.
    fn list(&self, dir: &Dir) -> nix::Result<Vec<OsString>>;

    /// The text of an interface file.
    ///
    /// # Errors
    /// As [`Dir::read`].
    fn read(&self, dir: &Dir, file: &str) -> nix::Result<String>;
}

/// With the rights of the thread that walks.
#[derive(Clone, Copy, Debug)]
pub struct AsThread;

impl Reach for AsThread {
    fn open(&self, parent: &Dir, name: &OsStr) -> nix::Result<Dir> {
        parent.open(name)
    }

    fn list(&self, dir: &Dir) -> nix::Result<Vec<OsString>> {
        dir.entries().map(|entries| entries.children)
    }

    fn read(&self, dir: &Dir, file: &str) -> nix::Result<String> {
        dir.read(file)
    }
}

/// A cgroup whose children are being visited.
struct Level {
    /// What its parent calls it.
    name: OsString,
    dir: Dir,
    children: std::vec::IntoIter<OsString>,
}

/// Calls `visit` with the parent, the name and the handle of every cgroup below `top`, children
/// before their parents, until it breaks. What vanishes meanwhile, or may not be opened or
/// listed, is passed over.
///
/// # Errors
/// ELOOP when there is something below `DEEPEST` levels, after all else was visited: nobody hides
/// what others have by making it; EMFILE, ENFILE, ENOMEM; what listing `top` answers, and errors of
/// `visit`.
pub fn below(
    top: &Dir,
    visit: impl FnMut(&Dir, &OsStr, &Dir) -> nix::Result<ControlFlow<()>>,
) -> nix::Result<()> {
    walk(&AsThread, &[Errno::ENOENT, Errno::ENODEV, Errno::EACCES], top, visit)
}

/// As [`below`], but what may not be opened or listed is an error: the walk sees all, or says that
/// it did not.
///
/// # Errors
/// EACCES, and as [`below`].
pub fn all_below(
    reach: &dyn Reach,
    top: &Dir,
    visit: impl FnMut(&Dir, &OsStr, &Dir) -> nix::Result<ControlFlow<()>>,
) -> nix::Result<()> {
    walk(reach, &[Errno::ENOENT, Errno::ENODEV], top, visit)
}

fn walk(
    reach: &dyn Reach,
    passed_over: &[Errno],
    top: &Dir,
    mut visit: impl FnMut(&Dir, &OsStr, &Dir) -> nix::Result<ControlFlow<()>>,
) -> nix::Result<()> {
    let children = reach.list(top)?.into_iter();
    let mut levels = vec![Level { name: OsString::new(), dir: top.try_clone()?, children }];
    let mut deeper = false;
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.children.next() {
            let child = enter(reach, passed_over, &level.dir, name)?;
            match levels.len() > DEEPEST {
                true => deeper |= child.is_some(),
                false => levels.extend(child),
            }
        } else if let (Some(Level { name, dir, .. }), Some(parent)) = (levels.pop(), levels.last())
            && visit(&parent.dir, &name, &dir)?.is_break()
        {
            return Ok(());
        }
    }
    if deeper { Err(Errno::ELOOP) } else { Ok(()) }
}

/// A child to be walked; `None` for one that is passed over. One whose children may not be listed is
/// visited all the same.
fn enter(
    reach: &dyn Reach,
    passed_over: &[Errno],
    parent: &Dir,
    name: OsString,
) -> nix::Result<Option<Level>> {
    let Some(dir) = unless(passed_over, reach.open(parent, &name))? else { return Ok(None) };
    // Most have no children, and a look at the directory is dearer than one at its links.
    let children = match unless(passed_over, dir.has_children())? {
        Some(true) => unless(passed_over, reach.list(&dir))?.unwrap_or_default(),
        _ => Vec::new(),
    };
    Ok(Some(Level { name, dir, children: children.into_iter() }))
}

/// `None` for an errno that is passed over.
fn unless<T>(passed_over: &[Errno], result: nix::Result<T>) -> nix::Result<Option<T>> {
    match result {
        Err(errno) if passed_over.contains(&errno) => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any directory will do: what is cgroupfs about a [`Dir`] are the names of its files.
    fn tree(paths: &[&str]) -> (tempfile::TempDir, Dir) {
        let top = tempfile::tempdir().unwrap();
        for path in paths {
            std::fs::create_dir_all(top.path().join(path)).unwrap();
        }
        let dir = Dir::open_mount(top.path()).unwrap();
        (top, dir)
    }

    #[test]
    fn children_come_before_their_parents() {
        let (_keep, top) = tree(&["a/b/c", "a/d", "e"]);
        let mut names = Vec::new();
        let all = |_: &Dir, name: &OsStr, _: &Dir| {
            names.push(name.to_str().unwrap().to_owned());
            Ok(ControlFlow::Continue(()))
        };
        below(&top, all).unwrap();
        let at = |name: &str| names.iter().position(|n| n == name).unwrap();
        assert_eq!(names.len(), 5);
        assert!(at("c") < at("b") && at("b") < at("a") && at("d") < at("a"));
    }

    #[test]
    fn each_can_be_removed_as_it_is_visited() {
        let (_keep, top) = tree(&["a/b/c", "a/d", "e"]);
        below(&top, |parent, name, _| parent.remove(name).map(ControlFlow::Continue)).unwrap();
        assert!(top.entries().unwrap().children.is_empty());
    }

    #[test]
    fn it_ends_when_told() {
        let (_keep, top) = tree(&["a", "b", "c"]);
        let mut visited = 0;
        let first = |_: &Dir, _: &OsStr, _: &Dir| {
            visited += 1;
            Ok(ControlFlow::Break(()))
        };
        below(&top, first).unwrap();
        assert_eq!(visited, 1);
    }

    #[test]
    fn depth_is_bounded() {
        let path = vec!["d"; DEEPEST + 1].join("/");
        let (_keep, top) = tree(&[&path, "a", "z"]);
        let mut others = 0;
        let all = |_: &Dir, name: &OsStr, _: &Dir| {
            others += usize::from(name != "d");
            Ok(ControlFlow::Continue(()))
        };
        assert_eq!(below(&top, all), Err(Errno::ELOOP));
        assert_eq!(others, 2, "what lies beside it is visited");
    }
}
