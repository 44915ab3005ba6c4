//! A listening socket at a path: taken by exactly one daemon, complete before anybody may
//! connect, and gone when the daemon stops.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::{Mode, fchmod};
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    socket_with,
};

use super::directory::{Directory, Found};

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
    /// Another file got its name while it was made.
    #[error(
        "{path}: was replaced while it was made; let only root write to {dir}",
        path = .0.display(), dir = .0.parent().unwrap_or(.0).display()
    )]
    Replaced(PathBuf),
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

/// The file of a socket that is ours. Dropping it removes the file.
#[derive(Debug)]
#[must_use = "the file is removed when this is dropped"]
pub struct SocketFile {
    path: PathBuf,
    directory: Directory,
    file: Found,
    /// Held as long as the socket is ours. The file stays: removing it would let two daemons
    /// each lock a file of that name.
    _lock: Flock<File>,
}

impl SocketFile {
    /// Makes the socket at `path`, replacing one that nobody serves any more.
    pub(super) fn new(
        path: &Path,
        mode: u32,
        group: Option<u32>,
    ) -> Result<(Self, UnixListener), BindError> {
        let during = |what| during(what, path);
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
        let directory = Directory::of(path).map_err(during("open or make the directory of"));
        let directory = directory.map_err(read_only)?;
        let lock = lock(path, &directory).map_err(read_only)?;
        remove_stale(path, &directory)?;
        let listener = socket().map_err(during("make a socket for"))?;
        // The file gets the mode of the socket: nobody connects before it is complete.
        fchmod(&listener, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|e| during("set the mode of")(e.into()))?;
        bind(&listener, &address).map_err(|e| during("bind")(e.into()))?;
        listen(&listener, BACKLOG).map_err(|e| during("listen on")(e.into()))?;
        let file = directory.look_up().map_err(during("look at"))?;
        if !leads_to(&file, &listener).map_err(during("connect to"))? {
            return Err(BindError::Replaced(path.to_owned()));
        }
        let made = Self { path: path.to_owned(), directory, file, _lock: lock };
        if let Some(group) = group {
            made.file.set_group(group).map_err(during("change the group of"))?;
        }
        made.file.set_mode(mode).map_err(during("open up"))?;
        Ok((made, listener.into()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    /// Removes the file, unless somebody has put another one there.
    fn drop(&mut self) {
        // A file that cannot be removed is replaced by the next daemon.
        let _ = self.directory.remove(&self.file);
    }
}

fn during(what: &'static str, path: &Path) -> impl Fn(io::Error) -> BindError {
    move |source| BindError::Kernel { what, path: path.to_owned(), source }
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Whether `file` is the one that `listener` is bound to: a connection made through it must
/// arrive there. Nobody but this user may connect yet.
fn leads_to(file: &Found, listener: &OwnedFd) -> io::Result<bool> {
    if !file.is_socket()? {
        return Ok(false);
    }
    let probe = socket()?;
    match connect(&probe, &SocketAddrUnix::new(file.path())?) {
        Ok(()) => {}
        Err(rustix::io::Errno::CONNREFUSED) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    // Another process of root may have been faster.
    for _ in 0..=BACKLOG {
        let accepted = match accept_with(listener, SocketFlags::CLOEXEC) {
            Err(rustix::io::Errno::AGAIN) => break,
            accepted => accepted?,
        };
        let peer = getsockopt(&accepted, sockopt::PeerCredentials)?;
        if peer.pid().cast_unsigned() == std::process::id() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the directory, or what it would be made in, is a cgroup.
fn is_on_cgroupfs(path: &Path) -> bool {
    let existing = path.ancestors().skip(1).find(|above| above.exists());
    let kind = existing.and_then(|above| statfs(above).ok()).map(|stat| stat.filesystem_type());
    matches!(kind, Some(CGROUP_SUPER_MAGIC | CGROUP2_SUPER_MAGIC))
}

/// Taken by one daemon at a time; the kernel releases it however that one ends.
fn lock(path: &Path, directory: &Directory) -> Result<Flock<File>, BindError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = Path::new(&name);
    let file = directory.lock_file().map_err(during("open", name))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => BindError::InUse(path.to_owned()),
        errno => during("lock", name)(errno.into()),
    })
}

/// Removes a socket that nobody listens on. A listener that does not know our lock, like an
/// old cgmanager, is found by connecting.
fn remove_stale(path: &Path, directory: &Directory) -> Result<(), BindError> {
    let during = |what| during(what, path);
    let file = match directory.look_up() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found.map_err(during("look at"))?,
    };
    if !file.is_socket().map_err(during("look at"))? {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    let probe = socket().map_err(during("make a socket for"))?;
    let address = SocketAddrUnix::new(file.path()).map_err(|e| during("use")(e.into()))?;
    match connect(&probe, &address) {
        Err(rustix::io::Errno::CONNREFUSED) => directory.remove(&file).map_err(during("remove")),
        _ => Err(BindError::InUse(path.to_owned())),
    }
}
