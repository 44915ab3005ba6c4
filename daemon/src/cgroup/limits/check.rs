//! What can be known before there is a cgroup: which hierarchies and controllers limits need,
//! and whether this host has them.

use std::collections::{BTreeMap, BTreeSet};

use cgroupd_proto::ErrorName;
use cgroupd_proto::limit::{Device, Limit, LimitName, LimitSet, Memory, Size};

use nix::errno::Errno;

use super::amount::amount;
use super::place::{Place, v2_only};
use super::{Ground, table, v1};
use crate::cgroup::handle::errno_of;
use crate::cgroup::{Layout, Version};
use crate::{Error, Result};

/// The hierarchy a limit belongs to.
///
/// # Errors
/// NotSupported, with the cause, when there is none.
pub fn hierarchy_for(name: LimitName, layout: &Layout) -> Result<usize> {
    let found = match name.controller() {
        None => layout.hierarchies.iter().position(|h| h.version == Version::V2),
        Some("io") => layout.find("io").or_else(|| layout.find("blkio")),
        Some(controller) => layout.find(controller),
    };
    let Some(index) = found else { return Err(absent(name)?) };
    match table::files(name, layout.hierarchies[index].version).is_empty() {
        true => Err(v2_only(name)),
        false => Ok(index),
    }
}

/// The hierarchies that `set` is about; for each of v2, the controllers that must be enabled.
///
/// # Errors
/// As [`hierarchy_for`].
pub fn needs(set: &LimitSet, layout: &Layout) -> Result<BTreeMap<usize, BTreeSet<&'static str>>> {
    let mut needs: BTreeMap<usize, BTreeSet<&'static str>> = BTreeMap::new();
    for name in set.names() {
        let index = hierarchy_for(name, layout)?;
        let controllers = needs.entry(index).or_default();
        if layout.hierarchies[index].version == Version::V2 {
            controllers.extend(name.controller());
        }
    }
    Ok(needs)
}

/// Checks limits for a cgroup that is still to be made. In each hierarchy the ground's `dir` is
/// the nearest ancestor that exists, and its `above` starts with that same one.
///
/// # Errors
/// As [`super::Plan::new`], as far as it can be known without the cgroup.
pub fn check_new(set: &LimitSet, layout: &Layout, ground: &dyn Ground) -> Result<()> {
    for limit in set.iter() {
        let place = Place::of(limit.name(), layout, ground)?;
        check_controller(&place)?;
        check_files(&place)?;
        check_value(&place, limit, set)?;
    }
    Ok(())
}

/// On v2 a controller can be enabled on the way down when the top of the caller's scope has it.
fn check_controller(place: &Place<'_>) -> Result<()> {
    let (Version::V2, Some(controller)) = (place.version(), place.name.controller()) else {
        return Ok(());
    };
    let offered = match place.above()?.last() {
        Some(top) => top.read("cgroup.controllers").map_err(|errno| {
            Error::kernel(format_args!("{}: read cgroup.controllers", place.name), errno)
        })?,
        None => String::new(),
    };
    if place.is_enabled(controller)? || offered.split_ascii_whitespace().any(|c| c == controller) {
        return Ok(());
    }
    let why = format!("the {controller} controller is not enabled for the caller's scope");
    Err(place
        .error(ErrorName::NotSupported, why)
        .hint(format!("its owner writes +{controller} to cgroup.subtree_control above it")))
}

/// A sibling's files would be the same as the parent's, but for a hierarchy's root.
fn check_files(place: &Place<'_>) -> Result<()> {
    let enabled = match (place.version(), place.name.controller()) {
        (Version::V2, Some(controller)) => place.is_enabled(controller)?,
        _ => true,
    };
    if !enabled || place.is_root()? || place.name == LimitName::IoWeight {
        return Ok(());
    }
    for file in table::files(place.name, place.version()) {
        if !place.has(&file)? {
            return Err(place.missing(&file)?);
        }
    }
    Ok(())
}

