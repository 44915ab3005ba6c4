//! The holder of the managed root on a systemd host.
//!
//! systemd removes the empty cgroups of a unit that stops, and cannot start a process again in a
//! cgroup that has controllers for its children. So the managed root is not the daemon's own
//! unit, which must be free to restart, but one whose only process does nothing.

use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};

use super::Failure;
use super::notify::Notifier;
use crate::cgroup::{Dir, HOLDER, own_cgroup, systemd};

/// Moves to the holder's leaf, says that it is ready, and stays until it is told to stop.
pub(crate) fn hold() -> ExitCode {
    match stay() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn stay() -> Result<(), Failure> {
    let ends = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    ends.thread_block().map_err(Failure::kernel("block signals"))?;
    let mut notifier = Notifier::new(None)?;
    let (path, unit) = own_cgroup().map_err(Failure::kernel("find the own cgroup on cgroup2"))?;
    enter_leaf(&path, &unit)?;
    notifier.ready();
    ends.wait().map(drop).map_err(Failure::kernel("wait for a signal"))
}

/// systemd starts it there by itself where the unit has `DelegateSubgroup=`.
fn enter_leaf(path: &str, unit: &Dir) -> Result<(), Failure> {
    if path.ends_with(&format!("/{HOLDER}")) {
        return Ok(());
    }
    match systemd::is_delegated(unit) {
        Ok(true) => unit
            .put_in_leaf(HOLDER, std::process::id())
            .map_err(Failure::kernel(format!("move to {path}/{HOLDER}"))),
        Ok(false) => Err(Failure::NothingToHold(path.to_owned())),
        Err(errno) => Err(Failure::kernel(format!("look at {path}"))(errno)),
    }
}
