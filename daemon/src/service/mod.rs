//! One short function per verb, each the verb's story: resolve the path, open the cgroup,
//! collect facts from that handle, ask the policy, act on the same handle.

mod accounts;
mod attach;
mod create;
mod delegate;
mod delegations;
mod enable;
mod enter;
mod evacuate;
mod explain;
mod features;
mod freeze;
mod guarded;
mod handover;
mod hold;
mod identity;
mod kill;
mod limits;
mod list;
mod own;
mod owner;
mod passed;
mod processes;
mod prune;
mod quota;
mod read;
mod remove;
mod request;
mod retries;
mod share;
mod signal;
mod stats;
mod target;
mod undo;
mod victim;
mod visible;
mod watch;
pub(crate) mod when_empty;
mod write;

pub(crate) use create::Order;
pub(crate) use delegate::Delegation;
pub use delegations::Delegations;
pub(crate) use enable::Enabling;
pub use guarded::Guarded;
pub(crate) use limits::Change;
pub(crate) use list::Page;
pub use quota::Quota;
pub(crate) use read::Key;
pub use request::Request;
pub(crate) use signal::Signal;
pub(crate) use target::unknown_controller;
pub(crate) use victim::Victims;
pub(crate) use watch::{Tell, Watch, watch};
pub use when_empty::Keeper;

use crate::caller::Host;
use std::sync::Arc;
use std::time::Duration;

use crate::accounting::{Accounts, Bounds};
use crate::cgroup::watch::Hub;
use crate::cgroup::{Layout, Version};
use crate::log::Audit;
use crate::transport::Limits;

/// What all requests share.
#[derive(Debug)]
pub struct Service {
    /// The hierarchies.
    pub layout: Layout,
    /// The daemon's own namespaces.
    pub host: Host,
    /// How deep a caller may make cgroups, and what was made for whom.
    pub quota: Quota,
    /// What everybody holds and causes is charged here first.
    pub accounts: Arc<Accounts>,
    /// How long such a write is waited for, and a freeze, a thaw, or a kill.
    pub deadline: Duration,
    /// The most items of an array argument.
    pub array_items: usize,
    /// The log of changes and refusals.
    pub audit: Arc<Audit>,
    /// Whom nobody stops.
    pub guarded: Guarded,
    /// What this kernel offers that is used.
    pub features: Vec<String>,
    /// Who tells watches to look.
    hub: Hub,
    /// What is removed when it is empty.
    pub keeper: Keeper,
    /// What users are given.
    pub delegations: Delegations,
    delegate: Vec<String>,
    holds: hold::Holds,
}

impl Service {
    /// A service over a layout.
    pub fn new(layout: Layout, host: Host, quota: Quota) -> Self {
        Self::with_limits(layout, host, quota, &Limits::default())
    }

    /// As [`Self::new`], with the bounds of a configuration.
    pub fn with_limits(layout: Layout, host: Host, quota: Quota, limits: &Limits) -> Self {
        let accounts = Accounts::new(Bounds::new(limits, quota.cgroups));
        Self {
            layout,
            host,
            quota,
            deadline: Duration::from_secs(limits.change_seconds),
            array_items: limits.array_items,
            audit: Arc::default(),
            guarded: Guarded::default(),
            features: features::probe(),
            hub: Hub::default(),
            keeper: Keeper::new(&accounts),
            holds: hold::Holds::new(&accounts),
            accounts,
            delegations: Delegations::default(),
            delegate: delegate_list(),
        }
    }

    /// The files a delegatee owns in a hierarchy of this version, `None` for v1's.
    fn delegate_list(&self, version: Version) -> Option<&[String]> {
        (version == Version::V2).then_some(&self.delegate[..])
    }
}

/// `/sys/kernel/cgroup/delegate`, which grows with the kernel; without it the three that
/// cgroup-v2.rst names.
fn delegate_list() -> Vec<String> {
    let text = std::fs::read_to_string("/sys/kernel/cgroup/delegate")
        .unwrap_or_else(|_| "cgroup.procs\ncgroup.threads\ncgroup.subtree_control\n".to_owned());
    text.lines().map(str::to_owned).collect()
}
