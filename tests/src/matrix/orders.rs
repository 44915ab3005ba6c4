//! What each act is, in terms of paths and files: the same words for both sides.

use super::rows::{Act, Position, Row};
use super::wire::{Order, Verb};
use crate::hierarchies::{Hierarchy, Version};

/// Ids beyond every container's range.
const FAR_ID: u32 = 70_000;
/// What stands for an id without a name.
const OVERFLOW_ID: u32 = 65_534;

/// A row's order; `dir` is its cgroup with a slash at the end, `victim` the process to move.
pub(super) fn order(row: Row, hierarchy: &Hierarchy, dir: &str, victim: Option<u32>) -> Order {
    let verb = verb(row, hierarchy, victim);
    let controller = hierarchy.controllers.first().unwrap_or(&hierarchy.label).clone();
    let child = if row.site.position == Position::Top { at_top(row.act) } else { child(row.act) };
    let path = format!("{dir}{child}");
    let path = if path.len() > 1 { path.trim_end_matches('/').to_owned() } else { path };
    Order { path, controller, verb }
}

/// The top itself is asked about, but nothing can be made there but below it.
fn at_top(act: Act) -> &'static str {
    if act == Act::Create { "new" } else { "" }
}

fn child(act: Act) -> &'static str {
    match act {
        Act::Create => "new",
        Act::CreateReserved => "memory.new",
        Act::RemoveTree | Act::ReadBelow => "tree",
        // All devices of a cgroup are denied at once while it has no children.
        Act::Remove | Act::SetDevices | Act::Attach(..) => "kid",
        Act::Processes => "src",
        _ => "",
    }
}

fn verb(row: Row, hierarchy: &Hierarchy, victim: Option<u32>) -> Verb {
    let v1 = hierarchy.version == Version::V1;
    let (limit, value) = if v1 { ("pids.max", "77") } else { ("cgroup.max.depth", "7") };
    let never = if v1 { "notify_on_release" } else { "cgroup.pressure" };
    let write = |file: &str, value: &str| Verb::Write { file: file.into(), value: value.into() };
    let chmod = |file: &str, mode| Verb::Chmod { file: file.into(), mode };
    let (uid, gid) = row.caller().inside();
    match row.act {
        Act::Create | Act::CreateReserved => Verb::Create,
        Act::Remove => Verb::Remove { recursive: false },
        Act::RemoveTree => Verb::Remove { recursive: true },
        Act::SetLimit => Verb::Limit { file: limit.into(), value: value.into() },
        Act::WriteLimit => write(limit, value),
        Act::SetDelegated => write("cgroup.subtree_control", "\n"),
        Act::SetNever => write(never, if v1 { "1" } else { "0" }),
        Act::SetHostRoot => write("memory.oom_control", "1"),
        Act::SetDevices => write("devices.deny", "a"),
        Act::Read | Act::ReadBelow => Verb::Read { file: limit.into() },
        Act::List => Verb::List,
        Act::Processes => Verb::Processes,
        Act::ChownSelf => Verb::Chown { uid, gid },
        Act::ChownOther => Verb::Chown { uid: 7, gid: 8 },
        Act::ChownUnmapped => Verb::Chown { uid: FAR_ID, gid: FAR_ID },
        Act::ChownReserved => Verb::Chown { uid: OVERFLOW_ID, gid: OVERFLOW_ID },
        Act::Chmod => chmod("", 0o751),
        Act::ChmodSetgid => chmod("", 0o2755),
        Act::ChmodLimit => chmod(limit, 0o640),
        Act::ChmodLimitOpen => chmod(limit, 0o666),
        Act::Attach(..) => Verb::Attach { pid: victim.expect("an attach row has one") },
    }
}
