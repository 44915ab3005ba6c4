//! CPU limits: time per period, and lists of CPUs or memory nodes.

use std::fmt;

use super::error::Fault;
use super::units::{Bound, Decimal, NotDecimal, number};

/// `cpu.max`: how much CPU time in how long a period, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuMax {
    /// The time.
    pub quota: Bound,
    /// The period; without one the cgroup keeps what it has.
    pub period: Option<u64>,
}

impl CpuMax {
    /// The period of quotas that are given as a share, and the kernel's default.
    pub const PERIOD: u64 = 100_000;
    const PERIODS: std::ops::RangeInclusive<u64> = 1_000..=1_000_000;
    /// The kernel's `MAX_BW` of microseconds.
    const QUOTAS: std::ops::RangeInclusive<u64> = 1_000..=(1 << 44) - 1;
    const HINT: &'static str = "150%, max, or microseconds: 50000 or \"50000 100000\"";
    const CPUS_HINT: &'static str = "a number of CPUs from 0.01 up, like 1.5; or max";

    /// Reads `150%`, `50000 100000`, `50000`, `max` or `max 100000`.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        if let Some(share) = text.strip_suffix('%') {
            return Self::share(share, Self::PERIOD / 100, Self::HINT);
        }
        let (quota, period) = match text.split_once(' ') {
            Some((quota, period)) => (quota, Some(period.trim_start())),
            None => (text, None),
        };
        let quota = match quota {
            "max" => Bound::Max,
            _ => Bound::At(number(quota, Self::QUOTAS, Self::HINT)?),
        };
        let period = period.map(|text| number(text, Self::PERIODS, Self::HINT)).transpose()?;
        Ok(Self { quota, period })
    }

    /// Reads `1.5`, a number of CPUs.
    pub(super) fn parse_cpus(text: &str) -> Result<Self, Fault> {
        match text {
            "max" => Ok(Self { quota: Bound::Max, period: None }),
            _ => Self::share(text, Self::PERIOD, Self::CPUS_HINT),
        }
    }

    /// `text` times `unit` microseconds of every default period, rounded down.
    fn share(text: &str, unit: u64, hint: &'static str) -> Result<Self, Fault> {
        let share = Decimal::parse(text).map_err(|why| match why {
            NotDecimal::Syntax => Fault::new("is not a share of CPU time", hint),
            NotDecimal::TooLarge => Fault::new("is too large", hint),
            NotDecimal::TooFine => Fault::new("has too many decimal places", hint),
        })?;
        match share.times(unit) {
            Some(quota) if Self::QUOTAS.contains(&quota) => {
                Ok(Self { quota: Bound::At(quota), period: Some(Self::PERIOD) })
            }
            Some(quota) if quota < *Self::QUOTAS.start() => {
                Err(Fault::new("is less than the kernel's least, 1% of a CPU", hint))
            }
            _ => Err(Fault::new("is too large", hint)),
        }
    }
}

impl fmt::Display for CpuMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.quota.fmt(f)?;
        self.period.map_or(Ok(()), |period| write!(f, " {period}"))
    }
}

/// A list of CPUs or memory nodes: `0-3,5`. Sorted and merged, as the kernel prints it; empty
/// means that the cgroup has what its parent has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdList(Vec<(u32, u32)>);

impl IdList {
    /// More than any kernel has of CPUs or memory nodes.
    const MOST: u32 = 1 << 16;
    const HINT: &'static str = "a list like 0-3,5; empty for what the parent has";

    /// Reads `0-3,5`, or nothing.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let fault = || Fault::new("is not a list of numbers and ranges", Self::HINT);
        let ranges = text.split(',').map(|part| range(part.trim_matches(' ')));
        ranges.collect::<Option<Vec<_>>>().map(Self::merged).ok_or_else(fault)
    }

    fn merged(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn range(text: &str) -> Option<(u32, u32)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let id = |text: &str| -> Option<u32> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok())?.filter(|id| *id < IdList::MOST)
    };
    let (first, last) = (id(first)?, id(last)?);
    (first <= last).then_some((first, last))
}

impl fmt::Display for IdList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_syntaxes_are_one_limit() {
        for (text, canonical) in [
            ("150%", "150000 100000"),
            ("0.5%", ""),
            ("1%", "1000 100000"),
            ("33.3333%", "33333 100000"),
            ("50000 100000", "50000 100000"),
            ("50000  100000", "50000 100000"),
            ("50000", "50000"),
            ("max", "max"),
            ("max 50000", "max 50000"),
            ("999", ""),
            ("50000 999", ""),
            ("50000 1000001", ""),
            ("1.5", ""),
            ("-1", ""),
            ("50000 max", ""),
            ("50000 100000 1", ""),
            ("", ""),
            ("%", ""),
            ("17592186044416", ""),
            ("99999999999999999999%", ""),
        ] {
            let parsed = CpuMax::parse(text).map(|max| max.to_string()).unwrap_or_default();
            assert_eq!(parsed, canonical, "{text}");
        }
    }

    #[test]
    fn cpus() {
        for (text, canonical) in [
            ("1.5", "150000 100000"),
            ("2", "200000 100000"),
            ("0.01", "1000 100000"),
            ("max", "max"),
            ("0.001", ""),
            ("0", ""),
            ("150%", ""),
            ("-1", ""),
        ] {
            let parsed = CpuMax::parse_cpus(text).map(|max| max.to_string()).unwrap_or_default();
            assert_eq!(parsed, canonical, "{text}");
        }
    }

    #[test]
    fn lists() {
        for (text, canonical) in [
            ("0-3,5", "0-3,5"),
            ("5,0-3", "0-3,5"),
            ("0,1,2", "0-2"),
            ("0-4,2-3", "0-4"),
            ("0, 2", "0,2"),
            ("", ""),
            ("0", "0"),
        ] {
            assert_eq!(IdList::parse(text).unwrap().to_string(), canonical, "{text}");
        }
        for text in ["3-0", "a", "0-", "-1", "0,,1", ",", "0-65536", "+1", "0x1", "0-3:1/2", "all"]
        {
            assert!(IdList::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _ = (CpuMax::parse(&text), CpuMax::parse_cpus(&text), IdList::parse(&text));
        }

        #[test]
        fn a_list_holds_what_was_given(ids in prop::collection::vec(0u32..200, 1..40)) {
            let text = ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            let list = IdList::parse(&text).unwrap();
            prop_assert_eq!(IdList::parse(&list.to_string()), Ok(list.clone()));
            for id in 0..200 {
                let held = list.0.iter().any(|(first, last)| (*first..=*last).contains(&id));
                prop_assert_eq!(held, ids.contains(&id));
            }
        }
    }
}
