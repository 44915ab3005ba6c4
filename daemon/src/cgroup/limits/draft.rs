//! From a limit to its writes: what both versions do alike, and where they part.

use cgroupd_proto::ErrorName;
use cgroupd_proto::limit::{
    Bound, Cpuset, IdList, IoWeight, Limit, LimitName, LimitSet, Resource, ResourceRow,
};

use super::amount::read_bound;
use super::place::Place;
use super::rows::{DEFAULT, WeightScale, Weights};
use super::step::{Rank, Step, Undo, line_or_newline};
use super::table::{BFQ_WEIGHT, File, SHARES};
use super::{device, v1, v2};
use crate::cgroup::{Version, may_wait};
use crate::{Error, Result};

/// What one limit comes to.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) steps: Vec<Step>,
    /// What will be read back, as far as it is known.
    pub(super) wire: String,
}

/// What is asked for together with a limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    pub(super) set: &'a LimitSet,
    pub(super) force: bool,
}

/// Checks a limit against its cgroup and drafts its writes.
pub(super) fn draft(place: &Place<'_>, limit: &Limit, wish: Wish<'_>) -> Result<Draft> {
    let v1 = place.version() == Version::V1;
    match limit {
        Limit::Memory(..) if v1 => v1::memory(place, limit, wish),
        Limit::Memory(_, size) => v2::memory(place, *size, wish.force),
        Limit::CpuMax(max) if v1 => v1::cpu_max(place, *max),
        Limit::CpuMax(max) => v2::cpu_max(place, *max),
        Limit::IoMax(rows) if v1 => v1::io_max(place, rows),
        Limit::IoMax(rows) => v2::io_max(place, rows),
        Limit::CpuWeight(weight) => cpu_weight(place, u64::from(*weight), wish.set),
        Limit::CpuIdle(idle) => cpu_idle(place, *idle),
        Limit::Cpuset(which, list) => cpuset(place, *which, list),
        Limit::Count(_, bound) => count(place, *bound),
        Limit::IoWeight(rows) => io_weight(place, rows),
        Limit::Hugetlb(page, bound) => huge_pages(place, page.bytes(), *bound),
        Limit::Resource(which, rows) => resource(place, *which, rows),
    }
}

fn one(step: Step, wire: impl Into<String>) -> Draft {
    Draft { steps: vec![step], wire: wire.into() }
}

fn count(place: &Place<'_>, new: Bound) -> Result<Draft> {
    let file = place.file()?;
    let rank = Rank::of(read_bound(place, &file)?, new);
    Ok(one(place.step(file, new.to_string(), rank)?, new.to_string()))
}

/// Rounded down to whole huge pages, as the kernel does.
fn huge_pages(place: &Place<'_>, page: u64, new: Bound) -> Result<Draft> {
    let file = place.file()?;
    let new = match new {
        Bound::At(bytes) => Bound::At(bytes / page * page),
        Bound::Max => Bound::Max,
    };
    let text = match place.version() {
        Version::V1 => v1::number_or_minus_one(new),
        Version::V2 => new.to_string(),
    };
    let rank = Rank::of(read_bound(place, &file)?, new);
    Ok(one(place.step(file, text, rank)?, new.to_string()))
}

/// An empty v2 cpuset has what its parent has; into an empty v1 one nothing can enter, so it
/// gets a copy.
fn cpuset(place: &Place<'_>, which: Cpuset, list: &IdList) -> Result<Draft> {
    let file = match which {
        Cpuset::Cpus => "cpuset.cpus",
        Cpuset::Mems => "cpuset.mems",
    };
    let wire = match place.version() {
        Version::V1 if list.is_empty() => v1::parents(place, file)?.unwrap_or_default(),
        _ => list.to_string(),
    };
    // The kernel may move the memory of its processes to the new nodes first.
    let rank = if may_wait(file) { Rank::MayWait } else { Rank::Neutral };
    Ok(one(place.step(file, line_or_newline(&wire), rank)?, wire))
}

