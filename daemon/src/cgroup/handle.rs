//! A directory of cgroupfs, held open. Everything is reached beneath such a handle with
//! `openat2`, without symbolic links, mount crossings or, but for [`Dir::parent`], `..`; no path is looked up twice.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{AccessFlags, faccessat};
use rustix::fs::{FileType, RawDir};

/// The longest interface file that is read, in bytes.
pub const MAX_READ: u64 = 1 << 20;

/// An open (`O_PATH`) directory of a cgroup hierarchy.
#[derive(Debug)]
pub struct Dir(OwnedFd);

/// Which directory it is: device and inode, never the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DirId {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`; on v2 this is the cgroup id.
    pub inode: u64,
}

impl Dir {
    /// Takes a directory descriptor that was opened elsewhere.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Opens a mount point. The only place where an absolute path is used.
    ///
    /// # Errors
    /// What `open(2)` answers.
    pub fn open_mount(path: &Path) -> nix::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(nix::fcntl::open(path, flags, Mode::empty())?))
    }

    /// Opens the directory at the relative path `path` beneath this one; empty is itself.
    ///
    /// # Errors
    /// ENOENT, EACCES without search permission on the way, ENAMETOOLONG.
    pub fn open(&self, path: impl AsRef<OsStr>) -> nix::Result<Self> {
        let path = path.as_ref();
        let path = if path.is_empty() { OsStr::new(".") } else { path };
        self.open_how(path, OFlag::O_PATH | OFlag::O_DIRECTORY).map(Self)
    }

    fn open_how(&self, path: &OsStr, flags: OFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_XDEV
                | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        );
        openat2(&self.0, path, how)
    }

    /// Makes the child `name`; it belongs to the calling thread's identity.
    ///
    /// # Errors
    /// EEXIST, EACCES, EAGAIN when `cgroup.max.*` is reached, ENOSPC.
    pub fn make(&self, name: &str) -> nix::Result<()> {
        nix::sys::stat::mkdirat(&self.0, name, Mode::from_bits_truncate(0o755))
    }

    /// Removes the child `name`.
    ///
    /// # Errors
    /// EBUSY while it has processes or children, ENOENT, EACCES.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> nix::Result<()> {
        let flags = nix::unistd::UnlinkatFlags::RemoveDir;
        nix::unistd::unlinkat(&self.0, name.as_ref(), flags)
    }

    /// Asks the kernel, with this thread's effective identity, whether children may be made and
    /// removed: write and search permission. Nothing changes.
    ///
    /// # Errors
    /// EACCES.
    pub fn check_change(&self) -> nix::Result<()> {
        let flags = AccessFlags::W_OK | AccessFlags::X_OK;
        faccessat(&self.0, ".", flags, AtFlags::AT_EACCESS)
    }

    /// Reads the interface file `name`, at most [`MAX_READ`] bytes.
    ///
    /// # Errors
    /// ENOENT, EACCES, EFBIG, EINVAL when it is not UTF-8, ENODEV when the cgroup is gone.
    pub fn read(&self, name: &str) -> nix::Result<String> {
        let fd = self.open_how(OsStr::new(name), OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
        let mut text = String::new();
        let mut file = std::fs::File::from(fd).take(MAX_READ + 1);
        file.read_to_string(&mut text).map_err(errno_of)?;
        if text.len() as u64 > MAX_READ {
            return Err(Errno::EFBIG);
        }
        Ok(text)
    }

    /// Writes `value` to the interface file `name` with one `write(2)`.
    ///
    /// # Errors
    /// What the kernel answers to the open or the write.
    pub fn write(&self, name: &str, value: &str) -> nix::Result<()> {
        let file = self.open_file(name, OFlag::O_WRONLY)?;
        nix::unistd::write(&file, value.as_bytes()).map(drop)
    }

    /// Opens the interface file `name`.
    ///
    /// # Errors
    /// ENOENT, EACCES.
    pub fn open_file(&self, name: &str, flags: OFlag) -> nix::Result<OwnedFd> {
        self.open_how(OsStr::new(name), flags)
    }

    /// Owner, mode and identity of the directory itself.
    ///
    /// # Errors
    /// Never on a live mount.
    pub fn stat(&self) -> nix::Result<FileStat> {
        fstat(&self.0)
    }

    /// Whether it has child cgroups: each counts as a link to it.
    ///
    /// # Errors
    /// Never on a live mount.
    pub fn has_children(&self) -> nix::Result<bool> {
        self.stat().map(|stat| stat.st_nlink != 2)
    }

    /// Owner and mode of the file or child directory `name`.
    ///
    /// # Errors
    /// ENOENT; EACCES without search permission.
    pub fn stat_at(&self, name: impl AsRef<OsStr>) -> nix::Result<FileStat> {
        fstatat(&self.0, name.as_ref(), AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    /// Whether there is an interface file, and not a child, of that name. A cgroup that was removed
    /// has none.
    ///
    /// # Errors
    /// Whatever keeps the kernel from looking: EACCES without search permission, ENOMEM.
    pub fn has_file(&self, name: &str) -> nix::Result<bool> {
        match self.stat_at(name) {
            Ok(stat) => {
                Ok(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG)
            }
            Err(Errno::ENOENT | Errno::ENODEV | Errno::ESTALE) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Which directory this is.
    ///
    /// # Errors
    /// Never on a live mount.
    pub fn id(&self) -> nix::Result<DirId> {
        self.stat().map(|stat| DirId { device: stat.st_dev, inode: stat.st_ino })
    }

    /// Its parent. Nothing else is reached by `..`: a cgroup never moves to another parent, and the
    /// mount is not left.
    ///
    /// # Errors
    /// EXDEV for the directory that is mounted, EACCES without search permission.
    pub fn parent(&self) -> nix::Result<Self> {
        let how =
            OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).resolve(
                ResolveFlag::RESOLVE_NO_SYMLINKS
                    | ResolveFlag::RESOLVE_NO_XDEV
                    | ResolveFlag::RESOLVE_NO_MAGICLINKS,
            );
        openat2(&self.0, "..", how).map(Self)
    }

    /// Calls `visit` with the names in the directory, in kernel order, and whether each is a child
    /// cgroup or an interface file.
    ///
    /// # Errors
    /// EACCES without read permission.
    pub fn each_entry(&self, mut visit: impl FnMut(&OsStr, bool)) -> nix::Result<()> {
        let fd = self.open_how(OsStr::new("."), OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        // Larger than the longest entry, whose name has 4,095 bytes.
        let mut buffer = [MaybeUninit::uninit(); 8 << 10];
        let mut entries = RawDir::new(fd, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(errno_of)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                visit(OsStr::from_bytes(name), entry.file_type() == FileType::Directory);
            }
        }
        Ok(())
    }

    /// The names of its interface files, in kernel order.
    ///
    /// # Errors
    /// EACCES without read permission.
    pub fn files(&self) -> nix::Result<Vec<OsString>> {
        let mut files = Vec::new();
        self.each_entry(|name, is_child| {
            if !is_child {
                files.push(name.to_owned());
            }
        })?;
        Ok(files)
    }

    /// Where the directory is now, in the daemon's own mount namespace. Read as root: for
    /// showing and for comparing places, never for opening.
    ///
    /// # Errors
    /// ENOENT when the cgroup was removed.
    pub fn place(&self) -> nix::Result<PathBuf> {
        use std::os::fd::AsRawFd;
        let link = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        let path = nix::fcntl::readlink(link.as_str())?;
        match path.as_bytes().ends_with(b" (deleted)") {
            true => Err(Errno::ENOENT),
            false => Ok(path.into()),
        }
    }

    /// Another handle of the same directory.
    ///
    /// # Errors
    /// EMFILE.
    pub fn try_clone(&self) -> nix::Result<Self> {
        self.0.try_clone().map(Self).map_err(errno_of)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The errno inside an I/O error.
pub fn errno_of(error: impl Into<std::io::Error>) -> Errno {
    let error = error.into();
    error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw)
}
