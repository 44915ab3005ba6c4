//! Numbers as people write them: exact decimals, 1024-based sizes, percent.

use std::fmt;

use super::error::Fault;

/// A decimal number, exact: `1.5` is 15 with one decimal place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    digits: u64,
    places: u32,
}

/// Why digits are not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotDecimal {
    Syntax,
    TooLarge,
    TooFine,
}

impl NotDecimal {
    fn of_size(self) -> &'static str {
        match self {
            Self::Syntax => "is not a size",
            Self::TooLarge => "is too large",
            Self::TooFine => "has too many decimal places",
        }
    }
}

impl Decimal {
    /// The most decimal places; more would only be rounded away.
    const FINEST: u32 = 18;

    /// Reads `12` or `1.5`: digits, at most one point with digits on both sides, no sign.
    pub(super) fn parse(text: &str) -> Result<Self, NotDecimal> {
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return Err(NotDecimal::Syntax),
            None => (text, ""),
        };
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) {
            return Err(NotDecimal::Syntax);
        }
        let fraction = fraction.trim_end_matches('0');
        let digits = format!("{whole}{fraction}").parse().map_err(|_| NotDecimal::TooLarge)?;
        match u32::try_from(fraction.len()) {
            Ok(places @ 0..=Self::FINEST) => Ok(Self { digits, places }),
            _ => Err(NotDecimal::TooFine),
        }
    }

    /// The number as hundredths of `whole`, rounded down; `None` when it does not fit.
    pub fn percent_of(self, whole: u64) -> Option<u64> {
        let product = u128::from(self.digits) * u128::from(whole);
        u64::try_from(product / (100 * 10u128.pow(self.places))).ok()
    }

    /// `factor` times the number, rounded down; `None` when it does not fit.
    pub fn times(self, factor: u64) -> Option<u64> {
        let product = u128::from(self.digits) * u128::from(factor);
        u64::try_from(product / 10u128.pow(self.places)).ok()
    }

    /// Whether it is 0.
    pub fn is_zero(self) -> bool {
        self.digits == 0
    }

    pub(super) fn is_whole(self) -> bool {
        self.places == 0
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:0width$}", self.digits, width = self.places as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - self.places as usize);
        f.write_str(whole)?;
        if fraction.is_empty() { Ok(()) } else { write!(f, ".{fraction}") }
    }
}

/// A number or the kernel's word for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    /// So much.
    At(u64),
    /// `max`: no limit.
    Max,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(number) => number.fmt(f),
            Self::Max => f.write_str("max"),
        }
    }
}

impl Bound {
    /// A count from 0 (or from 1) to `most`, or `max`.
    pub(super) fn count(text: &str, range: std::ops::RangeInclusive<u64>) -> Result<Self, Fault> {
        const HINT: &str = "a number, or max";
        if text == "max" {
            return Ok(Self::Max);
        }
        number(text, range, HINT).map(Self::At)
    }

    /// Bytes with a unit, or `max`; no share of anything.
    pub(super) fn size(text: &str) -> Result<Self, Fault> {
        const HINT: &str = "64M, 1.5G or max";
        match text {
            "max" => Ok(Self::Max),
            _ => bytes(text, HINT).map(Self::At),
        }
    }
}

/// A plain decimal number within `range`.
pub(super) fn number(
    text: &str,
    range: std::ops::RangeInclusive<u64>,
    hint: &'static str,
) -> Result<u64, Fault> {
    let outside = || Fault::new(format!("is not from {} to {}", range.start(), range.end()), hint);
    match Decimal::parse(text) {
        Ok(number) if number.is_whole() => {
            number.times(1).filter(|number| range.contains(number)).ok_or_else(outside)
        }
        Err(NotDecimal::TooLarge) => Err(outside()),
        _ => Err(Fault::new("is not a number", hint)),
    }
}

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Bytes.
    Bytes(u64),
    /// A share of the memory there is, 0 to 100.
    Percent(Decimal),
    /// `max`: no limit.
    Max,
}

impl Size {
    const HINT: &'static str = "64M, 1.5G, 50% or max";

    /// Reads `512M`, `1.5G`, `50%`, `max` or bytes. Units are 1024-based.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        if let Some(share) = text.strip_suffix('%') {
            return percent(share, Self::HINT).map(Self::Percent);
        }
        match Bound::size(text) {
            Ok(Bound::Max) => Ok(Self::Max),
            Ok(Bound::At(bytes)) => Ok(Self::Bytes(bytes)),
            Err(fault) => Err(Fault { hint: Self::HINT, ..fault }),
        }
    }
}

fn percent(text: &str, hint: &'static str) -> Result<Decimal, Fault> {
    let share = Decimal::parse(text).map_err(|why| Fault::new(why.of_size(), hint))?;
    match share.times(1) {
        Some(0..100) => Ok(share),
        Some(100) if share.is_whole() => Ok(share),
        _ => Err(Fault::new("is more than all there is", hint)),
    }
}

