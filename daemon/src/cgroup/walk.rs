//! The cgroups below one, without recursion and with few descriptors: whoever owns a subtree
//! decides how deep and how wide it is.

use std::ffi::OsString;
use std::sync::Arc;

use nix::errno::Errno;

use super::Dir;

/// Every descendant once, parents before their children. One that vanishes meanwhile, or that
/// the thread's identity may not look into, is passed over.
///
/// A parent is held open only while it has children that have not come yet.
#[derive(Debug)]
pub struct Walk {
    rest: Vec<(Arc<Dir>, OsString)>,
}

impl Walk {
    /// What is below `top`, itself not included.
    pub fn below(top: Arc<Dir>) -> Self {
        let mut walk = Self { rest: Vec::new() };
        walk.add_children(top);
        walk
    }

    fn add_children(&mut self, parent: Arc<Dir>) {
        let children = parent.entries().map(|entries| entries.children).unwrap_or_default();
        self.rest.extend(children.into_iter().map(|name| (Arc::clone(&parent), name)));
    }
}

impl Iterator for Walk {
    type Item = Arc<Dir>;

    fn next(&mut self) -> Option<Arc<Dir>> {
        loop {
            let (parent, name) = self.rest.pop()?;
            let Ok(child) = parent.open(&name).map(Arc::new) else { continue };
            drop(parent);
            self.add_children(Arc::clone(&child));
            return Some(child);
        }
    }
}

/// The deepest subtree that is removed at once: each level is a descriptor.
const DEEPEST: usize = 1000;

/// Removes everything below `top`, children before their parents, and says how many they were.
///
/// # Errors
/// EBUSY and the name of what has processes; ELOOP when it is too deep. What was removed before
/// is gone.
pub fn remove_below(top: Dir) -> Result<usize, (OsString, Errno)> {
    let mut levels = vec![Level { name: OsString::new(), rest: children(&top), dir: top }];
    let mut removed = 0;
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.rest.pop() {
            match level.dir.open(&name) {
                Ok(_) if levels.len() == DEEPEST => return Err((name, Errno::ELOOP)),
                Ok(dir) => levels.push(Level { name, rest: children(&dir), dir }),
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err((name, errno)),
            }
            continue;
        }
        let empty = levels.pop();
        if let (Some(Level { name, .. }), Some(parent)) = (empty, levels.last()) {
            match parent.dir.remove(&name) {
                Ok(()) => removed += 1,
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err((name, errno)),
            }
        }
    }
    Ok(removed)
}

/// A cgroup on the way down, and the children it has left.
struct Level {
    name: OsString,
    dir: Dir,
    rest: Vec<OsString>,
}

fn children(dir: &Dir) -> Vec<OsString> {
    dir.entries().map(|entries| entries.children).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory tree of any file system serves: `Dir` is a directory handle.
    fn top() -> (std::path::PathBuf, Dir) {
        let path = nix::unistd::mkdtemp("/tmp/cgroupd-test-walk-XXXXXX").unwrap();
        let dir = Dir::open_mount(&path).unwrap();
        (path, dir)
    }

    fn make_deep(top: &Dir, depth: usize) {
        let mut dir = top.try_clone().unwrap();
        for _ in 0..depth {
            dir.make("d").unwrap();
            dir = dir.open("d").unwrap();
        }
    }

    fn descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    #[test]
    fn case_53_depth_takes_neither_stack_nor_descriptors() {
        let (path, dir) = top();
        make_deep(&dir, 5000);
        let walked = std::thread::Builder::new().stack_size(64 << 10).spawn(move || {
            let (mut found, mut most) = (0, 0);
            for _ in Walk::below(Arc::new(dir)) {
                found += 1;
                if found % 1000 == 0 {
                    most = most.max(descriptors());
                }
            }
            (found, most)
        });
        let (found, most) = walked.unwrap().join().unwrap();
        assert_eq!(found, 5000);
        assert!(most < 500, "{most} descriptors");
        let (name, errno) = remove_below(Dir::open_mount(&path).unwrap()).unwrap_err();
        assert_eq!((name.to_str(), errno), (Some("d"), Errno::ELOOP));
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn all_descendants_are_found_and_removed() {
        let (path, dir) = top();
        for name in ["a", "a/b", "a/b/c", "a/d", "e"] {
            std::fs::create_dir(path.join(name)).unwrap();
        }
        assert_eq!(Walk::below(Arc::new(dir.try_clone().unwrap())).count(), 5);
        std::fs::write(path.join("a/b/c/full"), "").unwrap();
        assert_eq!(remove_below(dir.try_clone().unwrap()), Err(("c".into(), Errno::ENOTEMPTY)));
        std::fs::remove_file(path.join("a/b/c/full")).unwrap();
        let left = Walk::below(Arc::new(dir.try_clone().unwrap())).count();
        assert_eq!(remove_below(dir.try_clone().unwrap()), Ok(left));
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
        std::fs::remove_dir(&path).unwrap();
    }
}
