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
                Ok(dir) if dir.has_file("cgroup.procs") => {}
                Ok(_) | Err(Errno::ESTALE | Errno::ENOENT) => gone.push(*id),
                // In a container: handles need a capability of the host.
                Err(Errno::EPERM | Errno::EOPNOTSUPP) => return self.not_found(ids),
                Err(errno) => return Err(errno),
            }
        }
        Ok(gone)
    }

    fn not_found(&self, ids: &[u64]) -> nix::Result<Vec<u64>> {
        let mut present = HashSet::new();
        let walked = below(&self.root, |_, _, dir| {
            present.extend(dir.id().map(|id| id.inode));
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
