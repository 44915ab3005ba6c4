//! Marks of cgroups that could not be written to their directories.
//!
//! Each marked cgroup is held by a descriptor. That keeps its inode number from being given to
//! another one (`kernfs_put` in `fs/kernfs/dir.c` frees the number with the last reference), and
//! tells when it is gone: a removed cgroup has no files any more. Marks of those are dropped, and
//! the number of cgroups with marks is bounded.

use std::collections::HashMap;

use nix::errno::Errno;

use super::{Dir, DirId};

/// The most cgroups with marks: each costs a descriptor.
const MOST: usize = 4096;
/// So many are not worth a look at which are gone.
const FEW: usize = 64;

/// The marks, by cgroup.
#[derive(Debug, Default)]
pub(super) struct MemoryMarks {
    cgroups: HashMap<DirId, Marked>,
    /// How many there were after the last look at which are gone.
    left: usize,
}

#[derive(Debug)]
struct Marked {
    dir: Dir,
    marks: HashMap<String, String>,
}

impl MemoryMarks {
    /// # Errors
    /// ENOSPC when so many cgroups have marks; EMFILE.
    pub(super) fn set(&mut self, dir: &Dir, name: &str, value: &str) -> nix::Result<()> {
        let id = dir.id()?;
        if !self.cgroups.contains_key(&id) {
            if self.cgroups.len() >= FEW.max(self.left * 2).min(MOST) {
                self.drop_gone();
            }
            if self.cgroups.len() >= MOST {
                return Err(Errno::ENOSPC);
            }
            let marked = Marked { dir: dir.try_clone()?, marks: HashMap::new() };
            self.cgroups.insert(id, marked);
        }
        if let Some(marked) = self.cgroups.get_mut(&id) {
            marked.marks.insert(name.to_owned(), value.to_owned());
        }
        Ok(())
    }

    pub(super) fn get(&self, dir: &Dir, name: &str) -> nix::Result<Option<String>> {
        Ok(self.cgroups.get(&dir.id()?).and_then(|marked| marked.marks.get(name)).cloned())
    }

    pub(super) fn remove(&mut self, dir: &Dir, name: &str) -> nix::Result<()> {
        let id = dir.id()?;
        if let Some(marked) = self.cgroups.get_mut(&id) {
            marked.marks.remove(name);
            if marked.marks.is_empty() {
                self.cgroups.remove(&id);
            }
        }
        Ok(())
    }

    /// Any answer but that the file is not there leaves the marks.
    fn drop_gone(&mut self) {
        let is_gone = |dir: &Dir| {
            let file = dir.stat_at("cgroup.procs");
            matches!(file, Err(Errno::ENOENT | Errno::ENODEV | Errno::ESTALE))
        };
        self.cgroups.retain(|_, marked| !is_gone(&marked.dir));
        self.left = self.cgroups.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Layout;

    /// A cgroup of the test's own, in which it makes others; all go at the end.
    struct Place(Dir, String);

    impl Place {
        fn new(name: &str) -> Self {
            let layout = Layout::detect("/").unwrap();
            let top = layout.hierarchies.into_iter().next().unwrap().top;
            let name = format!("cgroupd-test-{name}-{}", std::process::id());
            top.make(&name).unwrap();
            Self(top, name)
        }

        fn make(&self, child: &str) -> Dir {
            let place = self.0.open(&self.1).unwrap();
            place.make(child).unwrap();
            place.open(child).unwrap()
        }

        fn remove(&self, child: &str) {
            self.0.open(&self.1).unwrap().remove(child).unwrap();
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let place = self.0.open(&self.1).unwrap();
            for number in 0..FEW * 4 {
                let _ = place.remove(number.to_string());
            }
            let _ = self.0.remove(&self.1);
        }
    }

    #[test]
    #[ignore = "needs root and a cgroup mount"]
    fn marks_go_with_their_cgroups() {
        let (place, mut marks) = (Place::new("marks-gone"), MemoryMarks::default());
        let stays = place.make("0");
        marks.set(&stays, "a", "1").unwrap();
        for number in 1..FEW * 4 {
            let child = number.to_string();
            marks.set(&place.make(&child), "a", "x").unwrap();
            place.remove(&child);
        }
        assert!(marks.cgroups.len() <= FEW, "{}", marks.cgroups.len());
        assert_eq!(marks.get(&stays, "a").unwrap().as_deref(), Some("1"), "it is there");
        // One that is made anew at the same path has no marks of the one before.
        marks.set(&place.make("1"), "a", "old").unwrap();
        place.remove("1");
        assert_eq!(marks.get(&place.make("1"), "a"), Ok(None));
    }

    #[test]
    #[ignore = "needs root and a cgroup mount"]
    fn a_mark_is_there_until_it_is_taken_away() {
        let (place, mut marks) = (Place::new("marks-set"), MemoryMarks::default());
        let dir = place.make("0");
        marks.set(&dir, "a", "1").unwrap();
        marks.set(&dir, "a", "2").unwrap();
        marks.set(&dir, "b", "3").unwrap();
        let again = place.0.open(format!("{}/0", place.1)).unwrap();
        assert_eq!(marks.get(&again, "a").unwrap().as_deref(), Some("2"));
        marks.remove(&again, "a").unwrap();
        assert_eq!(marks.get(&dir, "a"), Ok(None));
        marks.remove(&dir, "b").unwrap();
        assert!(marks.cgroups.is_empty(), "it holds no descriptor any more");
    }
}
