//! All cgroups below one, with handles for a few levels and none for siblings: there may be more of
//! them than a process can have descriptors, and deeper ones than a stack is long.
//!
//! A walk keeps the name of the child it is at on each level. The names of its siblings are read a
//! few at a time, and the levels far above the present one are opened again when the walk returns to
//! them: by `..`, because a cgroup never moves to another parent.

use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;

use nix::errno::Errno;

use super::children::{Few, MOST_NAMES};
use super::{Dir, DirId};

/// How deep it goes. Callers make 32 levels at most, but cgroups that were made without the daemon may
/// lie deeper.
const DEEPEST: usize = 1000;
/// The levels that are kept open.
const OPEN: usize = 16;

/// How a walk opens, lists and reads what it meets.
pub trait Reach {
    /// Opens the child `name` of `parent`.
    ///
    /// # Errors
    /// EACCES without search permission on `parent`.
    fn open(&self, parent: &Dir, name: &OsStr) -> nix::Result<Dir>;

    /// The names of the next few of a cgroup's children, after `last`.
    ///
    /// # Errors
    /// EACCES without read and search permission.
    fn list(&self, dir: &Dir, last: Option<&OsStr>) -> nix::Result<Few>;

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

    fn list(&self, dir: &Dir, last: Option<&OsStr>) -> nix::Result<Few> {
        dir.children_after(last)
    }

    fn read(&self, dir: &Dir, file: &str) -> nix::Result<String> {
        dir.read(file)
    }
}

/// A cgroup whose children are being visited.
struct Level {
    id: DirId,
    /// `None` while the walk is far below.
    dir: Option<Dir>,
    next: std::vec::IntoIter<OsString>,
    /// The child that the walk is at, or was at last.
    at: Option<OsString>,
    /// Whether there are more children behind `next`.
    more: bool,
    /// The most children that are still visited: whoever makes new ones faster than they are visited
    /// does not keep the walk from ending.
    left: u64,
}

/// Calls `visit` with the parent, the name and the handle of every cgroup below `top`, children
/// before their parents, until it breaks. What vanishes meanwhile, or may not be opened or
/// listed, is passed over; what is made meanwhile may be.
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
    let mut first = Level::of(top.try_clone()?)?;
    first.list(reach)?;
    let (mut levels, mut deeper) = (vec![first], false);
    while let Some(level) = levels.last_mut() {
        if let Some(child) = level.enter_next(reach, passed_over)? {
            match levels.len() > DEEPEST {
                true => deeper = true,
                false => push(&mut levels, child),
            }
            continue;
        }
        let (Some(Level { dir: Some(dir), .. }), Some(parent)) = (levels.pop(), levels.last_mut())
        else {
            break;
        };
        let name = parent.at.clone().unwrap_or_default();
        if visit(parent.open_again(&dir)?, &name, &dir)?.is_break() {
            return Ok(());
        }
    }
    if deeper { Err(Errno::ELOOP) } else { Ok(()) }
}

/// Goes down one level, and closes the one that is too far above then.
fn push(levels: &mut Vec<Level>, child: Level) {
    levels.push(child);
    if let Some(far) = levels.len().checked_sub(OPEN + 1) {
        levels[far].close();
    }
}

impl Level {
    fn of(dir: Dir) -> nix::Result<Self> {
        let stat = dir.stat()?;
        Ok(Self {
            id: DirId { device: stat.st_dev, inode: stat.st_ino },
            dir: Some(dir),
            next: Vec::new().into_iter(),
            at: None,
            // Most have none, and a look at the directory is dearer than one at its links.
            more: stat.st_nlink != 2,
            left: stat.st_nlink.saturating_add(MOST_NAMES as u64),
        })
    }

    /// Opens the next child that can be; `None` when there is none.
    fn enter_next(
        &mut self,
        reach: &dyn Reach,
        passed_over: &[Errno],
    ) -> nix::Result<Option<Self>> {
        while let Some(left) = self.left.checked_sub(1) {
            if self.next.len() == 0
                && self.more
                && ignoring(passed_over, self.list(reach))?.is_none()
            {
                self.more = false;
            }
            let (Some(name), Some(dir)) = (self.next.next(), &self.dir) else { break };
            let child = ignoring(passed_over, reach.open(dir, &name))?;
            (self.left, self.at) = (left, Some(name));
            if let Some(child) = child {
                return Self::of(child).map(Some);
            }
        }
        Ok(None)
    }

    fn list(&mut self, reach: &dyn Reach) -> nix::Result<()> {
        if let Some(dir) = &self.dir {
            let few = reach.list(dir, self.at.as_deref())?;
            (self.next, self.more) = (few.names.into_iter(), few.more);
        }
        Ok(())
    }

    fn close(&mut self) {
        self.dir = None;
        self.more |= self.next.len() > 0;
        self.next = Vec::new().into_iter();
    }

    /// The directory, opened as the parent of `child` if it was closed.
    fn open_again(&mut self, child: &Dir) -> nix::Result<&Dir> {
        let dir = match self.dir.take() {
            Some(dir) => dir,
            None => child.parent()?,
        };
        if dir.id()? != self.id {
            return Err(Errno::ESTALE);
        }
        Ok(self.dir.insert(dir))
    }
}

/// `None` for an errno that is passed over.
fn ignoring<T>(passed_over: &[Errno], result: nix::Result<T>) -> nix::Result<Option<T>> {
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
        assert!(top.children_after(None).unwrap().names.is_empty());
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

    /// A comb: a long back, and teeth that are longer than what is kept open.
    #[test]
    fn levels_that_were_closed_are_opened_again() {
        let back = vec!["b"; 3 * OPEN].join("/");
        let tooth = vec!["t"; 2 * OPEN].join("/");
        let at = |level: usize| format!("{}/{tooth}", vec!["b"; level].join("/"));
        let paths: Vec<String> = (1..=3 * OPEN).step_by(5).map(at).chain([back]).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let (_keep, top) = tree(&paths);
        let mut visited = 0;
        let remove = |parent: &Dir, name: &OsStr, dir: &Dir| {
            visited += 1;
            assert_eq!(parent.open(name).unwrap().id(), dir.id());
            parent.remove(name).map(ControlFlow::Continue)
        };
        below(&top, remove).unwrap();
        assert_eq!(visited, 3 * OPEN + 2 * OPEN * (3 * OPEN).div_ceil(5));
        assert!(top.children_after(None).unwrap().names.is_empty());
    }

    #[test]
    fn a_walk_ends_although_more_and_more_is_made() {
        let (_keep, top) = tree(&["0"]);
        let mut made = 0;
        let make_more = |parent: &Dir, _: &OsStr, _: &Dir| {
            made += 1;
            parent.make(&format!("{made:06}")).map(ControlFlow::Continue)
        };
        below(&top, make_more).unwrap();
        assert!(made <= 2 * MOST_NAMES, "{made}");
    }
}
