//! v2's limits in v1's files: other numbers, and two files where v2 has one.

mod cfs;
mod memory;

use cgroupd_proto::limit::{Bound, IoKey, IoMax};

use super::draft::{Draft, device_number};
use super::place::Place;
use super::rows::Throttles;
use super::step::{Rank, Step, Undo};
use super::table::THROTTLE;
use crate::{Error, Result};

pub(super) use cfs::{cpu_max, read_share};
pub(super) use memory::{memory, swap, swap_needs_max};

/// v1's word for no limit.
pub(super) fn number_or_minus_one(bound: Bound) -> String {
    match bound {
        Bound::At(number) => number.to_string(),
        Bound::Max => "-1".to_owned(),
    }
}

/// v2's default weight of 100 is v1's 1024 shares.
pub(super) fn shares(weight: u64) -> u64 {
    ((weight * 1024 + 50) / 100).clamp(2, 262_144)
}

/// The weight that was written as so many shares.
pub(super) fn weight(shares: u64) -> u64 {
    ((shares.saturating_mul(100) + 512) / 1024).clamp(1, 10_000)
}

/// What the parent has in `file`; `None` when the caller's scope ends here.
pub(super) fn parents(place: &Place<'_>, file: &str) -> Result<Option<String>> {
    let Some(parent) = place.above()?.into_iter().next() else { return Ok(None) };
    let text = place.reader(file)?.run(|| parent.read(file)).map_err(|errno| {
        Error::kernel(format_args!("{}: read the parent's {file}", place.name), errno)
    })?;
    Ok(Some(text.trim().to_owned()))
}

pub(super) fn read_throttles(place: &Place<'_>) -> Result<Throttles> {
    let mut throttles = Throttles::default();
    for (key, file) in IoKey::ALL.into_iter().zip(THROTTLE) {
        throttles.add_v1(key, &place.read(file)?);
    }
    Ok(throttles)
}

/// A write for each device and key; 0 takes a row away.
pub(super) fn io_max(place: &Place<'_>, rows: &[IoMax]) -> Result<Draft> {
    let mut expected = read_throttles(place)?;
    let mut steps = Vec::new();
    for row in rows {
        let device = device_number(place, &row.device, THROTTLE[0])?;
        for (key, bound) in &row.bounds {
            let value = match bound {
                Bound::At(value) => *value,
                Bound::Max => 0,
            };
            expected.set(&device, *key, *bound);
            let undo = Undo::Row { key: device.clone(), unset: Some(format!("{device} 0")) };
            let text = format!("{device} {value}");
            let step = place.step(THROTTLE[*key as usize], text, Rank::Neutral)?;
            steps.push(Step { undo, ..step });
        }
    }
    Ok(Draft { steps, wire: expected.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weight_survives_its_shares() {
        assert_eq!((shares(100), shares(1), shares(10_000)), (1024, 10, 102_400));
        for given in 1..=10_000 {
            assert_eq!(weight(shares(given)), given);
        }
        assert_eq!((weight(2), weight(262_144)), (1, 10_000));
    }
}
