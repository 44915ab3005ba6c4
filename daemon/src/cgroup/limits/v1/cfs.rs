//! `cpu.max` in two files, between whose writes the kernel sees a third share.

use cgroupd_proto::limit::{Bound, CpuMax};

use super::super::amount::{odd, read_bound};
use super::super::draft::Draft;
use super::super::place::Place;
use super::super::table::{PERIOD, QUOTA};
use super::super::v2::{Share, rank_of_shares};
use super::number_or_minus_one;
use crate::Result;

pub(in super::super) fn read_share(place: &Place<'_>) -> Result<Share> {
    let quota = read_bound(place, QUOTA)?;
    match read_bound(place, PERIOD)? {
        Bound::At(period) => Ok((quota, period)),
        Bound::Max => Err(odd(place, PERIOD, "max")),
    }
}

pub(in super::super) fn cpu_max(place: &Place<'_>, new: CpuMax) -> Result<Draft> {
    let old = read_share(place)?;
    let new = (new.quota, new.period.unwrap_or(old.1));
    let rank = rank_of_shares(old, new);
    let quota = place.step(QUOTA, number_or_minus_one(new.0), rank)?;
    let period = place.step(PERIOD, new.1.to_string(), rank)?;
    let mut steps = match period_first(old, new) {
        true => [period, quota],
        false => [quota, period],
    };
    steps[0].or_after_next = old.1 != new.1;
    Ok(Draft { steps: steps.into(), wire: format!("{} {}", new.0, new.1) })
}

/// Between the two writes stands a third share. The smaller of the two possible ones never
/// exceeds the parent's; should a child have more, the kernel refuses and the other way round
/// is tried.
fn period_first(old: Share, new: Share) -> bool {
    match (old, new) {
        // Nothing stands between: should the quota be refused, nothing was changed.
        ((_, old), (_, new)) if old == new => false,
        (_, (Bound::Max, _)) => false,
        ((Bound::Max, _), _) => true,
        ((Bound::At(quota), period), (Bound::At(new_quota), new_period)) => {
            let quota_first = u128::from(new_quota) * u128::from(new_period);
            u128::from(quota) * u128::from(period) < quota_first
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Bound = Bound::Max;

    fn at(number: u64) -> Bound {
        Bound::At(number)
    }

    #[test]
    fn the_share_between_the_writes_is_the_smaller_one() {
        for (old, new, period_is_first) in [
            ((MAX, 100), (at(50), 100), false),
            ((MAX, 100), (at(50), 200), true),
            ((at(50), 100), (MAX, 200), false),
            ((at(50), 100), (at(60), 50), false),
            ((at(60), 50), (at(50), 100), true),
            ((at(50), 100), (at(100), 200), true),
            ((at(100), 200), (at(50), 100), false),
        ] {
            assert_eq!(period_first(old, new), period_is_first, "{old:?} {new:?}");
            if let ((at_old, period), (at_new, new_period)) = (old, new)
                && let (Bound::At(quota), Bound::At(new_quota)) = (at_old, at_new)
            {
                let share = |quota: u64, period: u64| quota as f64 / period as f64;
                let between = match period_is_first {
                    true => share(quota, new_period),
                    false => share(new_quota, period),
                };
                let other = match period_is_first {
                    true => share(new_quota, period),
                    false => share(quota, new_period),
                };
                assert!(between <= other);
            }
        }
    }
}
