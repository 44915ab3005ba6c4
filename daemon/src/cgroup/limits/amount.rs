//! Amounts of memory: shares of what there is, the kernel's rounding, present use.

use cgroupd_proto::ErrorName;
use cgroupd_proto::limit::{Bound, LimitName, Size};
use nix::unistd::{SysconfVar, sysconf};

use super::place::Place;
use super::step::Rank;
use super::table::LIMIT;
use crate::cgroup::Version;
use crate::cgroup::handle::errno_of;
use crate::cgroup::values::bound;
use crate::cgroup::waiting::{GROWTH, usage_of};
use crate::{Error, Result};

/// What the kernel will make of a size: whole pages, and no limit from its largest number on.
///
/// # Errors
/// InvalidLimit when nothing would be left; Failed when the kernel does not say what there is.
pub(super) fn amount(place: &Place<'_>, size: Size) -> Result<Bound> {
    let bytes = match size {
        Size::Max => return Ok(Bound::Max),
        Size::Bytes(bytes) => bytes,
        Size::Percent(share) => match share.is_zero() {
            true => 0,
            false => share.percent_of(available(place)?).unwrap_or(u64::MAX).max(1),
        },
    };
    let page = page_size();
    match to_pages(bytes, page) {
        Bound::At(0) if bytes > 0 => {
            let why = format!("{bytes} would round to 0: memory is counted in pages of {page}");
            Err(place.error(ErrorName::InvalidLimit, why).hint("say 0 when you mean it"))
        }
        bound => Ok(bound),
    }
}

fn to_pages(bytes: u64, page: u64) -> Bound {
    let most = i64::MAX.unsigned_abs() / page;
    match bytes / page {
        pages if pages >= most => Bound::Max,
        pages => Bound::At(pages * page),
    }
}

pub(super) fn page_size() -> u64 {
    const USUAL: u64 = 4096;
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or(USUAL)
}

/// The memory that a percentage is of: the limit of the nearest limited ancestor within the
/// caller's scope, else the machine's.
fn available(place: &Place<'_>) -> Result<u64> {
    let file = match place.version() {
        Version::V1 => LIMIT,
        Version::V2 => "memory.max",
    };
    for dir in place.above()? {
        let unread = |errno| {
            Error::kernel(format_args!("{}: read {file} of an ancestor", place.name), errno)
        };
        // A hierarchy's root has no memory.max and no limit.
        if !dir.has_file(file).map_err(unread)? {
            continue;
        }
        let text = place.reader(file)?.run(|| dir.read(file)).map_err(unread)?;
        if let Some(Bound::At(limit)) = bound(&text) {
            return Ok(limit);
        }
    }
    machine_memory()?
        .ok_or_else(|| place.error(ErrorName::Failed, "/proc/meminfo does not say MemTotal"))
}

fn machine_memory() -> Result<Option<u64>> {
    let text = std::fs::read_to_string("/proc/meminfo").map_err(errno_of);
    Ok(mem_total(&text.map_err(|errno| Error::kernel("read /proc/meminfo", errno))?))
}

fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Reads a number of the kernel's that must be there.
pub(super) fn read_bound(place: &Place<'_>, file: &str) -> Result<Bound> {
    let raw = place.read(file)?;
    bound(&raw).ok_or_else(|| odd(place, file, &raw))
}

/// The kernel said something this code does not know.
pub(super) fn odd(place: &Place<'_>, file: &str, raw: &str) -> Error {
    place.error(ErrorName::Failed, format_args!("{file} says {:?}", raw.trim()))
}

/// When to write the memory limit in `file`, seen from what is in use.
///
/// # Errors
/// Busy when there is more in use than would be allowed, unless forced: v2 would kill.
pub(super) fn memory_rank(
    place: &Place<'_>,
    file: &str,
    old: Bound,
    new: Bound,
    force: bool,
) -> Result<Rank> {
    let usage = usage_of(file).map(|usage| place.read_if_there(usage)).transpose()?.flatten();
    let used = match usage.as_deref().and_then(bound) {
        Some(Bound::At(used)) => used,
        _ => 0,
    };
    let kills = matches!(place.name, LimitName::MemoryMax | LimitName::MemorySwapMax);
    if kills && new < Bound::At(used) && !force {
        return Err(below_use(place, new, used));
    }
    Ok(if may_reclaim(old, new, used) { Rank::MayWait } else { Rank::of(old, new) })
}

/// Also a larger limit than before makes the kernel reclaim when more is in use.
fn may_reclaim(old: Bound, new: Bound, used: u64) -> bool {
    let soon = if new < old { used.saturating_add(GROWTH) } else { used };
    used > 0 && new < Bound::At(soon)
}

fn below_use(place: &Place<'_>, new: Bound, used: u64) -> Error {
    let why = format!("{new} is below the {used} bytes in use");
    let hint = match place.version() {
        Version::V1 => "with force the kernel tries to reclaim the difference",
        Version::V2 => "with force the kernel reclaims, and kills what does not fit",
    };
    place.error(ErrorName::Busy, why).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_round_down_to_pages() {
        assert_eq!(to_pages(10_000_001, 4096), Bound::At(9_998_336));
        assert_eq!(to_pages(1, 4096), Bound::At(0));
        assert_eq!(to_pages(u64::MAX, 4096), Bound::Max);
        assert_eq!(to_pages(9_223_372_036_854_771_712, 4096), Bound::Max);
        assert_eq!(to_pages(9_223_372_036_854_771_711, 4096), Bound::At(9_223_372_036_854_767_616));
        assert_eq!(to_pages(70_000, 65_536), Bound::At(65_536));
    }

    #[test]
    fn the_machines_memory() {
        let text = "MemFree: 1 kB\nMemTotal:       24684092 kB\n";
        assert_eq!(mem_total(text), Some(24_684_092 << 10));
        assert_eq!(mem_total("MemTotal: x kB\n"), None);
        assert!(machine_memory().unwrap().unwrap() > 1 << 20);
    }

    #[test]
    fn what_may_reclaim() {
        const M: u64 = 1 << 20;
        for (old, new, used, expected) in [
            (Bound::Max, Bound::At(0), 0, false),
            (Bound::Max, Bound::Max, 1 << 40, false),
            (Bound::Max, Bound::At(10 * M), 9 * M, true),
            (Bound::Max, Bound::At(100 * M), 9 * M, false),
            (Bound::At(5 * M), Bound::At(10 * M), 9 * M, false),
            (Bound::At(5 * M), Bound::At(8 * M), 9 * M, true),
        ] {
            assert_eq!(may_reclaim(old, new, used), expected, "{old} {new} {used}");
        }
    }
}
