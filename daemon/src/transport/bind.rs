//! A listening socket at a path: taken by exactly one daemon, complete before anybody may
//! connect, and gone when the daemon stops.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown,
};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, fchmod};
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

/// Connections that wait for `accept`. Short, so that a flood does not put honest peers at the
/// end of a long line: their `connect` waits in the kernel instead.
const BACKLOG: i32 = 128;

/// Why the socket could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon serves it.
    #[error(
        "{path}: another daemon serves this socket; stop it, or give this one another path",
        path = .0.display()
    )]
    InUse(PathBuf),
    /// Something else has its name.
    #[error("{path}: exists and is no socket; move it away", path = .0.display())]
    NotASocket(PathBuf),
    /// It would lie in a cgroup.
    #[error(
        "{path}: no socket can be made in a cgroup file system\n\
         hint: put another one there first: mkdir -p {dir} && \
         mount -t tmpfs -o mode=0755,size=64k none {dir}",
        path = .0.display(), dir = .0.parent().unwrap_or(.0).display()
    )]
    OnCgroupfs(PathBuf),
    /// Nothing can be made where it would lie.
    #[error(
        "{path}: the file system is read-only\n\
         hint: where a unit of systemd makes it so, add ReadWritePaths={dir} to that; below \
         /sys/fs/cgroup, at each boot and before cgroupd starts: mount -o remount,rw \
         /sys/fs/cgroup; mkdir -p {dir}; mount -t tmpfs -o mode=0755,size=64k none {dir}; \
         mount -o remount,ro /sys/fs/cgroup",
        path = .0.display(), dir = .0.parent().unwrap_or(.0).display()
    )]
    ReadOnly(PathBuf),
    /// The kernel refused something.
    #[error("cannot {what} {path}: {source}", path = path.display())]
    Kernel {
        /// What was attempted.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
}

/// A socket file that is ours.
#[derive(Debug)]
pub(super) struct Bound {
    path: PathBuf,
    inode: (u64, u64),
    /// Held as long as the socket is ours. The file stays: removing it would let two daemons
    /// each lock a file of that name.
    _lock: Flock<File>,
}

impl Bound {
    /// Makes the socket at `path`, replacing one that nobody serves any more.
    pub(super) fn new(
        path: &Path,
        mode: u32,
        group: Option<u32>,
    ) -> Result<(Self, UnixListener), BindError> {
        let during = |what| {
            move |source: io::Error| BindError::Kernel { what, path: path.to_owned(), source }
        };
        let address = SocketAddrUnix::new(path).map_err(|e| during("use")(e.into()))?;
        if is_on_cgroupfs(path) {
            return Err(BindError::OnCgroupfs(path.to_owned()));
        }
        let read_only = |error| match error {
            BindError::Kernel { source, .. } if source.kind() == ErrorKind::ReadOnlyFilesystem => {
                BindError::ReadOnly(path.to_owned())
            }
            error => error,
        };
        make_directory(path).map_err(during("make the directory of")).map_err(read_only)?;
        let lock = lock(path).map_err(read_only)?;
        remove_stale(path, &address)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|e| during("make a socket for")(e.into()))?;
        // The file gets the mode of the socket: nobody connects before it is complete.
        fchmod(&listener, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|e| during("set the mode of")(e.into()))?;
        bind(&listener, &address).map_err(|e| during("bind")(e.into()))?;
        listen(&listener, BACKLOG).map_err(|e| during("listen on")(e.into()))?;
        let inode = inode(path).map_err(during("look at"))?;
        let bound = Self { path: path.to_owned(), inode, _lock: lock };
        chown(path, None, group).map_err(during("change the group of"))?;
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(during("open up"))?;
        Ok((bound, listener.into()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Bound {
    /// Removes the file, unless somebody has put another one there.
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            // A file that cannot be removed is replaced by the next daemon.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Whether the directory, or what it would be made in, is a cgroup.
fn is_on_cgroupfs(path: &Path) -> bool {
    let existing = path.ancestors().skip(1).find(|above| above.exists());
    let kind = existing.and_then(|above| statfs(above).ok()).map(|stat| stat.filesystem_type());
    matches!(kind, Some(CGROUP_SUPER_MAGIC | CGROUP2_SUPER_MAGIC))
}

/// Makes the directory when it is missing, so that everybody may look up the socket in it,
/// whatever the umask. One that exists is the administrator's.
fn make_directory(path: &Path) -> io::Result<()> {
    let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    if directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    fs::set_permissions(directory, Permissions::from_mode(0o755))
}

/// Taken by one daemon at a time; the kernel releases it however that one ends. Nobody else may
/// open the file, or anybody could keep the daemon from starting.
fn lock(path: &Path) -> Result<Flock<File>, BindError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let during = |what| {
        let path = name.clone();
        move |source: io::Error| BindError::Kernel { what, path, source }
    };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&name)
        .map_err(during("open"))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => BindError::InUse(path.to_owned()),
        errno => during("lock")(errno.into()),
    })
}

/// Removes a socket that nobody listens on. A listener that does not know our lock, like an
/// old cgmanager, is found by connecting.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), BindError> {
    let during =
        |what| move |source: io::Error| BindError::Kernel { what, path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(during("look at")(error)),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(BindError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|e| during("make a socket for")(e.into()))?;
    match connect(&probe, address) {
        Err(rustix::io::Errno::CONNREFUSED) => fs::remove_file(path).map_err(during("remove")),
        _ => Err(BindError::InUse(path.to_owned())),
    }
}
