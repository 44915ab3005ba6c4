//! Which rows there are: every combination that means something on this machine.

use super::identity::{BASE, IDENTITIES, Identity};
use super::rows::{Act, From, INSIDE, Position, Row, Site, Who};
use crate::hierarchies::{self, Hierarchy, Version};

const OWNERS: [(u32, u32); 6] =
    [(0, 0), (1000, 1000), (1000, 0), (BASE, BASE), (BASE + 500, BASE + 500), (BASE + 500, 0)];
/// Of cgroups on other branches, and where there are few.
const FEW_OWNERS: [(u32, u32); 3] = [(0, 0), (1000, 1000), (BASE, BASE)];
const MODES: [u32; 4] = [0o755, 0o700, 0o771, 0o055];
/// Bits are judged by the same code in both versions: the rest of them only once.
const V2_MODES: [u32; 2] = [0o755, 0o770];
/// Device rules take more than the permission to write.
const DEVICE_MODES: [u32; 2] = [0o755, 0o777];
const BASIC: [Act; 13] = [
    Act::Create,
    Act::Remove,
    Act::RemoveTree,
    Act::SetLimit,
    Act::WriteLimit,
    Act::SetDelegated,
    Act::Read,
    Act::ReadBelow,
    Act::List,
    Act::ChownSelf,
    Act::ChownOther,
    Act::Chmod,
    Act::ChmodLimit,
];
const SPECIAL: [Act; 6] = [
    Act::CreateReserved,
    Act::SetNever,
    Act::ChownUnmapped,
    Act::ChownReserved,
    Act::ChmodSetgid,
    Act::ChmodLimitOpen,
];
const AT_TOP: [Act; 8] = [
    Act::Create,
    Act::Remove,
    Act::SetLimit,
    Act::WriteLimit,
    Act::SetDelegated,
    Act::Read,
    Act::ChownSelf,
    Act::Chmod,
];
const ELSEWHERE: [Act; 8] = [
    Act::Create,
    Act::Remove,
    Act::SetLimit,
    Act::Read,
    Act::List,
    Act::ChownSelf,
    Act::Chmod,
    Act::Attach(Who::Own, From::Near),
];
const READ_ONLY: [Act; 6] =
    [Act::Create, Act::Remove, Act::SetLimit, Act::Read, Act::List, Act::Chmod];

/// The hierarchy whose rows are complete for its version, where there is one.
pub(super) fn complete() -> impl Iterator<Item = &'static Hierarchy> {
    [hierarchies::v1_of("pids"), hierarchies::v2()].into_iter().flatten()
}

/// All hierarchies that rows are about.
pub(super) fn hierarchies() -> impl Iterator<Item = &'static Hierarchy> {
    let others = [hierarchies::v1_of("devices"), hierarchies::v1_of("memory")];
    complete().chain(others.into_iter().flatten())
}

/// All rows of a hierarchy, those of one site together.
pub(super) fn of(hierarchy: &'static Hierarchy) -> Vec<Row> {
    let mut rows = Vec::new();
    for site in sites(hierarchy) {
        for act in acts(hierarchy, site) {
            let askers = IDENTITIES.iter().filter(|asker| is_for(asker, hierarchy, site, act));
            let hierarchy = hierarchy.label.as_str();
            rows.extend(askers.map(|asker| Row { identity: asker.name, hierarchy, site, act }));
        }
    }
    rows
}

fn sites(hierarchy: &Hierarchy) -> Vec<Site> {
    let at = |position| move |owner| Site { position, owner, mode: 0o755 };
    let mut sites: Vec<Site> = OWNERS.map(at(Position::Top)).into();
    sites.extend(FEW_OWNERS.map(at(Position::Sibling)));
    sites.extend(FEW_OWNERS.map(at(Position::Outside)));
    let below: &[u32] = match hierarchy.version {
        _ if hierarchy.is_v1_of("devices") => &DEVICE_MODES,
        _ if hierarchy.is_v1_of("memory") => &MODES[..1],
        Version::V1 if few_modes() => &V2_MODES,
        Version::V1 => &MODES,
        Version::V2 => &V2_MODES,
    };
    for owner in OWNERS.into_iter().filter(|owner| !few_owners() || FEW_OWNERS.contains(owner)) {
        let site = |mode: &u32| Site { position: Position::Below, owner, mode: *mode };
        sites.extend(below.iter().map(site));
    }
    sites
}

/// `CGROUPD_MATRIX=few-modes`, for slow machines: v1 has as few modes as v2.
fn few_modes() -> bool {
    variable().is_some_and(|value| value == "few-modes" || value == "few-owners")
}

/// `CGROUPD_MATRIX=few-owners`, for machines that differ from others only in where things are
/// mounted; also where both versions are complete, each of which has all owners where it is alone.
fn few_owners() -> bool {
    variable().is_some_and(|value| value == "few-owners") || few_modes() && complete().count() > 1
}

fn variable() -> Option<std::ffi::OsString> {
    std::env::var_os("CGROUPD_MATRIX")
}

fn acts(hierarchy: &Hierarchy, site: Site) -> Vec<Act> {
    let below = site.position == Position::Below;
    match site.position {
        _ if hierarchy.is_v1_of("devices") => {
            below.then_some(Act::SetDevices).into_iter().collect()
        }
        _ if hierarchy.is_v1_of("memory") => {
            below.then_some(Act::SetHostRoot).into_iter().collect()
        }
        Position::Below => {
            let special: &[Act] = if site.mode == 0o755 { &SPECIAL } else { &[] };
            [&BASIC[..], special, &moves(site.mode), &[Act::Processes]].concat()
        }
        Position::Top => AT_TOP.to_vec(),
        Position::Sibling | Position::Outside => ELSEWHERE.to_vec(),
    }
}

/// Moves are slow, each about 16 ms: not for every mode.
fn moves(mode: u32) -> Vec<Act> {
    let near = |who| Act::Attach(who, From::Near);
    match mode {
        0o755 => {
            let own = [From::Near, From::Far, From::Sibling, From::Outside];
            let own = own.map(|from| Act::Attach(Who::Own, from));
            let others = [
                Who::Other,
                Who::Root,
                Who::Inside,
                Who::SameNumber,
                Who::SetUid,
                Who::EffectiveOnly,
                Who::Daemon,
            ];
            own.into_iter().chain(others.map(near)).collect()
        }
        0o770 | 0o771 => vec![near(Who::Own)],
        _ => Vec::new(),
    }
}

/// v2 of Linux 6.1 and later has a file of this kind that takes no descriptors, with PSI.
pub(super) fn has_pressure(v2: &Hierarchy) -> bool {
    v2.mount.join("cgroup.pressure").exists()
}

/// Whether a combination means something.
fn is_for(identity: &Identity, hierarchy: &Hierarchy, site: Site, act: Act) -> bool {
    let host = identity.user_ns.is_none() && !identity.own_pid_ns;
    if identity.read_only {
        return site.mode == 0o755 && site.position == Position::Below && READ_ONLY.contains(&act);
    }
    match act {
        Act::SetDelegated => hierarchy.version == Version::V2,
        Act::SetNever => hierarchy.version == Version::V1 || has_pressure(hierarchy),
        Act::Attach(Who::Own | Who::Other, _) => true,
        Act::Attach(Who::Root, _) => identity.uid != 0,
        Act::Attach(Who::Inside | Who::SameNumber, _) => identity.maps(INSIDE, INSIDE),
        Act::Attach(Who::SetUid | Who::EffectiveOnly, _) => host && identity.uid != 0,
        Act::Attach(Who::Daemon, _) => host && identity.uid == 0,
        _ => true,
    }
}
