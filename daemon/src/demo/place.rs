//! Where the play takes place.
//!
//! Where systemd owns the cgroup v2 tree it must be a part that it has delegated: the unit that
//! is packaged for the daemon, the unit that the demo was started in, or a scope of its own.

use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::SCOPE;
use super::say::{self, Result};
use crate::cgroup::{Dir, LEAF, Layout, LayoutError, systemd};

/// What the play can use.
pub(super) enum Place {
    /// A cgroup below which it may make its own.
    Below(String),
    /// Nothing that is there: systemd has to be asked.
    NewScope,
}

/// Looks for a place, from the one that a daemon would take.
pub(super) fn find() -> Result<Place> {
    let usual = Layout::default_root()?;
    match Layout::detect(usual) {
        Ok(_) => Ok(Place::Below(usual.to_owned())),
        Err(LayoutError::NotDelegated { .. }) => {
            Ok(own_unit().map_or(Place::NewScope, Place::Below))
        }
        Err(error) => Err(error.into()),
    }
}

/// The delegated unit that this process is in, left for a leaf of it where that is necessary.
pub(super) fn own_unit() -> Result<String> {
    let (path, unit) = systemd::own_unit().map_err(|why| {
        format!(
            "systemd owns the cgroup tree of this host, and the demo is in no part that it has \
             delegated: {why}"
        )
    })?;
    vacate(&unit).map_err(|why| format!("/{path} cannot be used for the demo: {why}"))?;
    Ok(path)
}

/// A cgroup with processes cannot have children with controllers.
fn vacate(unit: &Dir) -> Result<()> {
    let (inside, own) = (unit.read("cgroup.procs")?, std::process::id());
    let (here, others): (Vec<&str>, _) = inside.lines().partition(|line| *line == own.to_string());
    match (here.is_empty(), others.first()) {
        (_, Some(other)) => Err(format!("process {other} is in it").into()),
        (true, None) => Ok(()),
        (false, None) => Ok(unit.put_in_leaf(LEAF, own)?),
    }
}

/// Becomes the play in a scope of its own; returns only when it cannot.
pub(super) fn enter_scope() -> Result<()> {
    let own = std::env::current_exe()?;
    say::text("systemd owns the cgroup tree of this host: it is asked for a part of it.");
    let mut command = Command::new("systemd-run");
    command.args(["--scope", "--quiet", "--property=Delegate=yes", "--"]);
    let error = command.arg(own).arg(SCOPE).exec();
    let hint = match error.kind() {
        ErrorKind::NotFound => "\nhint: install systemd-run, or start cgroupd-tree.service first",
        _ => "",
    };
    Err(format!("cannot run systemd-run, which asks systemd for a scope: {error}{hint}").into())
}
