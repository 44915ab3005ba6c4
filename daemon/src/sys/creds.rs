//! Credentials of a single thread, by raw system calls.
//!
//! The C library's wrappers change every thread of the process; here one thread acts as
//! somebody else while the others stay root. Real and saved ids and the permitted set never
//! change, so the caller can neither signal nor trace the thread, and the way back is open.

use std::process::abort;

use super::check;

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

const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Effective and permitted capabilities of a thread-group leader; 0 is the calling thread.
///
/// # Errors
/// ESRCH when there is no such process.
pub fn capabilities(pid: i32) -> nix::Result<(CapSet, CapSet)> {
    let data = capget(pid)?;
    let join = |low: u32, high: u32| CapSet(u64::from(low) | u64::from(high) << 32);
    Ok((join(data[0].effective, data[1].effective), join(data[0].permitted, data[1].permitted)))
}

fn capget(pid: i32) -> nix::Result<[CapData; 2]> {
    let mut header = CapHeader { version: VERSION_3, pid };
    let mut data = [CapData::default(); 2];
    // SAFETY: both point to live structures of the layout that version 3 asks for.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    Ok(data)
}

fn permitted(data: &[CapData; 2]) -> CapSet {
    CapSet(u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32)
}

/// Makes exactly `wanted` effective, but for what the daemon was started without, and leaves
/// permitted and inheritable as they are.
fn set_effective(own: &[CapData; 2], wanted: CapSet) -> nix::Result<()> {
    let mut header = CapHeader { version: VERSION_3, pid: 0 };
    let wanted = CapSet(wanted.0 & permitted(own).0);
    let mut data = *own;
    data[0].effective = wanted.0 as u32;
    data[1].effective = (wanted.0 >> 32) as u32;
    // SAFETY: as in capget; the kernel only reads.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) }).map(drop)
}

fn set_effective_uid(uid: u32) -> nix::Result<()> {
    // SAFETY: plain integers; -1 leaves the real and the saved id alone.
    check(unsafe { libc::syscall(libc::SYS_setresuid, -1, uid, -1) }).map(drop)
}

fn set_effective_gid(gid: u32) -> nix::Result<()> {
    // SAFETY: plain integers; -1 leaves the real and the saved id alone.
    check(unsafe { libc::syscall(libc::SYS_setresgid, -1, gid, -1) }).map(drop)
}

fn set_groups(groups: &[u32]) -> nix::Result<()> {
    // SAFETY: pointer and length describe a live slice, which the kernel only reads.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
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
    own: [CapData; 2],
}

impl Switched {
    fn to(identity: &Identity) -> Self {
        let own = or_abort(capget(0), "capget");
        or_abort(set_groups(&identity.groups), "setgroups");
        or_abort(set_effective_gid(identity.gid), "setresgid");
        or_abort(set_effective_uid(identity.uid), "setresuid");
        or_abort(set_effective(&own, identity.caps), "capset");
        Self { own }
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        or_abort(set_effective_uid(0), "setresuid back");
        // Before the groups: from uid 0 to uid 0 the kernel gives no capability back.
        or_abort(set_effective(&self.own, permitted(&self.own)), "capset back");
        or_abort(set_effective_gid(0), "setresgid back");
        or_abort(set_groups(own_groups()), "setgroups back");
    }
}

/// The supplementary groups the daemon started with; read once, before any thread switches.
pub fn own_groups() -> &'static [u32] {
    static GROUPS: std::sync::OnceLock<Vec<u32>> = std::sync::OnceLock::new();
    GROUPS.get_or_init(|| {
        let groups = or_abort(nix::unistd::getgroups(), "getgroups");
        groups.into_iter().map(nix::unistd::Gid::as_raw).collect()
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
    const SECBIT_NO_SETUID_FIXUP: libc::c_long = 1 << 2;
    // SAFETY: PR_GET_SECUREBITS takes no pointers.
    let bits = check(libc::c_long::from(unsafe { libc::prctl(libc::PR_GET_SECUREBITS) }))?;
    Ok(bits & SECBIT_NO_SETUID_FIXUP != 0)
}