pub(super) fn weight_file(version: Version) -> &'static str {
    match version {
        Version::V1 => SHARES,
        Version::V2 => "cpu.weight",
    }
}

/// The kernel refuses the weight of an idle cgroup.
fn cpu_weight(place: &Place<'_>, weight: u64, set: &LimitSet) -> Result<Draft> {
    let wakes = set.get(LimitName::CpuIdle) == Some(&Limit::CpuIdle(false));
    if !wakes && is_idle(place)? {
        let why = "the cgroup is idle (cpu.idle is 1) and has no weight";
        return Err(place.error(ErrorName::InvalidLimit, why).hint("set cpu.idle to 0 with it"));
    }
    let text = match place.version() {
        Version::V1 => v1::shares(weight).to_string(),
        Version::V2 => weight.to_string(),
    };
    let step = place.step(weight_file(place.version()), text, Rank::Neutral)?;
    Ok(one(step, weight.to_string()))
}

pub(super) fn is_idle(place: &Place<'_>) -> Result<bool> {
    Ok(place.read_if_there("cpu.idle")?.is_some_and(|text| text.trim() == "1"))
}

fn cpu_idle(place: &Place<'_>, idle: bool) -> Result<Draft> {
    let text = if idle { "1" } else { "0" };
    let undo = Undo::Idle { weight: weight_file(place.version()).into() };
    Ok(one(Step { undo, ..place.step("cpu.idle", text, Rank::Neutral)? }, text))
}

/// On v2 the cost model and the BFQ scheduler have weights of their own; the first is preferred.
pub(super) fn io_weight_file(place: &Place<'_>) -> Result<File> {
    Ok(match place.version() {
        Version::V1 => BFQ_WEIGHT.into(),
        Version::V2 if !place.has("io.weight")? && place.has("io.bfq.weight")? => {
            "io.bfq.weight".into()
        }
        Version::V2 => "io.weight".into(),
    })
}

fn io_weight(place: &Place<'_>, rows: &[IoWeight]) -> Result<Draft> {
    let file = io_weight_file(place)?;
    let scale = WeightScale::of(&file);
    let mut expected = Weights::parse(&place.read(&file)?, scale);
    let mut steps = Vec::with_capacity(rows.len());
    for IoWeight { device, weight } in rows {
        let key = match device {
            Some(device) => device_number(place, device, &file)?,
            None => DEFAULT.to_owned(),
        };
        let weight = weight.map(u64::from);
        let text = match weight {
            Some(weight) => format!("{key} {}", scale.written(weight)),
            None => format!("{key} {DEFAULT}"),
        };
        expected.set(&key, weight.map(|weight| scale.rounded(weight)));
        let undo = Undo::Row { unset: Some(format!("{key} {DEFAULT}")), key };
        steps.push(Step { undo, ..place.step(file.clone(), text, Rank::Neutral)? });
    }
    Ok(Draft { steps, wire: expected.to_string() })
}

/// The number of a device, looked up as whoever reads the file its limit is in, or will be.
pub(super) fn device_number(
    place: &Place<'_>,
    device: &cgroupd_proto::limit::Device,
    file: &str,
) -> Result<String> {
    let file = if place.has(file)? { file } else { "cgroup.procs" };
    device::number(device, &place.reader(file)?)
        .map_err(|error| Error { text: format!("{}: {}", place.name, error.text), ..error })
}

fn resource(place: &Place<'_>, which: Resource, rows: &[ResourceRow]) -> Result<Draft> {
    let file = place.file()?;
    let mut steps = Vec::with_capacity(rows.len());
    for ResourceRow { key, rest } in rows {
        let unset = (which == Resource::Misc).then(|| format!("{key} max"));
        let undo = Undo::Row { key: key.clone(), unset };
        let step = place.step(file.clone(), format!("{key} {rest}"), Rank::Neutral)?;
        steps.push(Step { undo, ..step });
    }
    let wire = rows.iter().map(|row| format!("{} {}", row.key, row.rest));
    Ok(Draft { wire: wire.collect::<Vec<_>>().join("; "), steps })
}