fn check_value(place: &Place<'_>, limit: &Limit, set: &LimitSet) -> Result<()> {
    match limit {
        Limit::Memory(what, size) => {
            let bare = set.get(LimitName::MemoryMax).is_none();
            if *what == Memory::Swap && *size != Size::Max && bare && place.version() == Version::V1
            {
                return Err(v1::swap_needs_max(place));
            }
            amount(place, *size).map(drop)
        }
        Limit::IoMax(rows) => check_devices(place, rows.iter().map(|row| &row.device)),
        Limit::IoWeight(rows) => {
            check_devices(place, rows.iter().filter_map(|row| row.device.as_ref()))
        }
        _ => Ok(()),
    }
}

fn check_devices<'d>(
    place: &Place<'_>,
    mut devices: impl Iterator<Item = &'d Device>,
) -> Result<()> {
    devices
        .try_for_each(|device| super::draft::device_number(place, device, "cgroup.procs").map(drop))
}

/// Why no hierarchy has the limit's controller.
fn absent(name: LimitName) -> Result<Error> {
    let why = match name.controller() {
        None => "cgroup v2 is not mounted, and v1 has no such limit".to_owned(),
        Some(controller) => why_absent(controller, &proc_cgroups()?),
    };
    Ok(Error::new(ErrorName::NotSupported, format!("{name}: {why}"))
        .hint("`cgctl info` lists the controllers of this host"))
}

/// Why a controller is on no cgroup v2 hierarchy, when v1 holds it.
///
/// # Errors
/// When `/proc/cgroups` cannot be read.
pub fn holder(controller: &str) -> Result<Option<String>> {
    Ok(is_held_by_v1(controller, &proc_cgroups()?)
        .then(|| format!("the {controller} controller is held by cgroup v1")))
}

/// `/proc/cgroups`; empty in a kernel that is built without it.
fn proc_cgroups() -> Result<String> {
    match std::fs::read_to_string("/proc/cgroups").map_err(errno_of) {
        Err(Errno::ENOENT) => Ok(String::new()),
        text => text.map_err(|errno| Error::kernel("read /proc/cgroups", errno)),
    }
}

fn is_held_by_v1(controller: &str, proc_cgroups: &str) -> bool {
    matches!(row(controller, proc_cgroups), Some((hierarchy, _)) if hierarchy != "0")
}

fn row<'t>(controller: &str, proc_cgroups: &'t str) -> Option<(&'t str, &'t str)> {
    let v1_name = if controller == "io" { "blkio" } else { controller };
    proc_cgroups.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == v1_name).then(|| Some((words.next()?, words.nth(1)?)))?
    })
}

/// `/proc/cgroups` has a row for each controller: name, v1 hierarchy, cgroups, enabled.
fn why_absent(controller: &str, proc_cgroups: &str) -> String {
    match row(controller, proc_cgroups) {
        None => format!("this kernel has no {controller} controller"),
        Some((_, "0")) => format!("the {controller} controller was disabled at boot"),
        Some(("0", _)) => format!("the {controller} controller is mounted nowhere"),
        Some(_) => format!(
            "the {controller} controller is held by a cgroup v1 hierarchy that is \
                            not managed here"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes() {
        let text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n\
                    cpuset\t3\t1\t1\nblkio\t0\t1\t1\nmemory\t0\t1\t0\n";
        for (controller, cause) in [
            ("cpuset", "held by a cgroup v1 hierarchy that is not managed here"),
            ("io", "the io controller is mounted nowhere"),
            ("memory", "disabled at boot"),
            ("misc", "this kernel has no misc controller"),
        ] {
            let why = why_absent(controller, text);
            assert!(why.contains(cause), "{controller}: {why}");
        }
        let held = ["cpuset", "io", "memory", "misc"].map(|name| is_held_by_v1(name, text));
        assert_eq!(held, [true, false, false, false]);
    }
}
