//! Credentials of a single thread.
//!
//! The C library's wrappers change every thread of the process; here one thread acts as
//! another user while the others stay root. Real and saved ids and the permitted set never
//! change, so the caller can neither signal nor trace the thread, and the way back is open.
//!
//! The functions of `rustix::thread` change the calling thread only. On architectures whose
//! first system calls for ids take 16 bits (`setresuid` on i386: 131072 would become 0) they
//! use the later ones (`setresuid32`).

use std::process::abort;

use nix::errno::Errno;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, Gid, Pid, Uid, capabilities_secure_bits,
    set_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

/// A set of capabilities, bit by bit as in `capabilities(7)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapSet(pub u64);

/// A single capability's number, from `linux/capability.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cap {
    /// Change owners.
    Chown = 0,
    /// Ignore permission bits.
    DacOverride = 1,
    /// Act as any file's owner.
    Fowner = 3,
    /// Signal anybody.
    Kill = 5,
    /// Take any group, and pass it on over a socket.
    SetGid = 6,
    /// The same with users.
    SetUid = 7,
    /// Everything that has no capability of its own.
    SysAdmin = 21,
    /// Scheduling of others; v1 cpuset asks for it.
    SysNice = 23,
}

impl CapSet {
    /// No capability.
    pub const EMPTY: Self = Self(0);

    /// The set of one.
    pub const fn one(cap: Cap) -> Self {
        Self(1 << cap as u8)
    }

    /// The same set and `cap`.
    #[must_use]
    pub const fn with(self, cap: Cap) -> Self {
        Self(self.0 | 1 << cap as u8)
    }

    /// The set and all of `other`.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are in the set.
    pub const fn includes(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Whether `cap` is in the set.
    pub const fn has(self, cap: Cap) -> bool {
        self.0 & (1 << cap as u8) != 0
    }
}

/// Whom a thread acts as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Effective (and so file system) user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Supplementary groups, all of them.
    pub groups: std::sync::Arc<[u32]>,
    /// Exactly these capabilities are effective.
    pub caps: CapSet,
}

/// Root as the daemon is, or somebody else for the length of a closure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The daemon's own rights: host root's, and the named grants'.
    Root,
    /// The caller's; the kernel itself checks what it may do.
    As(Identity),
}

impl Actor {
    /// Runs `work` on this thread with the actor's rights. See [`act_as`].
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        match self {
            Self::Root => work(),
            Self::As(identity) => act_as(identity, work),
        }
    }
}

/// Effective and permitted capabilities of a thread-group leader; 0 is the calling thread.
///
/// # Errors
/// ESRCH when there is no such process.
pub fn capabilities(pid: i32) -> nix::Result<(CapSet, CapSet)> {
    let sets = rustix::thread::capabilities(Pid::from_raw(pid)).map_err(errno)?;
    Ok((CapSet(sets.effective.bits()), CapSet(sets.permitted.bits())))
}

fn own_capabilities() -> nix::Result<CapabilitySets> {
    rustix::thread::capabilities(None).map_err(errno)
}

/// Makes exactly `wanted` effective, but for what the daemon was started without, and leaves
/// permitted and inheritable as they are.
fn set_effective(own: CapabilitySets, wanted: CapabilitySet) -> nix::Result<()> {
    let sets = CapabilitySets { effective: wanted.intersection(own.permitted), ..own };
    set_capabilities(None, sets).map_err(errno)
}

/// The real and the saved id stay as they are.
fn set_effective_uid(uid: u32) -> nix::Result<()> {
    let uid = Uid::from_raw_unchecked(valid(uid)?);
    set_thread_res_uid(None::<Uid>, uid, None::<Uid>).map_err(errno)
}

/// The real and the saved id stay as they are.
fn set_effective_gid(gid: u32) -> nix::Result<()> {
    let gid = Gid::from_raw_unchecked(valid(gid)?);
    set_thread_res_gid(None::<Gid>, gid, None::<Gid>).map_err(errno)
}

