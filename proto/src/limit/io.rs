//! Limits that have rows: `io.max` and `io.weight` by device, `misc.max` and `rdma.max` by
//! resource. A value is one line; its rows are separated by `;`.

use std::fmt;

use super::error::Fault;
use super::units::{Bound, number};

/// A block device, as somebody calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// `/dev/vda`, `/dev/disk/by-id/…`: looked up on the daemon's host.
    Path(String),
    /// `vda`: the kernel's name.
    Name(String),
    /// `254:0`.
    Number {
        /// The driver.
        major: u32,
        /// The device.
        minor: u32,
    },
}

impl Device {
    fn parse(text: &str) -> Result<Self, Fault> {
        const HINT: &str = "a device by path (/dev/vda), name (vda) or number (254:0)";
        let plain = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\\');
        if let Some((major, minor)) = text.split_once(':').and_then(numbers) {
            return Ok(Self::Number { major, minor });
        }
        match text.strip_prefix("/dev/") {
            Some(rest) if rest.split('/').all(plain) => Ok(Self::Path(text.to_owned())),
            None if plain(text) && !text.contains(['/', ':', '=']) => {
                Ok(Self::Name(text.to_owned()))
            }
            _ => Err(Fault::new("names no device", HINT)),
        }
    }
}

fn numbers((major, minor): (&str, &str)) -> Option<(u32, u32)> {
    let id = |text: &str| -> Option<u32> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok())?
    };
    Some((id(major)?, id(minor)?))
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(name) | Self::Name(name) => f.write_str(name),
            Self::Number { major, minor } => write!(f, "{major}:{minor}"),
        }
    }
}

/// What `io.max` bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IoKey {
    /// Bytes read per second.
    Rbps,
    /// Bytes written per second.
    Wbps,
    /// Reads per second.
    Riops,
    /// Writes per second.
    Wiops,
}

impl IoKey {
    /// All, in the kernel's order.
    pub const ALL: [Self; 4] = [Self::Rbps, Self::Wbps, Self::Riops, Self::Wiops];

    /// The kernel's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rbps => "rbps",
            Self::Wbps => "wbps",
            Self::Riops => "riops",
            Self::Wiops => "wiops",
        }
    }

    fn value(self, text: &str) -> Result<Bound, Fault> {
        const HINT: &str = "rbps=10M, wiops=100 or max; 0 would be no I/O at all";
        let value = match self {
            Self::Rbps | Self::Wbps => Bound::size(text)?,
            Self::Riops | Self::Wiops => Bound::count(text, 1..=u64::from(u32::MAX))?,
        };
        match value {
            Bound::At(0) => Err(Fault::new("bounds something at 0", HINT)),
            value => Ok(value),
        }
    }
}

/// The `io.max` of one device. Keys that are not named stay as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoMax {
    /// The device.
    pub device: Device,
    /// What is bounded, and how.
    pub bounds: Vec<(IoKey, Bound)>,
}

impl IoMax {
    const HINT: &'static str = "DEVICE rbps=10M wiops=100; several devices with `;` between them";

    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let mut words = words(text);
        let device = Device::parse(words.next().unwrap_or_default())?;
        let mut bounds = Vec::new();
        for word in words {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| Fault::new("has a word without =", Self::HINT))?;
            let key = IoKey::ALL
                .into_iter()
                .find(|known| known.as_str() == key)
                .ok_or_else(|| Fault::new("bounds none of rbps, wbps, riops, wiops", Self::HINT))?;
            if bounds.iter().any(|(known, _)| *known == key) {
                return Err(Fault::new(format!("bounds {} twice", key.as_str()), Self::HINT));
            }
            bounds.push((key, key.value(value)?));
        }
        match bounds.is_empty() {
            true => Err(Fault::new("bounds nothing", Self::HINT)),
            false => Ok(Self { device, bounds }),
        }
    }
}

/// One row of `io.weight`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoWeight {
    /// The device; `None` for those without a row of their own.
    pub device: Option<Device>,
    /// 1 to 10000; `None` takes a device's row away.
    pub weight: Option<u16>,
}

impl IoWeight {
    const HINT: &'static str = "1 to 10000, \"default 100\", \"DEVICE 100\" or \"DEVICE default\"";

    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let words: Vec<&str> = words(text).collect();
        let weight = |text| weight(text, Self::HINT).map(Some);
        match words[..] {
            [text] | ["default", text] => Ok(Self { device: None, weight: weight(text)? }),
            [device, text] => {
                let device = Some(Device::parse(device)?);
                let weight = if text == "default" { None } else { weight(text)? };
                Ok(Self { device, weight })
            }
            _ => Err(Fault::new("is not a weight", Self::HINT)),
        }
    }
}