/// `1.5G` in bytes. What is less than a byte is cut off, but not to nothing.
fn bytes(text: &str, hint: &'static str) -> Result<u64, Fault> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 1 << 30),
        Some(b't' | b'T') => (&text[..text.len() - 1], 1 << 40),
        _ => (text, 1),
    };
    let fault = |reason| Fault::new(reason, hint);
    let number = Decimal::parse(digits).map_err(|why| fault(why.of_size()))?;
    if unit == 1 && !number.is_whole() {
        return Err(fault("is not a whole number of bytes"));
    }
    match number.times(unit) {
        None => Err(fault("is too large")),
        Some(0) if !number.is_zero() => Err(fault("would round to 0")),
        Some(bytes) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1", 1),
            ("010", 10),
            ("0K", 0),
            ("512M", 512 << 20),
            ("512m", 512 << 20),
            ("1.5G", 3 << 29),
            ("1.50g", 3 << 29),
            ("0.1K", 102),
            ("2T", 2 << 40),
            ("18446744073709551615", u64::MAX),
            ("16777215.999999T", 18_446_744_073_708_452_104),
        ] {
            assert_eq!(Size::parse(text), Ok(Size::Bytes(bytes)), "{text}");
        }
        assert_eq!(Size::parse("max"), Ok(Size::Max));
    }

    #[test]
    fn what_is_no_size() {
        for (text, reason) in [
            ("64X", "is not a size"),
            ("", "is not a size"),
            ("M", "is not a size"),
            ("-1", "is not a size"),
            ("+1", "is not a size"),
            ("1 M", "is not a size"),
            ("0x10", "is not a size"),
            ("1e3", "is not a size"),
            (".5G", "is not a size"),
            ("1.G", "is not a size"),
            ("1.5.5G", "is not a size"),
            ("64MB", "is not a size"),
            ("MAX", "is not a size"),
            ("٣M", "is not a size"),
            ("%", "is not a size"),
            ("1.5", "is not a whole number of bytes"),
            ("18446744073709551616", "is too large"),
            ("16777216T", "is too large"),
            ("99999999999999999999999G", "is too large"),
            ("0.0000000000000000001G", "has too many decimal places"),
            ("0.0001K", "would round to 0"),
            ("101%", "is more than all there is"),
            ("100.1%", "is more than all there is"),
        ] {
            assert_eq!(Size::parse(text).unwrap_err().reason, reason, "{text}");
        }
    }

    #[test]
    fn shares() {
        for (text, of, bytes) in [
            ("50%", 1000, 500),
            ("100%", u64::MAX, u64::MAX),
            ("100.0%", 7, 7),
            ("0%", 1000, 0),
            ("33.3%", 1000, 333),
        ] {
            let Ok(Size::Percent(share)) = Size::parse(text) else { panic!("{text}") };
            assert_eq!(share.percent_of(of), Some(bytes), "{text}");
        }
    }

    #[test]
    fn counts() {
        assert_eq!(Bound::count("max", 0..=9), Ok(Bound::Max));
        assert_eq!(Bound::count("9", 0..=9), Ok(Bound::At(9)));
        for (text, reason) in [
            ("10", "is not from 0 to 9"),
            ("99999999999999999999", "is not from 0 to 9"),
            ("1.5", "is not a number"),
            ("-1", "is not a number"),
            ("1K", "is not a number"),
        ] {
            assert_eq!(Bound::count(text, 0..=9).unwrap_err().reason, reason, "{text}");
        }
        assert!(Bound::At(u64::MAX) < Bound::Max);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _ = Size::parse(&text);
            let _ = Bound::count(&text, 0..=u64::MAX);
        }

        #[test]
        fn bytes_are_themselves(bytes: u64) {
            prop_assert_eq!(Size::parse(&bytes.to_string()), Ok(Size::Bytes(bytes)));
        }

        #[test]
        fn decimals_survive_their_text(whole in 0u64..1 << 40, fraction in 0u64..100_000) {
            let text = format!("{whole}.{fraction:05}");
            let number = Decimal::parse(&text).unwrap();
            prop_assert_eq!(Decimal::parse(&number.to_string()), Ok(number));
            prop_assert_eq!(number.times(100_000), Some(whole * 100_000 + fraction));
        }

        #[test]
        fn units_are_shifts(number in 0u64..1 << 23) {
            for (letter, shift) in [('k', 10), ('M', 20), ('g', 30), ('T', 40)] {
                let parsed = Size::parse(&format!("{number}{letter}"));
                prop_assert_eq!(parsed, Ok(Size::Bytes(number << shift)));
            }
        }
    }
}
