//! The freezer of a cgroup: `cgroup.freeze` of v2, `freezer.state` of v1
//! (`Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/freezer-subsystem.rst`).
//!
//! A freeze takes a while, and whoever began it must not leave half of it behind. So the cgroup
//! is marked before the first write and until the kernel says that it is done; a daemon that
//! was killed in between finds the mark when it starts, and thaws.

use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::time::TimeValLike;

use super::{Dir, Hierarchy, Pauses, Version, below};

/// What a cgroup whose freeze is under way is marked with; the value says by which daemon.
const MARK: &str = "freezing";

/// An open freezer. Permission was asked for when it was opened: what was begun can be undone
/// whatever happens to its owner and mode meanwhile.
#[derive(Debug)]
pub struct Freezer {
    dir: Dir,
    version: Version,
    file: OwnedFd,
}

/// How waiting for a freezer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The kernel says that it is done.
    Done,
    /// Somebody else asked for the opposite meanwhile.
    Countermanded,
    /// The deadline passed.
    TimedOut,
}

impl Freezer {
    /// The file that sets the freezer of cgroups in `hierarchy`; `None` where there is none.
    pub fn file(hierarchy: &Hierarchy) -> Option<&'static str> {
        match hierarchy.version {
            Version::V2 => Some("cgroup.freeze"),
            Version::V1 => hierarchy.is_v1_of("freezer").then_some("freezer.state"),
        }
    }

    /// Opens the freezer of `dir` with the rights of this thread.
    ///
    /// # Errors
    /// ENOENT in a hierarchy's root, EACCES, EMFILE.
    pub fn open(dir: &Dir, version: Version) -> nix::Result<Self> {
        let name = match version {
            Version::V2 => "cgroup.freeze",
            Version::V1 => "freezer.state",
        };
        Ok(Self { dir: dir.try_clone()?, version, file: dir.open_file(name, OFlag::O_WRONLY)? })
    }

    /// Begins to freeze, and marks the cgroup; `false` when it was told to freeze before. What a
    /// daemon that is gone began is taken over.
    ///
    /// # Errors
    /// What the kernel answers to marking or writing.
    pub fn begin(&self) -> nix::Result<bool> {
        let _turn = turn();
        let abandoned = self.dir.marked(MARK)?.is_some_and(|by| by != *INSTANCE);
        if self.is_set()? && !abandoned {
            return Ok(false);
        }
        self.dir.mark(MARK, &INSTANCE)?;
        match self.set(true) {
            Ok(()) => Ok(true),
            Err(errno) => {
                let _ = self.dir.unmark(MARK);
                Err(errno)
            }
        }
    }

    /// What was begun is complete: it stays.
    ///
    /// # Errors
    /// What the kernel answers to taking the mark away.
    pub fn keep(&self) -> nix::Result<()> {
        self.dir.unmark(MARK)
    }

    /// Thaws the cgroup, and takes the mark away. Not the cgroups below that have a freezer set
    /// of their own.
    ///
    /// # Errors
    /// What the kernel answers to the write.
    pub fn thaw(&self) -> nix::Result<()> {
        let _turn = turn();
        self.set(false)?;
        self.dir.unmark(MARK)
    }

    /// Waits until the kernel has frozen (or thawed) all that is in the cgroup and below it.
    ///
    /// # Errors
    /// ENODEV when the cgroup is gone.
    pub fn wait(&self, frozen: bool, deadline: Instant) -> nix::Result<Reached> {
        let mut pauses = Pauses::until(deadline);
        loop {
            // v1 brings its state up to date when somebody reads it, and tells nobody: so there
            // is nothing to poll for.
            if self.is_done(frozen)? {
                return Ok(Reached::Done);
            }
            if self.is_set()? != frozen {
                return Ok(Reached::Countermanded);
            }
            if !pauses.sleep() {
                return Ok(Reached::TimedOut);
            }
            if frozen && self.version == Version::V1 {
                self.insist()?;
            }
        }
    }

    /// v1 tells each process once, and one that was just falling asleep (in v2's freezer, for
    /// example) misses it; told again, the kernel tells them again.
    fn insist(&self) -> nix::Result<()> {
        let _turn = turn();
        if self.is_set()? { self.set(true) } else { Ok(()) }
    }

    /// Whether this very cgroup was told to freeze.
    ///
    /// # Errors
    /// ENODEV when the cgroup is gone.
    pub fn is_set(&self) -> nix::Result<bool> {
        is_set(&self.dir, self.version)
    }

    /// Whether all that is in the cgroup and below is frozen, by whichever freezer; or none of it
    /// by this one.
    fn is_done(&self, frozen: bool) -> nix::Result<bool> {
        match (self.version, frozen) {
            (Version::V2, true) => all_frozen(&self.dir),
            (Version::V2, false) => is_called_frozen(&self.dir).map(|called| !called),
            (Version::V1, _) => Ok((self.dir.read("freezer.state")?.trim() == "FROZEN") == frozen),
        }
    }

    fn set(&self, frozen: bool) -> nix::Result<()> {
        let value = match (self.version, frozen) {
            (Version::V2, true) => "1",
            (Version::V2, false) => "0",
            (Version::V1, true) => "FROZEN",
            (Version::V1, false) => "THAWED",
        };
        nix::unistd::write(&self.file, value.as_bytes()).map(drop)
    }
}

