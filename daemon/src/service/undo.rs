//! Cgroups that a call made and has not finished with: unless it succeeds they are removed.

use nix::errno::Errno;

use crate::cgroup::{Actor, Dir, DirId};

/// What to take back, newest first.
#[derive(Debug, Default)]
pub(super) struct Made(Vec<Step>);

#[derive(Debug)]
struct Step {
    parent: Dir,
    name: String,
    id: DirId,
    actor: Actor,
}

impl Made {
    pub(super) fn add(&mut self, parent: Dir, name: &str, id: DirId, actor: Actor) {
        self.0.push(Step { parent, name: name.to_owned(), id, actor });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The call succeeded: everything stays.
    pub(super) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for step in self.0.drain(..).rev() {
            if let Err(errno) = step.actor.run(|| step.take_back()) {
                tracing::warn!(name = step.name, %errno, "a half-made cgroup stays");
            }
        }
    }
}

impl Step {
    /// Removes the directory, if it is still the one that was made.
    fn take_back(&self) -> nix::Result<()> {
        match self.parent.open(&self.name).and_then(|dir| dir.id()) {
            Ok(id) if id == self.id => self.parent.remove(&self.name),
            Ok(_) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}