/// A weight of CPU or I/O.
pub(super) fn weight(text: &str, hint: &'static str) -> Result<u16, Fault> {
    number(text, 1..=10_000, hint).map(|weight| weight as u16)
}

/// A row of `misc.max` (`res 10`) or `rdma.max` (`mlx4_0 hca_handle=2`), which only the kernel
/// can judge: a resource or device, and what is set for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceRow {
    /// The resource or device.
    pub key: String,
    /// The rest of the row.
    pub rest: String,
}

impl ResourceRow {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        const HINT: &str =
            "NAME and what to set, as the kernel takes it; several rows with `;` between them";
        let mut words = words(text);
        let key = words.next().unwrap_or_default().to_owned();
        let rest = words.collect::<Vec<_>>().join(" ");
        match rest.is_empty() {
            true => Err(Fault::new("sets nothing", HINT)),
            false => Ok(Self { key, rest }),
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|word| !word.is_empty())
}

/// Parses every row of a value; no two rows may be about the same thing.
pub(super) fn rows<T, K: PartialEq>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, Fault>,
    key: impl Fn(&T) -> K,
) -> Result<Vec<T>, Fault> {
    let mut rows: Vec<T> = Vec::new();
    for row in text.split(';') {
        let row = parse(row)?;
        if rows.iter().any(|known| key(known) == key(&row)) {
            return Err(Fault::new(
                "has two rows for the same thing",
                "one row each, with `;` between them",
            ));
        }
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn devices() {
        for (text, device) in [
            ("/dev/vda", Device::Path("/dev/vda".to_owned())),
            ("/dev/disk/by-id/x:y", Device::Path("/dev/disk/by-id/x:y".to_owned())),
            ("vda", Device::Name("vda".to_owned())),
            ("cciss!c0d0", Device::Name("cciss!c0d0".to_owned())),
            ("254:0", Device::Number { major: 254, minor: 0 }),
        ] {
            assert_eq!(Device::parse(text), Ok(device));
        }
        for text in [
            "",
            "..",
            "/dev/../etc",
            "/dev/",
            "/dev//x",
            "/etc/passwd",
            "a/b",
            "1:",
            ":1",
            "4294967296:0",
            "rbps=1",
        ] {
            assert!(Device::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bounds() {
        let row = IoMax::parse("/dev/vda rbps=10M  wiops=100 riops=max").unwrap();
        assert_eq!(
            row.bounds,
            [
                (IoKey::Rbps, Bound::At(10 << 20)),
                (IoKey::Wiops, Bound::At(100)),
                (IoKey::Riops, Bound::Max),
            ]
        );
        for (text, reason) in [
            ("", "names no device"),
            ("vda", "bounds nothing"),
            ("vda rbps", "has a word without ="),
            ("vda bps=1", "bounds none of rbps, wbps, riops, wiops"),
            ("vda rbps=1 rbps=2", "bounds rbps twice"),
            ("vda rbps=0", "bounds something at 0"),
            ("vda riops=0", "is not from 1 to 4294967295"),
            ("vda riops=1M", "is not a number"),
            ("vda rbps=64X", "is not a size"),
            ("vda rbps=50%", "is not a size"),
        ] {
            assert_eq!(IoMax::parse(text).unwrap_err().reason, reason, "{text}");
        }
    }

    #[test]
    fn weights() {
        let device = || Some(Device::Name("vda".to_owned()));
        for (text, row) in [
            ("100", IoWeight { device: None, weight: Some(100) }),
            ("default 10000", IoWeight { device: None, weight: Some(10_000) }),
            ("vda 1", IoWeight { device: device(), weight: Some(1) }),
            ("vda default", IoWeight { device: device(), weight: None }),
        ] {
            assert_eq!(IoWeight::parse(text), Ok(row));
        }
        for text in ["", "0", "10001", "default", "default default", "vda 1 2", "max"] {
            assert!(IoWeight::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn several_rows() {
        let parse = |text| rows(text, IoMax::parse, |row| row.device.clone());
        assert_eq!(parse("vda rbps=1; 8:0 wbps=2").unwrap().len(), 2);
        assert!(parse("vda rbps=1; vda wbps=2").is_err());
        assert!(parse("vda rbps=1;").is_err());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[a-z0-9 =:;/.]{0,40}|.{0,40}") {
            let _ = rows(&text, IoMax::parse, |row| row.device.clone());
            let _ = rows(&text, IoWeight::parse, |row| row.device.clone());
            let _ = rows(&text, ResourceRow::parse, |row| row.key.clone());
        }
    }
}
