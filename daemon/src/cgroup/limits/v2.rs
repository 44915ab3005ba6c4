//! Limits as v2 has them.

use cgroupd_proto::limit::{Bound, CpuMax, IoMax, Size};

use super::amount::{amount, memory_rank, odd, read_bound};
use super::draft::{Draft, device_number};
use super::place::Place;
use super::rows::Throttles;
use super::step::{Rank, Step, Undo};
use crate::Result;

/// A quota of CPU time in a period, in microseconds.
pub(super) type Share = (Bound, u64);

pub(super) fn memory(place: &Place<'_>, size: Size, force: bool) -> Result<Draft> {
    use cgroupd_proto::limit::LimitName::{MemoryHigh, MemoryMax};
    let file = place.file()?;
    let old = read_bound(place, &file)?;
    let new = amount(place, size)?;
    let rank = match place.name {
        MemoryMax | MemoryHigh => memory_rank(place, &file, old, new, force)?,
        _ => Rank::of(old, new),
    };
    let step = place.step(file, new.to_string(), rank)?;
    Ok(Draft { steps: vec![step], wire: new.to_string() })
}

/// With a quota alone the kernel keeps the period.
pub(super) fn cpu_max(place: &Place<'_>, new: CpuMax) -> Result<Draft> {
    let file = place.file()?;
    let raw = place.read(&file)?;
    let old = parse_share(&raw).ok_or_else(|| odd(place, &file, &raw))?;
    let share = (new.quota, new.period.unwrap_or(old.1));
    let step = place.step(file, new.to_string(), rank_of_shares(old, share))?;
    Ok(Draft { steps: vec![step], wire: format!("{} {}", share.0, share.1) })
}

pub(super) fn parse_share(raw: &str) -> Option<Share> {
    let (quota, period) = raw.trim().split_once(' ')?;
    Some((crate::cgroup::values::bound(quota)?, period.parse().ok()?))
}

pub(super) fn rank_of_shares(old: Share, new: Share) -> Rank {
    match (old, new) {
        ((Bound::At(old), old_period), (Bound::At(new), period)) => {
            let new = u128::from(new) * u128::from(old_period);
            match new.cmp(&(u128::from(old) * u128::from(period))) {
                std::cmp::Ordering::Greater => Rank::Loosen,
                std::cmp::Ordering::Equal => Rank::Neutral,
                std::cmp::Ordering::Less => Rank::Tighten,
            }
        }
        _ => Rank::of(old.0, new.0),
    }
}

/// One write for each device; keys that are not named stay.
pub(super) fn io_max(place: &Place<'_>, rows: &[IoMax]) -> Result<Draft> {
    let file = place.file()?;
    let mut expected = Throttles::from_v2(&place.read(&file)?);
    let mut steps = Vec::with_capacity(rows.len());
    for row in rows {
        let key = device_number(place, &row.device, &file)?;
        let mut text = key.clone();
        for (what, bound) in &row.bounds {
            text += &format!(" {}={bound}", what.as_str());
            expected.set(&key, *what, *bound);
        }
        let unset = Some(format!("{key} rbps=max wbps=max riops=max wiops=max"));
        let undo = Undo::Row { key, unset };
        steps.push(Step { undo, ..place.step(file.clone(), text, Rank::Neutral)? });
    }
    Ok(Draft { steps, wire: expected.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        assert_eq!(parse_share("max 100000\n"), Some((Bound::Max, 100_000)));
        assert_eq!(parse_share("50000 100000\n"), Some((Bound::At(50_000), 100_000)));
        assert_eq!(parse_share("50000"), None);
        let half = (Bound::At(50), 100);
        for (new, rank) in [
            ((Bound::At(60), 100), Rank::Loosen),
            ((Bound::At(60), 200), Rank::Tighten),
            ((Bound::At(100), 200), Rank::Neutral),
            ((Bound::Max, 1), Rank::Loosen),
        ] {
            assert_eq!(rank_of_shares(half, new), rank, "{new:?}");
        }
        assert_eq!(rank_of_shares((Bound::Max, 1), half), Rank::Tighten);
    }
}
