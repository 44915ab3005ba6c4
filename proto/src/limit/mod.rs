//! Limits: their names, what may be said for each, and what it means. Parsed once at the
//! edge, from the kernel's v2 syntax or from what people write; what is inside is typed.
//!
//! A value is one line of at most 4 KiB. Blanks around it do not count.

mod cpu;
mod error;
mod io;
mod names;
mod set;
mod units;

pub use cpu::{CpuMax, IdList};
pub use error::LimitError;
pub use io::{Device, IoKey, IoMax, IoWeight, ResourceRow};
pub use names::{HugePage, LimitName};
pub use set::LimitSet;
pub use units::{Bound, Decimal, Size};

use error::Fault;

/// The longest value, in bytes.
pub const MAX_VALUE: usize = 4096;

/// What is bounded by an amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// `memory.max`
    Max,
    /// `memory.high`
    High,
    /// `memory.low`
    Low,
    /// `memory.min`
    Min,
    /// `memory.swap.max`
    Swap,
}

/// What is bounded by a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// `pids.max`
    Pids,
    /// `cgroup.max.depth`
    Depth,
    /// `cgroup.max.descendants`
    Descendants,
}

/// What a list of numbers restricts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpuset {
    /// `cpuset.cpus`
    Cpus,
    /// `cpuset.mems`
    Mems,
}

/// Whose rows only the kernel can judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `misc.max`
    Misc,
    /// `rdma.max`
    Rdma,
}

/// A limit and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `memory.*`
    Memory(Memory, Size),
    /// `cpu.max`, also said as `cpus`
    CpuMax(CpuMax),
    /// `cpu.weight`, 1 to 10000
    CpuWeight(u16),
    /// `cpu.idle`
    CpuIdle(bool),
    /// `cpuset.*`
    Cpuset(Cpuset, IdList),
    /// `pids.max`, `cgroup.max.*`
    Count(Counted, Bound),
    /// `io.max`
    IoMax(Vec<IoMax>),
    /// `io.weight`
    IoWeight(Vec<IoWeight>),
    /// `hugetlb.SIZE.max`
    Hugetlb(HugePage, Bound),
    /// `misc.max`, `rdma.max`
    Resource(Resource, Vec<ResourceRow>),
}

impl Limit {
    /// Reads the value of the limit called `name`.
    ///
    /// # Errors
    /// An unknown name, or a value that does not fit it.
    pub fn parse(name: &str, value: &str) -> Result<Self, LimitError> {
        let known = LimitName::parse(name)?;
        let parsed = one_line(value).and_then(|value| match name {
            names::CPUS => CpuMax::parse_cpus(value).map(Self::CpuMax),
            _ => Self::parse_value(known, value),
        });
        parsed.map_err(|Fault { reason, hint }| LimitError::Value {
            name: name.to_owned(),
            value: value.to_owned(),
            reason,
            hint,
        })
    }

    fn parse_value(name: LimitName, value: &str) -> Result<Self, Fault> {
        use LimitName as N;
        let memory = |what| Size::parse(value).map(|size| Self::Memory(what, size));
        let list = |what| IdList::parse(value).map(|list| Self::Cpuset(what, list));
        let count = |what, most| Bound::count(value, 0..=most).map(|n| Self::Count(what, n));
        let resource = |what| {
            io::rows(value, ResourceRow::parse, |row| row.key.clone())
                .map(|rows| Self::Resource(what, rows))
        };
        match name {
            N::MemoryMax => memory(Memory::Max),
            N::MemoryHigh => memory(Memory::High),
            N::MemoryLow => memory(Memory::Low),
            N::MemoryMin => memory(Memory::Min),
            N::MemorySwapMax => memory(Memory::Swap),
            N::CpuMax => CpuMax::parse(value).map(Self::CpuMax),
            N::CpuWeight => {
                io::weight(value, "1 to 10000; 100 is the default").map(Self::CpuWeight)
            }
            N::CpuIdle => idle(value).map(Self::CpuIdle),
            N::CpusetCpus => list(Cpuset::Cpus),
            N::CpusetMems => list(Cpuset::Mems),
            N::PidsMax => count(Counted::Pids, PIDS_MOST),
            N::MaxDepth => count(Counted::Depth, INT_MAX),
            N::MaxDescendants => count(Counted::Descendants, INT_MAX),
            N::IoMax => io::rows(value, IoMax::parse, |row| row.device.clone()).map(Self::IoMax),
            N::IoWeight => {
                io::rows(value, IoWeight::parse, |row| row.device.clone()).map(Self::IoWeight)
            }
            N::Hugetlb(page) => huge(page, value).map(|bound| Self::Hugetlb(page, bound)),
            N::MiscMax => resource(Resource::Misc),
            N::RdmaMax => resource(Resource::Rdma),
        }
    }