/// v2 calls a cgroup frozen when all processes right in it are, whatever those below do, if it has
/// both: so each below is asked, too.
fn all_frozen(top: &Dir) -> nix::Result<bool> {
    let mut all = is_called_frozen(top)?;
    if all && top.has_children()? {
        below(top, |_, _, dir| {
            all = is_called_frozen(dir).or_else(|errno| match errno {
                Errno::ENOENT | Errno::ENODEV => Ok(true),
                errno => Err(errno),
            })?;
            Ok(if all { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
    }
    Ok(all)
}

/// Whether `dir` itself was told to freeze.
///
/// # Errors
/// ENOENT in a hierarchy's root, ENODEV when the cgroup is gone.
pub fn is_set(dir: &Dir, version: Version) -> nix::Result<bool> {
    let file = match version {
        Version::V2 => "cgroup.freeze",
        Version::V1 => "freezer.self_freezing",
    };
    Ok(dir.read(file)?.trim() == "1")
}

/// Whether a cgroup above `dir` was told to freeze: then nothing below it runs, whatever its own
/// freezer says. A cgroup that is moved meanwhile keeps the answer it had.
///
/// # Errors
/// ENOENT when the cgroup is gone.
pub fn is_set_above(hierarchy: &Hierarchy, dir: &Dir) -> nix::Result<bool> {
    if hierarchy.version == Version::V1 {
        return Ok(dir.read("freezer.parent_freezing")?.trim() == "1");
    }
    let place = dir.place()?;
    let names = place.strip_prefix(hierarchy.top.place()?).map_err(|_| Errno::ENOENT)?;
    for above in names.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        match is_set(&hierarchy.top.open(above)?, hierarchy.version) {
            Ok(false) | Err(Errno::ENOENT) => {}
            answer => return answer,
        }
    }
    // The mount's own top is a cgroup like others when it is not the hierarchy's root.
    match is_set(&hierarchy.top, hierarchy.version) {
        Err(Errno::ENOENT) => Ok(false),
        answer => answer,
    }
}

/// Thaws `dir` when a daemon that is gone left a freeze of it unfinished, and answers whether it
/// did.
///
/// # Errors
/// What the kernel answers.
pub fn thaw_abandoned(dir: &Dir, version: Version) -> nix::Result<bool> {
    let _turn = turn();
    match dir.marked(MARK)? {
        Some(by) if by != *INSTANCE => {
            Freezer::open(dir, version)?.set(false)?;
            dir.unmark(MARK).map(|()| true)
        }
        _ => Ok(false),
    }
}

/// This run of the daemon: its number, and when it was first asked for. Another run of the same
/// number has another time.
static INSTANCE: LazyLock<String> = LazyLock::new(|| {
    let clock = nix::time::ClockId::CLOCK_BOOTTIME;
    let now = clock.now().map_or(0, |time| time.num_nanoseconds());
    format!("{}-{now}", std::process::id())
});

/// Mark and freezer change together: a look at both never sees one without the other.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_called_frozen(dir: &Dir) -> nix::Result<bool> {
    Ok(dir.read("cgroup.events")?.lines().any(|line| line == "frozen 1"))
}
