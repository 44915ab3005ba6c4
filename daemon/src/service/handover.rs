//! Handing cgroups over: each directory and the files that are delegated with it, as handles, all
//! judged before the first change and put back as they were when one cannot be changed. A cgroup
//! that was there before changes hands only if nobody has a way into it, or a hand on its limits.

use std::os::fd::{AsFd, OwnedFd};

use cgroupd_proto::ErrorName;
use nix::sys::stat::fstat;

use super::Request;
use super::enable::ENABLED;
use super::owner::{NewOwner, give, set_mode};
use super::remove::check_empty;
use super::request::{has_file, node, node_at, node_of};
use super::target::Cgroup;
use crate::cgroup::Actor;
use crate::policy::Node;
use crate::{Error, Result};

/// All that `chmod(2)` sets.
const MODE: u32 = 0o7777;
/// For others to write.
const OPEN: u32 = 0o022;
/// v1 makes it so for everybody; it takes descriptors that its writer must have.
const FOR_ALL: &str = "cgroup.event_control";

/// A cgroup that is to change hands.
pub(super) struct Handover {
    label: String,
    actor: Actor,
    /// The directory is the last.
    pieces: Vec<Piece>,
}

struct Piece {
    handle: OwnedFd,
    found: Node,
}

impl Request<'_> {
    /// Judges all of it.
    pub(super) fn handovers(&self, cgroups: &[Cgroup], to: NewOwner) -> Result<Vec<Handover>> {
        cgroups.iter().map(|cgroup| self.handover(cgroup, to)).collect()
    }

    fn handover(&self, cgroup: &Cgroup, to: NewOwner) -> Result<Handover> {
        let Cgroup { target, dir } = cgroup;
        self.check_free(target)?;
        let (mut handles, actor) = self.may_give(target.hierarchy, dir, target.position(), to)?;
        let own = dir.as_fd().try_clone_to_owned();
        handles.push(own.map_err(|error| Error::new(ErrorName::Failed, error.to_string()))?);
        let found = |handle: OwnedFd| {
            let stat = fstat(&handle).map_err(|errno| Error::kernel("look at its files", errno))?;
            Ok(Piece { handle, found: node(stat) })
        };
        let pieces = handles.into_iter().map(found).collect::<Result<_>>()?;
        Ok(Handover { label: self.hierarchy(target.hierarchy).label.clone(), actor, pieces })
    }

    /// The directory above, and on v2 the file by which it gives controllers.
    fn parents(&self, Cgroup { target, .. }: &Cgroup) -> Result<Vec<Node>> {
        let Some((_, names)) = target.names.split_last() else { return Ok(Vec::new()) };
        let parent = self.open(&target.scope.dir, names);
        let parent = parent.map_err(|errno| Error::kernel("open its parent", errno))?;
        let control = has_file(&parent, ENABLED)?.then(|| node_at(&parent, ENABLED)).transpose()?;
        Ok([node_of(&parent)?].into_iter().chain(control).collect())
    }

    /// Whether the caller may give it to `to`, and nobody else has it then.
    ///
    /// # Errors
    /// Denied; Exists when somebody has a part of it, Busy when somebody is in it.
    pub(super) fn check_takeable(&self, cgroup: &Cgroup, to: NewOwner) -> Result<()> {
        let Cgroup { target, dir } = cgroup;
        let _judged = self.may_give(target.hierarchy, dir, target.position(), to)?;
        let unlisted = |errno| Error::kernel("list its files", errno);
        let files = dir.files().map_err(unlisted)?;
        let is_of_others =
            |node: Node| node.mode & OPEN != 0 || ![0, self.subject().uid].contains(&node.uid);
        if self.parents(cgroup)?.into_iter().any(is_of_others) {
            return Err(above());
        }
        let top = node_of(dir)?;
        let changes_hands = Some(top.uid) != to.0;
        for file in files.iter().filter_map(|file| file.to_str()) {
            let delegated = self.is_delegated(target.hierarchy, file);
            if file == FOR_ALL || delegated && !changes_hands {
                continue;
            }
            match node_at(dir, file) {
                Ok(node) if is_of_others(node) => return Err(taken(&format!("{file} in it"))),
                // It has vanished since it was listed, with its controller.
                Err(error) if error.name == ErrorName::UnknownFile => {}
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        match changes_hands {
            true if is_of_others(top) => Err(taken("it")),
            true => check_empty(dir, false, &self.hierarchy(target.hierarchy).label),
            false => Ok(()),
        }
    }
}

fn above() -> Error {
    let text = "the cgroup above it is somebody else's, or for others to write";
    Error::new(ErrorName::Denied, text).hint("whoever has that could undo its limits")
}

fn taken(what: &str) -> Error {
    let text = format!("it exists, and {what} is somebody else's, or for others to write");
    Error::new(ErrorName::Exists, text)
        .hint("take it back from its owner, or remove it, first: cgctl rm -r, or delegate --revoke")
}

/// Gives all of them, or none.
pub(super) fn give_each(handovers: &[Handover], to: NewOwner) -> Result<()> {
    let given = handovers.iter().try_for_each(|handover| handover.give(to));
    given.inspect_err(|_| restore_each(handovers))
}

/// Puts back who had them, and how.
pub(super) fn restore_each(handovers: &[Handover]) {
    for Handover { actor, pieces, .. } in handovers {
        for Piece { handle, found } in pieces {
            // What is gone meanwhile is nobody's.
            let _ = actor.run(|| set_mode(handle, found.mode & MODE));
            let _ = actor.run(|| give(handle, (Some(found.uid), Some(found.gid))));
        }
    }
}

impl Handover {
    fn give(&self, to: NewOwner) -> Result<()> {
        let each = || self.pieces.iter().try_for_each(|piece| give(&piece.handle, to));
        self.actor.run(each).map_err(|errno| self.failed("chown", errno))
    }

    /// Takes it, and writing from whom its owner has let write.
    pub(super) fn seize(&self, own: NewOwner) -> Result<()> {
        self.give(own)?;
        let close = |Piece { handle, found }: &Piece| set_mode(handle, found.mode & MODE & !OPEN);
        let all = || self.pieces.iter().try_for_each(close);
        self.actor.run(all).map_err(|errno| self.failed("chmod", errno))
    }

    fn failed(&self, what: &str, errno: nix::errno::Errno) -> Error {
        Error::kernel(format_args!("{what} in {}", self.label), errno)
    }
}
