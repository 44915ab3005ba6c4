//! Which of the cgroups that were made are gone, whoever removed them: asked by their ids, without
//! a walk over a tree that may be somebody else's.

use std::collections::HashSet;
use std::ops::ControlFlow;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::{Dir, Hierarchy, below};
use crate::sys::mount;

impl Hierarchy {
    /// Those of these inode numbers, which are ids of cgroups (`kernfs_ino` in
    /// `include/linux/kernfs.h`), that no cgroup of the managed root has any more.
    ///
    /// # Errors
    /// EMFILE, and what listing the managed root answers.
    pub fn gone(&self, ids: &[u64]) -> nix::Result<Vec<u64>> {
        let mount = self.top.open_file(".", OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        let mut gone = Vec::new();
        for id in ids {
            match mount::open_handle(&mount, &mount::handle_of_cgroup_id(*id)).map(Dir::from_fd) {
                // A removed one lives on as long as anything refers to it, without files.
                Ok(dir) if dir.has_file("cgroup.procs")? => {}
                Ok(_) | Err(Errno::ESTALE | Errno::ENOENT) => gone.push(*id),
                // In a container: handles need a capability of the host.
                Err(Errno::EPERM | Errno::EOPNOTSUPP) => return self.unseen(ids),
                Err(errno) => return Err(errno),
            }
        }
        Ok(gone)
    }

    /// Those that a walk does not meet.
    fn unseen(&self, ids: &[u64]) -> nix::Result<Vec<u64>> {
        let mut present = HashSet::new();
        let walked = below(&self.root, |_, _, dir| {
            present.insert(dir.id()?.inode);
            Ok(ControlFlow::Continue(()))
        });
        match walked {
            // All else was visited, and what lies so deep was not made here.
            Ok(()) | Err(Errno::ELOOP) => {}
            Err(errno) => return Err(errno),
        }
        Ok(ids.iter().copied().filter(|id| !present.contains(id)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Dir, Version};
    use super::*;

    /// The walk alone, which is the same on any file system.
    #[test]
    fn what_a_walk_does_not_meet_is_gone() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("a/b")).unwrap();
        let root = Dir::open_mount(place.path()).unwrap();
        let id = |name: &str| root.open(name).unwrap().id().unwrap().inode;
        let [a, b] = [id("a"), root.open("a").unwrap().open("b").unwrap().id().unwrap().inode];
        let root = std::sync::Arc::new(Dir::open_mount(place.path()).unwrap());
        let hierarchy = Hierarchy { root, ..Hierarchy::pretended(Version::V1, "pids", &[]) };
        assert_eq!(hierarchy.unseen(&[a, b]), Ok(vec![]));
        std::fs::remove_dir(place.path().join("a/b")).unwrap();
        assert_eq!(hierarchy.unseen(&[a, b]), Ok(vec![b]));
    }
}
