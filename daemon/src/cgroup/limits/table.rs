//! What v1 calls each limit, and what each says when it is not set.

use std::borrow::Cow;

use cgroupd_proto::limit::LimitName;

use crate::cgroup::Version;

/// A file's name; those of huge pages are made up at run time.
pub(super) type File = Cow<'static, str>;

use LimitName as N;

/// The v1 files of each limit, and its value when nothing is set. No files: v2 only.
const ROWS: &[(LimitName, &[&str], &str)] = &[
    (N::MaxDepth, &[], "max"),
    (N::MaxDescendants, &[], "max"),
    (N::CpusetCpus, &["cpuset.cpus"], ""),
    (N::CpusetMems, &["cpuset.mems"], ""),
    (N::CpuMax, &[QUOTA, PERIOD], "max 100000"),
    (N::CpuIdle, &["cpu.idle"], "0"),
    (N::CpuWeight, &[SHARES], "100"),
    (N::IoMax, &THROTTLE, ""),
    (N::IoWeight, &[BFQ_WEIGHT], "default 100"),
    (N::PidsMax, &["pids.max"], "max"),
    (N::MiscMax, &["misc.max"], ""),
    (N::RdmaMax, &["rdma.max"], ""),
    (N::MemoryMin, &[], "0"),
    (N::MemoryLow, &[SOFT_LIMIT], "0"),
    (N::MemorySwapMax, &[MEMSW], "max"),
    (N::MemoryHigh, &[], "max"),
    (N::MemoryMax, &[LIMIT], "max"),
];

pub(super) const QUOTA: &str = "cpu.cfs_quota_us";
pub(super) const PERIOD: &str = "cpu.cfs_period_us";
pub(super) const SHARES: &str = "cpu.shares";
pub(super) const LIMIT: &str = "memory.limit_in_bytes";
pub(super) const MEMSW: &str = "memory.memsw.limit_in_bytes";
pub(super) const SOFT_LIMIT: &str = "memory.soft_limit_in_bytes";
/// In the order of `IoKey::ALL`.
pub(super) const THROTTLE: [&str; 4] = [
    "blkio.throttle.read_bps_device",
    "blkio.throttle.write_bps_device",
    "blkio.throttle.read_iops_device",
    "blkio.throttle.write_iops_device",
];
/// Holds the default weight too. `blkio.weight` went with the scheduler that had it, before
/// `openat2` came.
pub(super) const BFQ_WEIGHT: &str = "blkio.bfq.weight_device";

/// The files that hold a limit; empty when this version has no such limit.
pub(super) fn files(name: LimitName, version: Version) -> Vec<File> {
    match (version, name) {
        (Version::V2, _) => vec![name.to_string().into()],
        (Version::V1, N::Hugetlb(page)) => vec![format!("hugetlb.{page}.limit_in_bytes").into()],
        (Version::V1, _) => {
            let row = ROWS.iter().find(|(known, ..)| *known == name);
            row.map_or(&[][..], |(_, files, _)| files).iter().map(|file| (*file).into()).collect()
        }
    }
}

/// The controller a limit needs, as a hierarchy of that version calls it.
pub(super) fn controller(name: LimitName, version: Version) -> Option<&'static str> {
    match (name.controller(), version) {
        (Some("io"), Version::V1) => Some("blkio"),
        (controller, _) => controller,
    }
}

/// What the file of a v2 limit, or of the use beside it, says in a cgroup that is new.
pub(super) fn unset(name: LimitName, file: &str) -> Option<&'static str> {
    match name {
        _ if file.ends_with(".current") || file == "cpu.idle" => Some("0"),
        N::Hugetlb(page) => {
            let size = page.bytes() >> 10;
            let sizes = format!("/sys/kernel/mm/hugepages/hugepages-{size}kB");
            std::path::Path::new(&sizes).exists().then_some("max")
        }
        _ => ROWS.iter().find(|(known, ..)| *known == name).map(|(_, _, unset)| *unset),
    }
}

/// Whether a value in wire form limits or prefers anything.
pub(super) fn is_set(name: LimitName, version: Version, value: &str) -> bool {
    match (name, version) {
        (N::CpuMax, _) => !value.starts_with("max"),
        // An idle cgroup has no weight and says 0.
        (N::CpuWeight, _) if value == "0" => false,
        // Without a soft limit v1 never reclaims from the cgroup early: nothing is set.
        (N::MemoryLow, Version::V1) | (N::Hugetlb(_), _) => value != "max",
        (N::MiscMax | N::RdmaMax, _) => value.split("; ").any(limits_a_resource),
        _ => ROWS.iter().any(|(known, _, unset)| *known == name && value != *unset),
    }
}

/// `mlx4_0 hca_handle=max hca_object=2000`: everything but the name counts.
fn limits_a_resource(row: &str) -> bool {
    row.split(' ').skip(1).any(|word| word.rsplit('=').next() != Some("max"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_a_row() {
        for name in LimitName::all() {
            assert_eq!(ROWS.iter().filter(|(known, ..)| *known == name).count(), 1, "{name}");
        }
    }

    #[test]
    fn what_is_set() {
        for (name, version, value, set) in [
            (N::MemoryMax, Version::V2, "max", false),
            (N::MemoryMax, Version::V2, "0", true),
            (N::MemoryLow, Version::V2, "0", false),
            (N::MemoryLow, Version::V2, "max", true),
            (N::MemoryLow, Version::V1, "max", false),
            (N::CpuMax, Version::V2, "max 50000", false),
            (N::CpuMax, Version::V1, "50000 100000", true),
            (N::CpuWeight, Version::V2, "0", false),
            (N::CpuWeight, Version::V2, "100", false),
            (N::CpuWeight, Version::V2, "99", true),
            (N::CpuIdle, Version::V2, "1", true),
            (N::IoMax, Version::V2, "", false),
            (N::IoMax, Version::V2, "8:0 rbps=1 wbps=max riops=max wiops=max", true),
            (N::IoWeight, Version::V2, "default 100", false),
            (N::IoWeight, Version::V2, "default 100; 8:0 5", true),
            (N::RdmaMax, Version::V2, "a x=max y=max; b x=max y=max", false),
            (N::RdmaMax, Version::V2, "a x=max y=max; b x=max y=7", true),
            (N::MiscMax, Version::V2, "a max", false),
            (N::MiscMax, Version::V2, "", false),
            (N::MiscMax, Version::V2, "a max; b 1", true),
            (N::CpusetCpus, Version::V2, "", false),
            (N::CpusetCpus, Version::V2, "0-1", true),
        ] {
            assert_eq!(is_set(name, version, value), set, "{name} {value:?}");
        }
    }
}
