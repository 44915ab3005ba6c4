//! The closed list of limits: every name that can be set or read, in one table.

use std::fmt;

use super::LimitError;

/// A limit's canonical name, which is v2's. The order is the order in which limits are
/// written: an idle cgroup takes no weight, and `memory.high` reclaims gently what
/// `memory.max` would kill for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitName {
    /// `cgroup.max.depth`
    MaxDepth,
    /// `cgroup.max.descendants`
    MaxDescendants,
    /// `cpuset.cpus`
    CpusetCpus,
    /// `cpuset.mems`
    CpusetMems,
    /// `cpu.max`
    CpuMax,
    /// `cpu.idle`
    CpuIdle,
    /// `cpu.weight`
    CpuWeight,
    /// `io.max`
    IoMax,
    /// `io.weight`
    IoWeight,
    /// `pids.max`
    PidsMax,
    /// `misc.max`
    MiscMax,
    /// `rdma.max`
    RdmaMax,
    /// `hugetlb.SIZE.max`
    Hugetlb(HugePage),
    /// `memory.min`
    MemoryMin,
    /// `memory.low`
    MemoryLow,
    /// `memory.swap.max`
    MemorySwapMax,
    /// `memory.high`
    MemoryHigh,
    /// `memory.max`
    MemoryMax,
}

use LimitName as N;

/// Every name but those of huge pages, with the v2 controller it needs.
const NAMES: &[(LimitName, &str, Option<&str>)] = &[
    (N::MaxDepth, "cgroup.max.depth", None),
    (N::MaxDescendants, "cgroup.max.descendants", None),
    (N::CpusetCpus, "cpuset.cpus", Some("cpuset")),
    (N::CpusetMems, "cpuset.mems", Some("cpuset")),
    (N::CpuMax, "cpu.max", Some("cpu")),
    (N::CpuIdle, "cpu.idle", Some("cpu")),
    (N::CpuWeight, "cpu.weight", Some("cpu")),
    (N::IoMax, "io.max", Some("io")),
    (N::IoWeight, "io.weight", Some("io")),
    (N::PidsMax, "pids.max", Some("pids")),
    (N::MiscMax, "misc.max", Some("misc")),
    (N::RdmaMax, "rdma.max", Some("rdma")),
    (N::MemoryMin, "memory.min", Some("memory")),
    (N::MemoryLow, "memory.low", Some("memory")),
    (N::MemorySwapMax, "memory.swap.max", Some("memory")),
    (N::MemoryHigh, "memory.high", Some("memory")),
    (N::MemoryMax, "memory.max", Some("memory")),
];

/// The other name of `cpu.max`, whose values are counted in CPUs.
pub(super) const CPUS: &str = "cpus";

/// What v1 calls them: not taken, but nobody should have to guess.
const V1_NAMES: &[(&str, &str)] = &[
    ("memory.limit_in_bytes", "memory.max"),
    ("memory.memsw.limit_in_bytes", "memory.swap.max"),
    ("memory.soft_limit_in_bytes", "memory.low"),
    ("cpu.shares", "cpu.weight"),
    ("cpu.cfs_quota_us", "cpu.max"),
    ("cpu.cfs_period_us", "cpu.max"),
    ("blkio.weight", "io.weight"),
    ("blkio.bfq.weight", "io.weight"),
    ("blkio.throttle.read_bps_device", "io.max"),
    ("blkio.throttle.write_bps_device", "io.max"),
    ("blkio.throttle.read_iops_device", "io.max"),
    ("blkio.throttle.write_iops_device", "io.max"),
];

