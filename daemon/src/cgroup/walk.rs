//! All cgroups below one, with one handle for each level and none for each sibling: there may
//! be more of them than a process can have descriptors, and deeper ones than a stack is long.

use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;

use nix::errno::Errno;

use super::Dir;

/// How deep it goes: a caller's own limit is far above, but what others made may lie deeper.
const DEEPEST: usize = 1000;

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
/// what others have by making it; EMFILE, what listing `top` answers, and errors of `visit`.
pub fn below(
    top: &Dir,
    mut visit: impl FnMut(&Dir, &OsStr, &Dir) -> nix::Result<ControlFlow<()>>,
) -> nix::Result<()> {
    let children = top.entries()?.children.into_iter();
    let mut levels = vec![Level { name: OsString::new(), dir: top.try_clone()?, children }];
    let mut deeper = false;
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.children.next() {
            let child = enter(&level.dir, name)?;
            match levels.len() > DEEPEST {
                true => deeper = true,
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

fn enter(parent: &Dir, name: OsString) -> nix::Result<Option<Level>> {
    let opened = parent.open(&name).and_then(|dir| {
        // Most have no children, and a look at the directory is dearer than one at its links.
        let children = match dir.has_children()? {
            true => dir.entries().map(|entries| entries.children),
            false => Ok(Vec::new()),
        };
        let children = children.or_else(|errno| passed_over(errno).map(|()| Vec::new()))?;
        Ok(Level { name, dir, children: children.into_iter() })
    });
    opened.map(Some).or_else(|errno| passed_over(errno).map(|()| None))
}

fn passed_over(errno: Errno) -> nix::Result<()> {
    match errno {
        Errno::ENOENT | Errno::ENODEV | Errno::EACCES => Ok(()),
        errno => Err(errno),
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