/// To `setresuid(2)` an id of -1 means that the effective id stays: the thread would act as root.
fn valid(id: u32) -> nix::Result<u32> {
    if id == u32::MAX { Err(Errno::EINVAL) } else { Ok(id) }
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

/// Runs `work` as `identity` on this thread, then is root again.
///
/// The closure must not move to another thread and cannot await. When switching or coming
/// back fails the process aborts: a thread in the wrong identity must not go on.
pub fn act_as<T>(identity: &Identity, work: impl FnOnce() -> T) -> T {
    let _back = Switched::to(identity);
    work()
}

/// Puts the thread's own credentials back when dropped, also when `work` panics.
struct Switched {
    own: CapabilitySets,
}

impl Switched {
    fn to(identity: &Identity) -> Self {
        let own = or_abort(own_capabilities(), "capget");
        // On the way back they could only be the other identity's.
        own_groups();
        let groups: Vec<Gid> =
            identity.groups.iter().map(|gid| Gid::from_raw_unchecked(*gid)).collect();
        or_abort(set_thread_groups(&groups).map_err(errno), "setgroups");
        or_abort(set_effective_gid(identity.gid), "setresgid");
        or_abort(set_effective_uid(identity.uid), "setresuid");
        let wanted = CapabilitySet::from_bits_retain(identity.caps.0);
        or_abort(set_effective(own, wanted), "capset");
        Self { own }
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        or_abort(set_effective_uid(0), "setresuid back");
        // Before the groups: from uid 0 to uid 0 the kernel gives no capability back.
        or_abort(set_effective(self.own, self.own.permitted), "capset back");
        or_abort(set_effective_gid(0), "setresgid back");
        or_abort(set_thread_groups(own_groups()).map_err(errno), "setgroups back");
    }
}

/// The supplementary groups the daemon started with; read once, before any thread switches.
pub fn own_groups() -> &'static [Gid] {
    static GROUPS: std::sync::OnceLock<Vec<Gid>> = std::sync::OnceLock::new();
    GROUPS.get_or_init(|| {
        let groups = or_abort(nix::unistd::getgroups(), "getgroups");
        groups.into_iter().map(|gid| Gid::from_raw_unchecked(gid.as_raw())).collect()
    })
}

fn or_abort<T>(result: nix::Result<T>, call: &str) -> T {
    result.unwrap_or_else(|errno| {
        eprintln!("cgroupd: {call}: {errno}: cannot change this thread's identity, aborting");
        abort()
    })
}

/// Whether `SECBIT_NO_SETUID_FIXUP` is set, under which changing the effective uid would not
/// change capabilities.
pub fn keeps_capabilities_over_setuid() -> nix::Result<bool> {
    let bits = capabilities_secure_bits().map_err(errno)?;
    Ok(bits.contains(CapabilitiesSecureBits::NO_SETUID_FIXUP))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// Above 16 bits each; the lower 16 are root's, and those of the groups.
    const ABOVE: u32 = 131_072;

    fn status(field: &str) -> Vec<u32> {
        let text = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.split_ascii_whitespace().map(|id| id.parse().unwrap()).collect()
    }

    #[test]
    #[ignore = "needs root"]
    fn ids_above_16_bits_are_taken_whole() {
        let groups = [ABOVE, ABOVE + 7].into();
        let identity = Identity { uid: ABOVE, gid: ABOVE + 1, groups, caps: CapSet::EMPTY };
        let file = tempfile::tempfile_in("/tmp").unwrap();
        let before = (status("Uid:"), status("Gid:"), status("Groups:"), capabilities(0));
        act_as(&identity, || {
            assert_eq!(status("Uid:"), [0, ABOVE, 0, ABOVE]);
            assert_eq!(status("Gid:"), [0, ABOVE + 1, 0, ABOVE + 1]);
            assert_eq!(status("Groups:"), [ABOVE, ABOVE + 7]);
            assert_eq!(capabilities(0).unwrap().0, CapSet::EMPTY);
            let own = tempfile::tempfile_in("/tmp").unwrap().metadata().unwrap();
            assert_eq!((own.uid(), own.gid()), (ABOVE, ABOVE + 1));
        });
        assert_eq!(file.metadata().unwrap().uid(), 0);
        assert_eq!((status("Uid:"), status("Gid:"), status("Groups:"), capabilities(0)), before);
    }

    #[test]
    #[ignore = "needs root"]
    fn other_threads_stay_root() {
        let identity = Identity { uid: ABOVE, gid: ABOVE, groups: [].into(), caps: CapSet::EMPTY };
        let other = || std::thread::scope(|scope| scope.spawn(|| status("Uid:")).join().unwrap());
        let (ask, asked) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        // A thread that runs already: one that is started meanwhile inherits the identity.
        let thread = std::thread::spawn(move || {
            asked.recv().unwrap();
            tell.send((status("Uid:"), status("Groups:"))).unwrap();
        });
        let before = status("Groups:");
        act_as(&identity, || {
            ask.send(()).unwrap();
            assert_eq!(told.recv().unwrap(), (vec![0; 4], before));
            assert_eq!(other(), [0, ABOVE, 0, ABOVE]);
        });
        thread.join().unwrap();
    }

    #[test]
    fn an_id_that_changes_nothing_is_refused() {
        assert_eq!(set_effective_uid(u32::MAX), Err(Errno::EINVAL));
        assert_eq!(set_effective_gid(u32::MAX), Err(Errno::EINVAL));
        assert_eq!(valid(u32::MAX - 1), Ok(u32::MAX - 1));
    }
}
