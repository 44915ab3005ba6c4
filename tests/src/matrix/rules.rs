//! Where the daemon's verdict is meant to differ from the kernel's, and how. Written from the
//! documented rules, in terms of identities and of what the oracle said elsewhere: nothing here
//! knows how the daemon decides.

use std::fmt;

use rustix::thread::CapabilitySet as Caps;

use super::identity::{Class, Identity};
use super::plan::has_pressure;
use super::rows::{Act, From, Position, Row, Who};
use super::wire::{Answer, Verdict};
use crate::hierarchies;

/// A named difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Rule {
    /// Nothing outside the scope exists.
    Scope,
    /// The top of the scope is not removed.
    TopRemoved,
    /// Nor are the limits that others put on it changed.
    TopLimited,
    /// Nor its owner, host root's included.
    TopOwned,
    /// Nor its mode.
    TopMode,
    /// Names of the kernel's files are no names of cgroups.
    Name,
    /// Files with effects of their own.
    NeverSet,
    /// Files that are host root's.
    HostRootFile,
    /// Owners change only by a privilege, not to what the owner is already.
    ChownPrivilege,
    /// Nor from an owner that the caller's user namespace has no name for.
    ChownForeign,
    /// The overflow ids own nothing.
    ChownReserved,
    /// No set-id bits.
    ModeBits,
    /// Limits are not for everybody to write.
    ModeLimit,
    /// The process to be moved is outside the scope.
    VictimScope,
    /// The daemon is not moved.
    Untouchable,
    /// Who is neither host root nor the root of a user namespace acts without capabilities.
    NoCapabilities,
    /// The root of a user namespace moves its processes on v1.
    G1,
    /// The owner of a cgroup narrows its devices.
    G2,
    /// The empty descendants of what one may remove go with it.
    G4,
    /// cgroupfs need not be writable for the caller.
    G5,
}

impl Rule {
    pub(super) const ALL: [Self; 20] = [
        Self::Scope,
        Self::TopRemoved,
        Self::TopLimited,
        Self::TopOwned,
        Self::TopMode,
        Self::Name,
        Self::NeverSet,
        Self::HostRootFile,
        Self::ChownPrivilege,
        Self::ChownForeign,
        Self::ChownReserved,
        Self::ModeBits,
        Self::ModeLimit,
        Self::VictimScope,
        Self::Untouchable,
        Self::NoCapabilities,
        Self::G1,
        Self::G2,
        Self::G4,
        Self::G5,
    ];

    pub(super) fn verdict(self) -> Verdict {
        match self {
            Self::G1 | Self::G2 | Self::G4 | Self::G5 => Verdict::Allowed,
            _ => Verdict::Denied,
        }
    }

