//! What the process is: root, not traceable, able to act as somebody else and to come back.

use std::path::PathBuf;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{geteuid, mkdir, mkdtemp};

use super::Failure;
use crate::cgroup::handle::errno_of;
use crate::policy::IdMap;
use crate::sys::creds::{self, CapSet, Identity};
use crate::transport::{Limits, raise_open_files};

/// Descriptors of a plain connection: the socket, its process, its namespaces.
const PER_CONNECTION: usize = 6;
/// Descriptors for everything else.
const OWN: usize = 256;

pub(crate) fn require_root() -> Result<(), Failure> {
    let uid = geteuid();
    if uid.is_root() { Ok(()) } else { Err(Failure::NotRoot(uid.as_raw())) }
}

/// Makes the process what acting as others relies on, and proves that it works.
pub(super) fn settle() -> Result<(), Failure> {
    nix::sys::prctl::set_dumpable(false).map_err(Failure::kernel("become undumpable"))?;
    // New cgroups get the mode that the kernel's own tools give them.
    umask(Mode::from_bits_truncate(0o022));
    // A directory that somebody may want to unmount is not ours to hold.
    nix::unistd::chdir("/").map_err(Failure::kernel("change to /"))?;
    creds::own_groups();
    if creds::keeps_capabilities_over_setuid()? {
        return Err(Failure::Identity(
            "SECBIT_NO_SETUID_FIXUP is set\nhint: start cgroupd without that secure bit".to_owned(),
        ));
    }
    self_test()
}

/// Acts as an ordinary user and tries what only root may do.
fn self_test() -> Result<(), Failure> {
    let Some(identity) = somebody()? else {
        tracing::warn!("no other user is mapped into this user namespace: only root is served");
        return Ok(());
    };
    let directory = RootsOnly::make().map_err(Failure::kernel("make a directory in /run"))?;
    let child = directory.0.join("child");
    let (caps, made) = creds::act_as(&identity, || {
        (creds::capabilities(0), mkdir(&child, Mode::from_bits_truncate(0o700)))
    });
    match (caps, made) {
        (Ok((CapSet::EMPTY, _)), Err(Errno::EACCES)) => Ok(()),
        (caps, made) => Err(Failure::Identity(format!(
            "as uid {} the capabilities are {caps:?}, and mkdir in root's directory answers \
             {made:?} instead of EACCES\nhint: look for a security module or an emulator",
            identity.uid
        ))),
    }
}

/// An ordinary user of this user namespace; `None` where only root is mapped.
fn somebody() -> Result<Option<Identity>, Failure> {
    let (uids, gids) = (own_map("/proc/self/uid_map")?, own_map("/proc/self/gid_map")?);
    let exists = |id: &u32| uids.outside(*id).is_some() && gids.outside(*id).is_some();
    let id = [65534, 1].into_iter().find(exists);
    let identity = |id| Identity { uid: id, gid: id, groups: Arc::default(), caps: CapSet::EMPTY };
    Ok(id.map(identity))
}

fn own_map(name: &str) -> Result<IdMap, Failure> {
    let text = std::fs::read_to_string(name).map_err(errno_of);
    let map = text.and_then(|text| IdMap::parse(&text).ok_or(Errno::EINVAL));
    map.map_err(Failure::kernel(format!("read {name}")))
}

/// An empty directory of mode 0700, removed when dropped.
struct RootsOnly(PathBuf);

impl RootsOnly {
    fn make() -> nix::Result<Self> {
        let elsewhere = std::env::temp_dir().join("cgroupd-XXXXXX");
        mkdtemp("/run/cgroupd-XXXXXX").or_else(|_| mkdtemp(&elsewhere)).map(Self)
    }
}

impl Drop for RootsOnly {
    fn drop(&mut self) {
        // The child exists only when the test failed.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Raises the limit of open files, and says when the configured connections may not fit.
pub(super) fn raise_descriptor_limit(limits: &Limits) -> Result<(), Failure> {
    let got = raise_open_files().map_err(Failure::kernel("raise the limit of open files"))?;
    let wanted = ((limits.connections + limits.connections_per_key) * PER_CONNECTION + OWN) as u64;
    tracing::debug!(got, "open files");
    if got < wanted {
        let limit = "fewer connections than configured may fit; raise the hard limit (ulimit -n)";
        tracing::warn!(got, wanted, "open files: {limit}");
    }
    Ok(())
}
