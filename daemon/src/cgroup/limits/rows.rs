//! The kernel's files with a row for each device: text in, one line out, on both versions.

use std::collections::BTreeMap;
use std::fmt;

use cgroupd_proto::limit::{Bound, IoKey};

use crate::cgroup::values::bound;

/// `io.max`, or v1's four throttle files: what is bounded, by device number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Throttles(BTreeMap<Row, [Bound; 4]>);

/// A row's key: devices by number, in the order of their numbers. The kernel has no order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row((u32, u32), String);

impl Row {
    fn of(key: &str) -> Self {
        let number = key
            .split_once(':')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        Self(number.unwrap_or_default(), key.to_owned())
    }
}

impl Throttles {
    /// `8:0 rbps=1048576 wbps=max riops=max wiops=max`
    pub(super) fn from_v2(raw: &str) -> Self {
        let mut throttles = Self::default();
        for line in raw.lines() {
            let mut words = line.split_ascii_whitespace();
            let Some(device) = words.next() else { continue };
            for word in words {
                let known = word.split_once('=').and_then(|(key, value)| {
                    let key = IoKey::ALL.into_iter().find(|known| known.as_str() == key)?;
                    Some((key, bound(value)?))
                });
                if let Some((key, value)) = known {
                    throttles.set(device, key, value);
                }
            }
        }
        throttles
    }

    /// Takes in the v1 file of one key: `8:0 1048576`.
    pub(super) fn add_v1(&mut self, key: IoKey, raw: &str) {
        for line in raw.lines() {
            let row =
                line.split_once(' ').and_then(|(device, value)| Some((device, bound(value)?)));
            if let Some((device, value)) = row {
                self.set(device, key, value);
            }
        }
    }

    pub(super) fn set(&mut self, device: &str, key: IoKey, value: Bound) {
        self.0.entry(Row::of(device)).or_insert([Bound::Max; 4])[key as usize] = value;
    }
}

/// The kernel leaves out devices that nothing bounds.
impl fmt::Display for Throttles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounded = self.0.iter().filter(|(_, bounds)| **bounds != [Bound::Max; 4]);
        for (index, (Row(_, device), bounds)) in bounded.enumerate() {
            write!(f, "{}{device}", if index == 0 { "" } else { "; " })?;
            for (key, value) in IoKey::ALL.into_iter().zip(bounds) {
                write!(f, " {}={value}", key.as_str())?;
            }
        }
        Ok(())
    }
}

/// The key of the weight that devices without a row have.
pub(super) const DEFAULT: &str = "default";

/// `io.weight`, or the file of the BFQ scheduler: weights by device number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Weights(BTreeMap<Row, u64>);

impl Weights {
    /// `default 100`, `8:0 200`; `scale` turns the file's weights into those of `io.weight`.
    pub(super) fn parse(raw: &str, scale: WeightScale) -> Self {
        let rows = raw.lines().filter_map(|line| {
            let (key, value) = line.trim().split_once(' ')?;
            Some((Row::of(key), scale.shown(value.parse().ok()?)))
        });
        Self(rows.collect())
    }

    pub(super) fn set(&mut self, key: &str, weight: Option<u64>) {
        match weight {
            Some(weight) => self.0.insert(Row::of(key), weight),
            None => self.0.remove(&Row::of(key)),
        };
    }
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.0.iter().map(|(Row(_, key), weight)| format!("{key} {weight}"));
        f.write_str(&rows.collect::<Vec<_>>().join("; "))
    }
}

/// What a file's weights range over. 100 is the middle of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WeightScale {
    /// 1 to 10000.
    Io,
    /// 1 to 1000: what is above the middle is a tenth as fine.
    Bfq,
}

impl WeightScale {
    const MIDDLE: u64 = 100;
    /// (10000 − 100) / (1000 − 100)
    const COARSER: u64 = 11;

    pub(super) fn of(file: &str) -> Self {
        if file.contains(".bfq.") { Self::Bfq } else { Self::Io }
    }

    /// A weight of `io.weight` as the file takes it.
    pub(super) fn written(self, weight: u64) -> u64 {
        match self {
            Self::Bfq if weight > Self::MIDDLE => {
                Self::MIDDLE + (weight - Self::MIDDLE) / Self::COARSER
            }
            _ => weight,
        }
    }

    /// The file's weight as `io.weight` shows it.
    fn shown(self, weight: u64) -> u64 {
        match self {
            Self::Bfq if weight > Self::MIDDLE => {
                Self::MIDDLE + (weight - Self::MIDDLE) * Self::COARSER
            }
            _ => weight,
        }
    }

    /// What is left of a weight after the file rounded it.
    pub(super) fn rounded(self, weight: u64) -> u64 {
        self.shown(self.written(weight))
    }
}

/// Rows of `misc.max` and `rdma.max` as one line.
pub(super) fn joined(raw: &str) -> String {
    raw.lines().map(str::trim).filter(|row| !row.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_rows_are_one_line() {
        let raw = "8:16 rbps=max wbps=5 riops=max wiops=max\n\
                   8:0 rbps=1048576 wbps=max riops=max wiops=100\n";
        let line = "8:0 rbps=1048576 wbps=max riops=max wiops=100; \
                    8:16 rbps=max wbps=5 riops=max wiops=max";
        assert_eq!(Throttles::from_v2(raw).to_string(), line);
        assert_eq!(Throttles::from_v2("").to_string(), "");
        assert_eq!(Throttles::from_v2("8:0\n\n8:0 x y=1 rbps=z\n").to_string(), "");
    }

    #[test]
    fn four_v1_files_are_one_limit() {
        let mut throttles = Throttles::default();
        throttles.add_v1(IoKey::Wbps, "8:0 1048576\n");
        throttles.add_v1(IoKey::Riops, "8:0 7\n8:16 9\n");
        let line = "8:0 rbps=max wbps=1048576 riops=7 wiops=max; \
                    8:16 rbps=max wbps=max riops=9 wiops=max";
        assert_eq!(throttles.to_string(), line);
        throttles.set("8:16", IoKey::Riops, Bound::Max);
        assert!(!throttles.to_string().contains("8:16"));
    }

    #[test]
    fn weights() {
        let mut weights = Weights::parse("default 100\n8:0 550\n", WeightScale::Bfq);
        assert_eq!(weights.to_string(), "default 100; 8:0 5050");
        weights.set("8:0", None);
        weights.set("8:16", Some(7));
        weights.set(DEFAULT, Some(50));
        assert_eq!(weights.to_string(), "default 50; 8:16 7");
        for (weight, written, rounded) in
            [(1, 1, 1), (100, 100, 100), (110, 100, 100), (111, 101, 111), (10_000, 1000, 10_000)]
        {
            assert_eq!(WeightScale::Bfq.written(weight), written);
            assert_eq!(WeightScale::Bfq.rounded(weight), rounded);
            assert_eq!(WeightScale::Io.rounded(weight), weight);
        }
    }

    #[test]
    fn resources() {
        assert_eq!(joined("res_a max\nres_b 10\n"), "res_a max; res_b 10");
        assert_eq!(joined("\n"), "");
    }
}
