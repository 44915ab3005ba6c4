//! Reading limits back: one syntax, whichever version holds them.

use cgroupd_proto::ErrorName;
use cgroupd_proto::limit::{HugePage, LimitName};
use nix::errno::Errno;

use super::amount::{odd, read_bound};
use super::draft::{io_weight_file, is_idle, weight_file};
use super::place::Place;
use super::rows::{Throttles, WeightScale, Weights, joined};
use super::table::{self, LIMIT, MEMSW};
use super::{Ground, Wire, v1};
use crate::cgroup::handle::errno_of;
use crate::cgroup::{Layout, Version};
use crate::{Error, Result};

use LimitName as N;

/// Reads the limits that are asked for, set or not.
///
/// # Errors
/// NotSupported, NotFound, and what the kernel answers.
pub fn read(names: &[LimitName], layout: &Layout, ground: &dyn Ground) -> Result<Wire> {
    let mut wire = Wire::new();
    for name in names {
        let place = Place::of(*name, layout, ground)?;
        wire.insert(name.to_string(), value(&place)?);
    }
    Ok(wire)
}

/// Reads every limit that is set: that differs from what a new cgroup has.
///
/// # Errors
/// What the kernel answers. Limits that this host or this cgroup does not have are left out.
pub fn read_set(layout: &Layout, ground: &dyn Ground) -> Result<Wire> {
    let mut wire = Wire::new();
    for name in LimitName::all().chain(huge_pages()?.into_iter().map(N::Hugetlb)) {
        let place = match Place::of(name, layout, ground) {
            Ok(place) if has_limit(&place)? => place,
            Ok(_) => continue,
            Err(error) if [ErrorName::NotSupported, ErrorName::NotFound].contains(&error.name) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        let value = value(&place)?;
        if is_set(&place, &value)? {
            wire.insert(name.to_string(), value);
        }
    }
    Ok(wire)
}

fn has_limit(place: &Place<'_>) -> Result<bool> {
    let files = match place.name {
        N::IoWeight => vec![io_weight_file(place)?],
        name => table::files(name, place.version()),
    };
    for file in &files {
        if !place.has(file)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A v1 cpuset starts with what its parent has.
fn is_set(place: &Place<'_>, value: &str) -> Result<bool> {
    match (place.version(), place.name) {
        (Version::V1, N::CpusetCpus | N::CpusetMems) => {
            Ok(v1::parents(place, &place.file()?)?.is_some_and(|parents| parents != value))
        }
        (version, name) => Ok(table::is_set(name, version, value)),
    }
}

/// A limit in wire form.
fn value(place: &Place<'_>) -> Result<String> {
    match (place.version(), place.name) {
        (_, N::IoWeight) => {
            let file = io_weight_file(place)?;
            Ok(Weights::parse(&place.read(&file)?, WeightScale::of(&file)).to_string())
        }
        (_, N::MiscMax | N::RdmaMax) => Ok(joined(&place.read(&place.file()?)?)),
        (Version::V2, N::IoMax) => Ok(Throttles::from_v2(&place.read("io.max")?).to_string()),
        (Version::V1, N::IoMax) => Ok(v1::read_throttles(place)?.to_string()),
        // Nobody has limited its pages of 1 GiB, and v2 too says a number instead of `max`.
        (_, N::Hugetlb(_)) | (Version::V1, N::MemoryMax | N::MemoryLow) => {
            read_bound(place, &place.file()?).map(|bound| bound.to_string())
        }
        (Version::V1, N::MemorySwapMax) => {
            let memsw = read_bound(place, MEMSW)?;
            Ok(v1::swap(read_bound(place, LIMIT)?, memsw).to_string())
        }
        (Version::V1, N::CpuMax) => {
            let (quota, period) = v1::read_share(place)?;
            Ok(format!("{quota} {period}"))
        }
        // What the weight of an idle cgroup reads depends on the kernel: 0, 1, or 3 shares.
        (_, N::CpuWeight) if is_idle(place)? => Ok("0".to_owned()),
        (Version::V1, N::CpuWeight) => v1_weight(place),
        _ => Ok(place.read(&place.file()?)?.trim().to_owned()),
    }
}

fn v1_weight(place: &Place<'_>) -> Result<String> {
    let file = weight_file(Version::V1);
    let raw = place.read(file)?;
    let shares = raw.trim().parse().map_err(|_| odd(place, file, &raw))?;
    Ok(v1::weight(shares).to_string())
}

/// The sizes of huge pages this machine has; none in a kernel that is built without them.
fn huge_pages() -> Result<Vec<HugePage>> {
    const SIZES: &str = "/sys/kernel/mm/hugepages";
    let unread = |errno| Error::kernel(format_args!("list {SIZES}"), errno);
    let entries = match std::fs::read_dir(SIZES).map_err(errno_of) {
        Err(Errno::ENOENT) => return Ok(Vec::new()),
        entries => entries.map_err(unread)?,
    };
    let mut sizes = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unread(errno_of(error)))?;
        sizes.extend(entry.file_name().to_str().and_then(huge_page));
    }
    Ok(sizes)
}

/// The size in a name like `hugepages-2048kB`.
fn huge_page(name: &str) -> Option<HugePage> {
    let kilobytes = name.strip_prefix("hugepages-")?.strip_suffix("kB")?;
    HugePage::new(kilobytes.parse::<u64>().ok()?.checked_mul(1024)?)
}