    /// Its canonical name.
    pub fn name(&self) -> LimitName {
        match self {
            Self::Memory(Memory::Max, _) => LimitName::MemoryMax,
            Self::Memory(Memory::High, _) => LimitName::MemoryHigh,
            Self::Memory(Memory::Low, _) => LimitName::MemoryLow,
            Self::Memory(Memory::Min, _) => LimitName::MemoryMin,
            Self::Memory(Memory::Swap, _) => LimitName::MemorySwapMax,
            Self::CpuMax(_) => LimitName::CpuMax,
            Self::CpuWeight(_) => LimitName::CpuWeight,
            Self::CpuIdle(_) => LimitName::CpuIdle,
            Self::Cpuset(Cpuset::Cpus, _) => LimitName::CpusetCpus,
            Self::Cpuset(Cpuset::Mems, _) => LimitName::CpusetMems,
            Self::Count(Counted::Pids, _) => LimitName::PidsMax,
            Self::Count(Counted::Depth, _) => LimitName::MaxDepth,
            Self::Count(Counted::Descendants, _) => LimitName::MaxDescendants,
            Self::IoMax(_) => LimitName::IoMax,
            Self::IoWeight(_) => LimitName::IoWeight,
            Self::Hugetlb(page, _) => LimitName::Hugetlb(*page),
            Self::Resource(Resource::Misc, _) => LimitName::MiscMax,
            Self::Resource(Resource::Rdma, _) => LimitName::RdmaMax,
        }
    }
}

/// The kernel's `PID_MAX_LIMIT` on 64 bits.
const PIDS_MOST: u64 = 4 << 20;
const INT_MAX: u64 = i32::MAX as u64;

fn one_line(value: &str) -> Result<&str, Fault> {
    const HINT: &str = "one line of text";
    if value.len() > MAX_VALUE {
        return Err(Fault::new("is longer than 4096 bytes", HINT));
    }
    match value.chars().any(char::is_control) {
        true => Err(Fault::new("has control characters", HINT)),
        false => Ok(value.trim_matches(' ')),
    }
}

fn idle(value: &str) -> Result<bool, Fault> {
    match value {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(Fault::new("is neither 0 nor 1", "0 or 1")),
    }
}

/// The kernel rounds down to whole huge pages, also to none.
fn huge(page: HugePage, value: &str) -> Result<Bound, Fault> {
    match Bound::size(value)? {
        Bound::At(bytes) if (1..page.bytes()).contains(&bytes) => {
            Err(Fault::new("would round to 0", "at least one huge page; 0 or max"))
        }
        bound => Ok(bound),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_and_the_hint_of_the_documentation() {
        let error = Limit::parse("memory.max", "64X").unwrap_err();
        assert_eq!(error.to_string(), "memory.max: \"64X\" is not a size");
        assert_eq!(error.hint().as_deref(), Some("64M, 1.5G, 50% or max"));
    }

    #[test]
    fn every_limit_takes_something_and_keeps_its_name() {
        for (name, value) in [
            ("memory.max", "512M"),
            ("memory.high", "max"),
            ("memory.low", "50%"),
            ("memory.min", "0"),
            ("memory.swap.max", "0"),
            ("cpu.max", "150%"),
            ("cpu.weight", "10000"),
            ("cpu.idle", "1"),
            ("cpuset.cpus", ""),
            ("cpuset.mems", "0"),
            ("pids.max", "4194304"),
            ("cgroup.max.depth", "2147483647"),
            ("cgroup.max.descendants", "max"),
            ("io.max", "/dev/vda rbps=10M wiops=100"),
            ("io.weight", "default 100; vda 50"),
            ("hugetlb.2MB.max", "2M"),
            ("misc.max", "res_a 10"),
            ("rdma.max", "mlx4_0 hca_handle=2 hca_object=max"),
        ] {
            assert_eq!(Limit::parse(name, value).unwrap().name().to_string(), name);
        }
        assert_eq!(Limit::parse("cpus", "1.5"), Limit::parse("cpu.max", "150%"));
    }

    #[test]
    fn what_is_refused() {
        for (name, value, reason) in [
            ("cpu.weight", "0", "is not from 1 to 10000"),
            ("cpu.weight", "10001", "is not from 1 to 10000"),
            ("cpu.idle", "2", "is neither 0 nor 1"),
            ("pids.max", "4194305", "is not from 0 to 4194304"),
            ("pids.max", "-1", "is not a number"),
            ("cgroup.max.depth", "2147483648", "is not from 0 to 2147483647"),
            ("hugetlb.2MB.max", "1", "would round to 0"),
            ("hugetlb.2MB.max", "50%", "is not a size"),
            ("misc.max", "res_a", "sets nothing"),
            ("rdma.max", "", "sets nothing"),
            ("memory.max", "", "is not a size"),
        ] {
            let error = Limit::parse(name, value).unwrap_err().to_string();
            assert_eq!(error, format!("{name}: \"{value}\" {reason}"));
        }
    }

    #[test]
    fn case_30_a_value_is_one_line() {
        for value in ["1\n2", "1\n", "1\0", "\t1", "1\u{7f}", "1\u{85}"] {
            let error = Limit::parse("pids.max", value).unwrap_err().to_string();
            assert!(error.ends_with("has control characters"), "{error}");
        }
        let long = "1".repeat(64 << 10);
        let error = Limit::parse("pids.max", &long).unwrap_err().to_string();
        assert!(error.ends_with("is longer than 4096 bytes") && error.len() < 200, "{error}");
        assert_eq!(Limit::parse("pids.max", " 1  "), Limit::parse("pids.max", "1"));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(value in "\\PC{0,60}|.{0,60}") {
            for name in LimitName::all() {
                let _ = Limit::parse(&name.to_string(), &value);
            }
            let _ = (Limit::parse(&value, "1"), Limit::parse("hugetlb.2MB.max", &value));
        }
    }
}
