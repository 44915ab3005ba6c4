//! `memory.limit_in_bytes`, and `memory.memsw.limit_in_bytes`, which bounds memory and swap
//! together and may at no time be the smaller of the two.

use cgroupd_proto::ErrorName;
use cgroupd_proto::limit::{Bound, Limit, LimitName, Size};

use super::super::amount::{amount, memory_rank, read_bound};
use super::super::draft::{Draft, Wish};
use super::super::place::{Place, v2_only};
use super::super::step::{Rank, Step};
use super::super::table::{LIMIT, MEMSW};
use super::number_or_minus_one;
use crate::{Error, Result};

pub(in super::super) fn memory(place: &Place<'_>, limit: &Limit, wish: Wish<'_>) -> Result<Draft> {
    match place.name {
        LimitName::MemoryMax | LimitName::MemorySwapMax => max_and_swap(place, wish),
        _ => {
            let file = place.file()?;
            let Limit::Memory(_, size) = limit else {
                return Err(v2_only(place.name));
            };
            let new = amount(place, *size)?;
            let rank = Rank::of(read_bound(place, &file)?, new);
            let step = place.step(file, number_or_minus_one(new), rank)?;
            Ok(Draft { steps: vec![step], wire: new.to_string() })
        }
    }
}

/// Both limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    limit: Bound,
    memsw: Option<Bound>,
}

/// Both limits are planned where the last of them stands, as one pair.
fn max_and_swap(place: &Place<'_>, wish: Wish<'_>) -> Result<Draft> {
    let old = Pair {
        limit: read_bound(place, LIMIT)?,
        memsw: place.has(MEMSW)?.then(|| read_bound(place, MEMSW)).transpose()?,
    };
    let new = wanted_pair(place, wish, old)?;
    let both = wish.set.get(LimitName::MemoryMax).is_some()
        && wish.set.get(LimitName::MemorySwapMax).is_some();
    let (wire, steps) = match place.name {
        LimitName::MemorySwapMax => {
            let swap = new.memsw.map_or(Bound::Max, |memsw| swap(new.limit, memsw));
            let steps = if both { Vec::new() } else { pair_steps(place, wish, old, new)? };
            (swap, steps)
        }
        _ => (new.limit, pair_steps(place, wish, old, new)?),
    };
    Ok(Draft { wire: wire.to_string(), steps })
}

fn size_of(wish: Wish<'_>, name: LimitName) -> Option<Size> {
    match wish.set.get(name) {
        Some(Limit::Memory(_, size)) => Some(*size),
        _ => None,
    }
}

fn wanted_pair(place: &Place<'_>, wish: Wish<'_>, old: Pair) -> Result<Pair> {
    let bytes =
        |name| size_of(wish, name).map(|size| amount(&place.renamed(name), size)).transpose();
    let limit = bytes(LimitName::MemoryMax)?.unwrap_or(old.limit);
    let swap = bytes(LimitName::MemorySwapMax)?;
    let memsw = match (old.memsw, swap) {
        (Some(memsw), swap) => {
            Some(memsw_for(limit, swap, (old.limit, memsw)).ok_or_else(|| swap_needs_max(place))?)
        }
        (None, Some(_)) => return Err(place.renamed(LimitName::MemorySwapMax).missing(MEMSW)?),
        (None, None) => None,
    };
    Ok(Pair { limit, memsw })
}

pub(in super::super) fn swap_needs_max(place: &Place<'_>) -> Error {
    place
        .renamed(LimitName::MemorySwapMax)
        .error(
            ErrorName::InvalidLimit,
            "cgroup v1 bounds memory and swap together, and memory.max is not set",
        )
        .hint("set memory.max with it")
}

/// What memory and swap together may be. Without a word about swap, swap stays what it is.
fn memsw_for(limit: Bound, swap: Option<Bound>, old: (Bound, Bound)) -> Option<Bound> {
    match (swap, limit) {
        (Some(Bound::Max), _) | (None, Bound::Max) => Some(Bound::Max),
        (Some(Bound::At(_)), Bound::Max) => None,
        (Some(Bound::At(swap)), Bound::At(limit)) => Some(sum(limit, swap)),
        (None, Bound::At(limit)) => Some(match old {
            (Bound::At(old_limit), Bound::At(memsw)) => sum(limit, memsw.saturating_sub(old_limit)),
            _ => Bound::Max,
        }),
    }
}

/// Near 2⁶³ the kernel takes a number for no limit.
fn sum(limit: u64, swap: u64) -> Bound {
    match limit.saturating_add(swap) {
        bytes if bytes >= 1 << 62 => Bound::Max,
        bytes => Bound::At(bytes),
    }
}

/// Swap alone.
pub(in super::super) fn swap(limit: Bound, memsw: Bound) -> Bound {
    match (limit, memsw) {
        (Bound::At(limit), Bound::At(memsw)) => Bound::At(memsw.saturating_sub(limit)),
        _ => Bound::Max,
    }
}

/// Raised memsw first, lowered memsw last: it is at no time below the limit. Both lowered stay
/// together in the ranks.
fn pair_steps(place: &Place<'_>, wish: Wish<'_>, old: Pair, new: Pair) -> Result<Vec<Step>> {
    let has = |name| wish.set.get(name).is_some();
    let mut limit = has(LimitName::MemoryMax)
        .then(|| pair_step(place, LIMIT, old.limit, new.limit, wish.force))
        .transpose()?;
    let (Some(old_memsw), Some(new_memsw)) = (old.memsw, new.memsw) else {
        return Ok(limit.into_iter().collect());
    };
    if new_memsw == old_memsw && !has(LimitName::MemorySwapMax) {
        return Ok(limit.into_iter().collect());
    }
    let mut memsw = pair_step(place, MEMSW, old_memsw, new_memsw, wish.force)?;
    if new_memsw >= old_memsw {
        return Ok([Some(memsw), limit].into_iter().flatten().collect());
    }
    if let Some(limit) = limit.as_mut().filter(|limit| limit.rank >= Rank::Tighten) {
        limit.rank = limit.rank.max(memsw.rank);
        memsw.rank = limit.rank;
    }
    Ok([limit, Some(memsw)].into_iter().flatten().collect())
}

fn pair_step(
    place: &Place<'_>,
    file: &'static str,
    old: Bound,
    new: Bound,
    force: bool,
) -> Result<Step> {
    let rank = memory_rank(place, file, old, new, force)?;
    place.step(file, number_or_minus_one(new), rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Bound = Bound::Max;

    fn at(number: u64) -> Bound {
        Bound::At(number)
    }

    #[test]
    fn memory_and_swap_together() {
        for (limit, asked, old, memsw) in [
            (at(50), Some(at(10)), (MAX, MAX), Some(at(60))),
            (at(50), Some(at(0)), (MAX, MAX), Some(at(50))),
            (at(50), Some(MAX), (at(10), at(20)), Some(MAX)),
            (at(50), None, (at(10), at(30)), Some(at(70))),
            (at(50), None, (at(10), MAX), Some(MAX)),
            (at(50), None, (MAX, MAX), Some(MAX)),
            (MAX, None, (at(10), at(30)), Some(MAX)),
            (MAX, Some(at(10)), (MAX, MAX), None),
            (at(50), Some(at(u64::MAX)), (MAX, MAX), Some(MAX)),
        ] {
            assert_eq!(memsw_for(limit, asked, old), memsw, "{limit} {asked:?} {old:?}");
        }
        assert_eq!(swap(at(50), at(60)), at(10));
        assert_eq!(swap(at(50), MAX), MAX);
    }
}
