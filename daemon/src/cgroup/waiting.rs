//! Which writes the kernel may hold up: they do not run where somebody else would wait with them.

use cgroupd_proto::limit::Bound;
use nix::errno::Errno;

use super::Dir;
use super::values::bound;

/// Files whose write returns only when the kernel has reclaimed memory, or has moved it to other
/// nodes; and the file that says how much is in use, where that decides.
const MAY_WAIT: &[(&str, Option<&str>)] = &[
    ("memory.reclaim", None),
    ("memory.max", Some("memory.current")),
    ("memory.high", Some("memory.current")),
    ("memory.limit_in_bytes", Some("memory.usage_in_bytes")),
    ("memory.memsw.limit_in_bytes", Some("memory.memsw.usage_in_bytes")),
    ("memory.kmem.tcp.limit_in_bytes", Some("memory.kmem.tcp.usage_in_bytes")),
    ("cpuset.mems", None),
    ("cpuset.memory_migrate", None),
];

/// What is in use may grow by so many bytes between a look at it and a write.
pub(super) const GROWTH: u64 = 32 << 20;

/// Whether a write to the interface file of this name may take seconds. Whether it is the caller's to
/// write is judged by the kernel when the file is opened, so the write itself can run elsewhere.
pub fn may_wait(file: &str) -> bool {
    MAY_WAIT.iter().any(|(known, _)| *known == file)
}

/// As [`may_wait`], for this value: a limit well above what is in use is set at once. A value in
/// another form than plain bytes, `max` or `-1` is taken for one that may wait.
///
/// # Errors
/// What reading the use answers; ENODEV and ENOENT when the cgroup was removed.
pub fn may_wait_for(dir: &Dir, file: &str, value: &str) -> nix::Result<bool> {
    if !may_wait(file) {
        return Ok(false);
    }
    let (Some(usage), Some(limit)) = (usage_of(file), bound(value)) else { return Ok(true) };
    if limit == Bound::Max {
        return Ok(false);
    }
    match dir.read(usage) {
        Ok(used) => Ok(bound(&used).is_none_or(|used| limit < after_growth(used))),
        // A hierarchy's root says nothing of its use.
        Err(Errno::ENOENT) => Ok(true),
        Err(errno) => Err(errno),
    }
}

/// The file beside a limit's that says how much is in use.
pub(super) fn usage_of(file: &str) -> Option<&'static str> {
    MAY_WAIT.iter().find(|(known, _)| *known == file).and_then(|(_, usage)| *usage)
}

fn after_growth(used: Bound) -> Bound {
    match used {
        Bound::At(used) => Bound::At(used.saturating_add(GROWTH)),
        Bound::Max => Bound::Max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any directory will do: what is cgroupfs about a [`Dir`] are the names of its files.
    #[test]
    fn a_limit_well_above_the_use_does_not_wait() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("memory.current"), "1048576\n").unwrap();
        let dir = Dir::open_mount(place.path()).unwrap();
        for (file, value, waits) in [
            ("memory.max", "max", false),
            ("memory.max", "1073741824", false),
            ("memory.max", "34603007", true),
            ("memory.max", "34603008", false),
            ("memory.max", "1G", true),
            ("memory.limit_in_bytes", "-1", false),
            ("memory.limit_in_bytes", "1073741824", true),
            ("memory.reclaim", "4096", true),
            ("pids.max", "1", false),
        ] {
            assert_eq!(may_wait_for(&dir, file, value), Ok(waits), "{file} {value}");
        }
    }
}