impl LimitName {
    /// All names but those of huge pages, whose sizes are the machine's.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(name, ..)| *name)
    }

    /// The limit called `name`; `cpus` is `cpu.max`.
    ///
    /// # Errors
    /// There is none: with the nearest name there is.
    pub fn parse(name: &str) -> Result<Self, LimitError> {
        if name == CPUS {
            return Ok(Self::CpuMax);
        }
        let known = NAMES.iter().find(|(_, text, _)| *text == name).map(|(known, ..)| *known);
        known.or_else(|| HugePage::of_limit(name).map(Self::Hugetlb)).ok_or_else(|| {
            LimitError::UnknownName { name: name.to_owned(), nearest: nearest(name) }
        })
    }

    /// The v2 controller that has the limit; `None` for `cgroup.max.*`, which every v2 cgroup has.
    pub fn controller(self) -> Option<&'static str> {
        match self {
            Self::Hugetlb(_) => Some("hugetlb"),
            _ => self.row().and_then(|(.., controller)| *controller),
        }
    }

    fn row(self) -> Option<&'static (Self, &'static str, Option<&'static str>)> {
        NAMES.iter().find(|(name, ..)| *name == self)
    }
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hugetlb(page) => write!(f, "hugetlb.{page}.max"),
            _ => f.write_str(self.row().map_or("", |(_, text, _)| text)),
        }
    }
}

/// The known name that was probably meant.
fn nearest(name: &str) -> Option<&'static str> {
    const LONGEST: usize = 64;
    const CLOSE: f64 = 0.8;
    if name.len() > LONGEST {
        return None;
    }
    if let Some((_, known)) = V1_NAMES.iter().find(|(old, _)| *old == name) {
        return Some(known);
    }
    let names = NAMES.iter().map(|(_, text, _)| *text).chain([CPUS]);
    let rated = names.map(|known| (strsim::jaro_winkler(name, known), known));
    rated.filter(|(rate, _)| *rate > CLOSE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|best| best.1)
}

/// A size of huge pages, as the kernel names its files: `2MB`, `1GB`, `64KB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HugePage(u64);

impl HugePage {
    const UNITS: [(u64, &'static str); 3] = [(1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")];

    /// Pages of so many bytes; `None` when that is not a power of two of at least 1 KiB.
    pub fn new(bytes: u64) -> Option<Self> {
        (bytes.is_power_of_two() && bytes >= 1 << 10).then_some(Self(bytes))
    }

    /// The size in bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    fn of_limit(name: &str) -> Option<Self> {
        let size = name.strip_prefix("hugetlb.")?.strip_suffix(".max")?;
        let (unit, digits) = Self::UNITS
            .iter()
            .find_map(|(unit, letters)| size.strip_suffix(letters).map(|digits| (*unit, digits)))?;
        let page = Self::new(digits.parse::<u64>().ok()?.checked_mul(unit)?)?;
        // Only the kernel's own spelling, so that a size has one name.
        (page.to_string() == size).then_some(page)
    }
}

impl fmt::Display for HugePage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fitting = Self::UNITS.iter().find(|(unit, _)| self.0 >= *unit);
        let (unit, letters) = fitting.unwrap_or(&Self::UNITS[2]);
        write!(f, "{}{letters}", self.0 / unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_survives_its_text() {
        for name in LimitName::all() {
            assert_eq!(LimitName::parse(&name.to_string()), Ok(name));
        }
        for text in ["hugetlb.2MB.max", "hugetlb.1GB.max", "hugetlb.64KB.max", "hugetlb.16GB.max"] {
            assert_eq!(LimitName::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn huge_pages_have_one_spelling() {
        for text in [
            "hugetlb.2048KB.max",
            "hugetlb.3MB.max",
            "hugetlb.02MB.max",
            "hugetlb.MB.max",
            "hugetlb.+2MB.max",
            "hugetlb.2MB.rsvd.max",
            "hugetlb.99999999999999999999GB.max",
        ] {
            assert!(LimitName::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn unknown_names_are_answered_with_the_nearest() {
        for (asked, nearest) in [
            ("memory.mx", Some("memory.max")),
            ("memory.limit_in_bytes", Some("memory.max")),
            ("cpu.shares", Some("cpu.weight")),
            ("pid.max", Some("pids.max")),
            ("cpu", Some("cpus")),
            ("release_agent", None),
            ("", None),
        ] {
            let error = LimitName::parse(asked).unwrap_err();
            assert_eq!(error, LimitError::UnknownName { name: asked.to_owned(), nearest });
        }
    }

    #[test]
    fn controllers() {
        assert_eq!(LimitName::MemorySwapMax.controller(), Some("memory"));
        assert_eq!(LimitName::MaxDepth.controller(), None);
        assert_eq!(LimitName::Hugetlb(HugePage(2 << 20)).controller(), Some("hugetlb"));
    }
}
