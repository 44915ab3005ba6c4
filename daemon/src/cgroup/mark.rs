//! Marks: what the daemon must remember about a cgroup lies on the cgroup's own directory, as an
//! extended attribute `trusted.cgroupd.*`. It lives and dies with the cgroup, outlasts the
//! daemon, and only root of the initial user namespace can write it.
//!
//! Where `trusted.*` is refused (a daemon that is itself nested in a container) marks live in
//! memory (`memory_marks`), and end with the cgroup or the daemon.

use std::os::fd::OwnedFd;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use rustix::fs::{XattrFlags, fgetxattr, fremovexattr, fsetxattr};

use super::Dir;
use super::memory_marks::MemoryMarks;

/// The longest value of a mark, in bytes.
pub const MAX_MARK: usize = 2048;

/// Marks that could not be written to their directories.
static IN_MEMORY: LazyLock<Mutex<MemoryMarks>> = LazyLock::new(Mutex::default);

impl Dir {
    /// Sets the mark `name` (`when-empty`) to `value`, at most [`MAX_MARK`] bytes.
    ///
    /// # Errors
    /// What `fsetxattr(2)` answers, but for EPERM; ENOENT when the cgroup is gone; ENOSPC when
    /// memory is to hold the marks of too many cgroups.
    pub fn mark(&self, name: &str, value: &str) -> nix::Result<()> {
        let file = self.attributes()?;
        match fsetxattr(&file, attribute(name), value.as_bytes(), XattrFlags::empty()) {
            Err(error) if is_refused(error) => in_memory().set(self, name, value),
            result => result.map_err(errno),
        }
    }

    /// The value of the mark `name`, when it is there.
    ///
    /// # Errors
    /// What `fgetxattr(2)` answers; ENOENT when the cgroup is gone.
    pub fn marked(&self, name: &str) -> nix::Result<Option<String>> {
        let mut value = vec![0; MAX_MARK];
        match fgetxattr(&self.attributes()?, attribute(name), &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                String::from_utf8(value).map(Some).map_err(|_| Errno::EBADMSG)
            }
            Err(rustix::io::Errno::NODATA) => in_memory().get(self, name),
            Err(error) if is_refused(error) => in_memory().get(self, name),
            Err(error) => Err(errno(error)),
        }
    }

    /// Takes the mark `name` away; one that is not there is no error.
    ///
    /// # Errors
    /// What `fremovexattr(2)` answers; ENOENT when the cgroup is gone.
    pub fn unmark(&self, name: &str) -> nix::Result<()> {
        in_memory().remove(self, name)?;
        match fremovexattr(&self.attributes()?, attribute(name)) {
            Err(rustix::io::Errno::NODATA) => Ok(()),
            Err(error) if is_refused(error) => Ok(()),
            result => result.map_err(errno),
        }
    }

    /// Extended attributes are not to be had through `O_PATH`.
    pub(super) fn attributes(&self) -> nix::Result<OwnedFd> {
        self.open_file(".", OFlag::O_RDONLY | OFlag::O_DIRECTORY)
    }
}

fn in_memory() -> MutexGuard<'static, MemoryMarks> {
    IN_MEMORY.lock().unwrap_or_else(PoisonError::into_inner)
}

fn attribute(name: &str) -> String {
    format!("trusted.cgroupd.{name}")
}

/// Not root of the initial user namespace, or a hierarchy without attributes.
fn is_refused(error: rustix::io::Errno) -> bool {
    matches!(error, rustix::io::Errno::PERM | rustix::io::Errno::OPNOTSUPP)
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_there_until_it_is_taken_away() {
        let top = tempfile::tempdir().unwrap();
        let dir = Dir::open_mount(top.path()).unwrap();
        assert_eq!(dir.marked("test").unwrap(), None);
        dir.mark("test", "1 1000").unwrap();
        dir.mark("test", "2 1000").unwrap();
        assert_eq!(dir.marked("test").unwrap().as_deref(), Some("2 1000"));
        assert_eq!(dir.marked("other").unwrap(), None);
        dir.unmark("test").unwrap();
        dir.unmark("test").unwrap();
        assert_eq!(dir.marked("test").unwrap(), None);
    }
}
