//! Cgroups that a call made and has not finished with: unless it succeeds they are removed.

use nix::errno::Errno;

use super::quota::Counted;
use crate::cgroup::{Actor, Dir, DirId};

/// What to take back, newest first.
#[derive(Debug, Default)]
pub(super) struct Made<'a>(Vec<Step<'a>>);

#[derive(Debug)]
pub(super) struct Step<'a> {
    pub(super) parent: Dir,
    pub(super) name: String,
    pub(super) id: DirId,
    pub(super) actor: Actor,
    /// The quota in which it counts, if any.
    pub(super) counted: Option<Counted<'a>>,
}

impl<'a> Made<'a> {
    pub(super) fn add(&mut self, step: Step<'a>) {
        self.0.push(step);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The call succeeded: everything stays.
    pub(super) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        for step in self.0.drain(..).rev() {
            match (step.actor.run(|| step.take_back()), step.counted) {
                (Ok(()), Some(counted)) => counted.forget(step.id),
                (Ok(()), None) => {}
                (Err(errno), _) => {
                    tracing::warn!(name = step.name, %errno, "a half-made cgroup stays");
                }
            }
        }
    }
}

impl Step<'_> {
    /// Removes the directory, if it is still the one that was made.
    fn take_back(&self) -> nix::Result<()> {
        match self.parent.open(&self.name).and_then(|dir| dir.id()) {
            Ok(id) if id == self.id => self.parent.remove(&self.name),
            Ok(_) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}
