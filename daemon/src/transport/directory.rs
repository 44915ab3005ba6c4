//! The directory of a listening socket, and the files in it.
//!
//! The directory is opened once, and every file is looked up in it by name without following
//! links. A user who may write to it can still replace its files, but not have root change or
//! remove a file elsewhere.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::{self, Error, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat};
use nix::unistd::{Gid, UnlinkatFlags, fchownat, geteuid, mkdir, unlinkat};

/// An open directory and the name of the socket in it.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    name: OsString,
}

/// A file that was looked up, whatever has its name by now (`O_PATH`).
#[derive(Debug)]
pub(super) struct Found(File);

impl Directory {
    /// Opens the directory of `path`, and makes it where it is missing, so that everybody may
    /// look up the socket in it, whatever the umask. One that exists is the administrator's, and
    /// so are the links on the way to it.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(ErrorKind::InvalidFilename)?.to_owned();
        let directory = match path.parent() {
            None => Path::new("."),
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
        };
        let fd = match open_existing(directory) {
            Err(Errno::ENOENT) => make(directory)?,
            opened => opened?,
        };
        Ok(Self { fd, name })
    }

    /// What has the socket's name.
    ///
    /// # Errors
    /// NotFound when nothing has it.
    pub(super) fn look_up(&self) -> io::Result<Found> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, self.name.as_os_str(), flags, Mode::empty())?;
        Ok(Found(fd.into()))
    }

    /// Removes what has the socket's name when that is `file`.
    pub(super) fn remove(&self, file: &Found) -> io::Result<()> {
        if self.look_up()?.id()? != file.id()? {
            return Err(Error::other("it was replaced meanwhile"));
        }
        Ok(unlinkat(&self.fd, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir)?)
    }

    /// Opens the file beside the socket that is locked, and makes it where it is missing. Only
    /// its owner may open it, or any user could keep the daemon from starting.
    pub(super) fn lock_file(&self) -> io::Result<File> {
        let mut name = self.name.clone();
        name.push(".lock");
        // To open a FIFO without O_NONBLOCK would wait for a reader.
        let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let fd = openat(&self.fd, name.as_os_str(), flags | OFlag::O_CLOEXEC, mode)?;
        let file = File::from(fd);
        let found = file.metadata()?;
        if !found.is_file() || found.uid() != geteuid().as_raw() {
            return Err(Error::other("it is not a regular file of the daemon's user; remove it"));
        }
        Ok(file)
    }
}

impl Found {
    pub(super) fn is_socket(&self) -> io::Result<bool> {
        Ok(self.0.metadata()?.file_type().is_socket())
    }

    /// A path to this very file, for calls that take no descriptor.
    pub(super) fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }

    pub(super) fn set_group(&self, group: u32) -> io::Result<()> {
        Ok(fchownat(&self.0, "", None, Some(Gid::from_raw(group)), AtFlags::AT_EMPTY_PATH)?)
    }

    /// fchmod(2) refuses `O_PATH` descriptors, and fchmodat2(2) exists since Linux 6.6 only.
    pub(super) fn set_mode(&self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_bits_truncate(mode);
        Ok(fchmodat(nix::fcntl::AT_FDCWD, &*self.path(), mode, FchmodatFlags::FollowSymlink)?)
    }

    fn id(&self) -> io::Result<(u64, u64)> {
        self.0.metadata().map(|file| (file.dev(), file.ino()))
    }
}

fn open_existing(directory: &Path) -> nix::Result<OwnedFd> {
    open(directory, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Makes a directory, and what is missing above it. Its mode is set by descriptor, and only when
/// it is the one that was made here.
fn make(directory: &Path) -> io::Result<OwnedFd> {
    let mode = Mode::from_bits_truncate(0o755);
    if let Some(above) = directory.parent().filter(|above| !above.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(mode.bits()).create(above)?;
    }
    match mkdir(directory, mode) {
        // Another daemon that starts now has made it.
        Err(Errno::EEXIST) => return Ok(open_existing(directory)?),
        made => made?,
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let made = File::from(open(directory, flags, Mode::empty())?);
    if made.metadata()?.uid() != geteuid().as_raw() {
        return Err(Error::other("it was replaced while it was made"));
    }
    fchmod(&made, mode)?;
    Ok(made.into())
}