    /// The errors that say so.
    pub(super) fn errors(self) -> &'static [&'static str] {
        match self {
            Self::Scope => &["NotFound", "InvalidPath"],
            Self::Name => &["InvalidPath"],
            _ => &["Denied"],
        }
    }

    /// Whether this machine has the hierarchy that shows it.
    pub(super) fn can_show(self) -> bool {
        match self {
            Self::G1 => hierarchies::v1_of("pids").is_some(),
            Self::G2 => hierarchies::v1_of("devices").is_some(),
            Self::HostRootFile => hierarchies::v1_of("memory").is_some(),
            Self::NeverSet => {
                hierarchies::v1_of("pids").is_some() || hierarchies::v2().is_some_and(has_pressure)
            }
            _ => true,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What the daemon is to say, and the rule for it where that is not the oracle's word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) verdict: Verdict,
    pub(super) rule: Option<Rule>,
}

/// What the oracle said to any row.
pub(super) trait Oracle {
    fn answer(&self, row: Row) -> Answer;
}

/// What is expected of the daemon.
pub(super) fn expected(row: Row, oracle: &impl Oracle) -> Expected {
    let by_rule = |rule: Rule| Expected { verdict: rule.verdict(), rule: Some(rule) };
    if let Some(rule) = refusal(row) {
        return by_rule(rule);
    }
    if let Some(rule) = grant(row, oracle) {
        return by_rule(rule);
    }
    let (bare, own) = (oracle.answer(without_caps(row)).verdict, oracle.answer(row).verdict);
    match bare == own {
        true => Expected { verdict: own, rule: None },
        false => by_rule(Rule::NoCapabilities),
    }
}

/// The rules that refuse whatever the kernel says.
fn refusal(row: Row) -> Option<Rule> {
    let Row { act, site, .. } = row;
    let caller = row.caller();
    let host_root = caller.class == Class::HostRoot;
    let top = site.position == Position::Top;
    let rules = [
        (is_outside(caller, site.position), Rule::Scope),
        (top && act == Act::Remove, Rule::TopRemoved),
        (top && act.sets_limit() && !host_root, Rule::TopLimited),
        (top && act.is_chown(), Rule::TopOwned),
        (top && act.is_chmod(), Rule::TopMode),
        (act == Act::CreateReserved, Rule::Name),
        (act == Act::SetNever, Rule::NeverSet),
        (act == Act::SetHostRoot && !host_root, Rule::HostRootFile),
        (act == Act::ChownReserved, Rule::ChownReserved),
        (act.is_chown() && !may_chown(caller), Rule::ChownPrivilege),
        (act.is_chown() && !names_owner(caller, site.owner), Rule::ChownForeign),
        (act == Act::ChmodSetgid, Rule::ModeBits),
        (act == Act::ChmodLimitOpen, Rule::ModeLimit),
        (matches!(act, Act::Attach(Who::Daemon, _)), Rule::Untouchable),
        (victim_is_outside(caller, act), Rule::VictimScope),
    ];
    rules.into_iter().find_map(|(applies, rule)| applies.then_some(rule))
}

fn is_outside(caller: &Identity, position: Position) -> bool {
    match position {
        Position::Below | Position::Top => false,
        Position::Sibling => caller.confined,
        Position::Outside => true,
    }
}

fn victim_is_outside(caller: &Identity, act: Act) -> bool {
    match act {
        Act::Attach(_, From::Sibling) => caller.confined,
        Act::Attach(_, From::Outside) => caller.class != Class::HostRoot,
        _ => false,
    }
}

fn may_chown(caller: &Identity) -> bool {
    let root = caller.class == Class::NsRoot || caller.uid == 0 && caller.user_ns.is_none();
    root && caller.caps.contains(Caps::CHOWN)
}

fn names_owner(caller: &Identity, (uid, gid): (u32, u32)) -> bool {
    caller.user_ns.is_none() || caller.maps(uid, gid)
}

/// The grants, where the kernel refuses.
fn grant(row: Row, oracle: &impl Oracle) -> Option<Rule> {
    let caller = row.caller();
    let (site, refused) = (row.site, oracle.answer(without_caps(row)));
    let allowed = |row: Row| expected(row, oracle).verdict == Verdict::Allowed;
    if refused.verdict != Verdict::Denied {
        return None;
    }
    let dac = caller.ns_root_with(Caps::DAC_OVERRIDE);
    match row.act {
        _ if caller.read_only => allowed(row.by("owner")).then_some(Rule::G5),
        Act::Attach(Who::Inside, from) if row.is_v1() && dac => {
            allowed(row.asking(Act::Attach(Who::Own, from))).then_some(Rule::G1)
        }
        // The kernel let it open the file, and refused the rule.
        Act::SetDevices if refused.why == "EPERM" => {
            let (uid, gid) = site.owner;
            (caller.uid == uid || dac && caller.maps(uid, gid)).then_some(Rule::G2)
        }
        Act::RemoveTree => allowed(row.asking(Act::Remove)).then_some(Rule::G4),
        _ => None,
    }
}

/// The same question by the same uid with no capabilities, but CAP_CHOWN to change owners.
fn without_caps(row: Row) -> Row {
    let caller = row.caller();
    let has_some = caller.class == Class::User && caller.uid == 0 && !caller.caps.is_empty();
    match has_some && !matches!(row.act, Act::Attach(Who::Daemon, _)) {
        true if row.act.is_chown() => row.by("root-with-chown"),
        true => row.by("root-without-caps"),
        false => row,
    }
}
