//! A caller whose credentials somebody passed on, over a socket: the kernel has checked that the
//! sender may name this process, and these ids, but each for itself.

use nix::errno::Errno;
use nix::sys::socket::UnixCredentials;

use super::credentials::{Ids, Refused};
use super::{Caller, Host, Process};

impl Caller {
    /// The process that was named, with the ids that were named, when they are its own.
    ///
    /// # Errors
    /// When it is gone or invisible, or has other ids.
    pub fn passed_on(credentials: &UnixCredentials, host: &Host) -> Result<Self, Refused> {
        let (pid, uid, gid) = (credentials.pid(), credentials.uid(), credentials.gid());
        if pid <= 0 || uid == u32::MAX || gid == u32::MAX {
            return Err(Refused::Invisible);
        }
        let process = Process::pin(pid)?;
        let has = |line: &str, id: u32| {
            Ok::<_, Errno>(process.ids(line)?.iter().take(3).any(|own| *own == id))
        };
        if !has("Uid", uid)? || !has("Gid", gid)? {
            return Err(Refused::Unknown(Errno::EPERM));
        }
        let groups = process.ids("Groups")?;
        Self::new(Ids { uid, gid, groups }, process, None, host)
    }
}
