//! Chown and Chmod: the directory and the files a delegatee owns, never limit files.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use cgroupd_proto::CgroupPath;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, fstat};
use nix::unistd::{Gid, Uid, fchownat};

use super::Request;
use super::read::check_file_name;
use super::request::{has_file, node, node_at, node_of};
use super::target::{Cgroup, Wanted};
use crate::cgroup::{Actor, Dir, below};
use crate::policy::{IdMap, Node, OVERFLOW_ID, Position, may_chmod, may_chown};
use crate::{Error, Result};

/// A uid and a gid of the daemon's user namespace, where there are such.
pub(super) type NewOwner = (Option<u32>, Option<u32>);

impl Request<'_> {
    /// Gives a cgroup to ids of the caller's user namespace; all checked before the first change.
    pub(crate) fn chown(&self, path: &CgroupPath, uid: u32, gid: u32, all: bool) -> Result<()> {
        let new = self.new_owner(uid, gid);
        let cgroups = self.existing(path, &Wanted::Implied)?;
        for cgroup in &cgroups {
            self.check_free(&cgroup.target)?;
            let index = cgroup.target.hierarchy;
            each(cgroup, all, |dir, position| self.may_give(index, dir, position, new).map(drop))?;
        }
        for cgroup in &cgroups {
            let index = cgroup.target.hierarchy;
            let kernel = |errno| {
                Error::kernel(format_args!("chown in {}", self.hierarchy(index).label), errno)
            };
            each(cgroup, all, |dir, position| {
                let (files, actor) = self.may_give(index, dir, position, new)?;
                let mut handles = files.iter().map(AsFd::as_fd).chain([dir.as_fd()]);
                actor.run(|| handles.try_for_each(|handle| give(handle, new))).map_err(kernel)
            })?;
        }
        Ok(())
    }

    /// The ids of a new owner for whom the caller has these; `None` for one that it cannot name.
    pub(super) fn new_owner(&self, uid: u32, gid: u32) -> NewOwner {
        let subject = self.subject();
        (new_owner(&subject.uid_map, uid), new_owner(&subject.gid_map, gid))
    }

    /// Whether the caller may give away what is its own, before there is anything.
    pub(super) fn check_giving(&self, (uid, gid): NewOwner) -> Result<()> {
        let subject = self.subject();
        let own = Node { uid: subject.uid, gid: subject.gid, mode: 0o755 };
        let _ = may_chown(subject, Position::Below, own, uid, gid)?;
        Ok(())
    }

    /// Judges the directory and each file that goes with it: they may belong to others. Answers
    /// the files, and as whom to give them away.
    pub(super) fn may_give(
        &self,
        index: usize,
        dir: &Dir,
        position: Position,
        (uid, gid): NewOwner,
    ) -> Result<(Vec<OwnedFd>, Actor)> {
        let judge = |node| may_chown(self.subject(), position, node, uid, gid);
        let kernel = |errno| Error::kernel("look at its files", errno);
        let files = self.delegated_files(index, dir).map_err(kernel)?;
        for file in &files {
            let _ = judge(node(fstat(file).map_err(kernel)?))?;
        }
        Ok((files, judge(node_of(dir)?)?.actor))
    }

    /// The delegate-list files this cgroup has.
    fn delegated_files(&self, index: usize, dir: &Dir) -> nix::Result<Vec<OwnedFd>> {
        let list = self.service.delegate_list(self.hierarchy(index).version);
        let names: Vec<&str> = match list {
            Some(list) => list.iter().map(String::as_str).collect(),
            None => vec!["cgroup.procs", "tasks"],
        };
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            if dir.has_file(name)? {
                files.push(self.reach(dir, name)?);
            }
        }
        Ok(files)
    }

    /// Changes the mode of one file, or of the directory when `file` is empty.
    pub(crate) fn chmod(&self, path: &CgroupPath, file: &str, mode: u32) -> Result<()> {
        if !file.is_empty() {
            check_file_name(file)?;
        }
        let mut changes = Vec::new();
        for cgroup in self.existing(path, &Wanted::Implied)? {
            self.check_free(&cgroup.target)?;
            let node = match file {
                "" => node_of(&cgroup.dir)?,
                _ if !has_file(&cgroup.dir, file)? => continue,
                _ => node_at(&cgroup.dir, file)?,
            };
            let delegated = file.is_empty() || self.is_delegated(cgroup.target.hierarchy, file);
            let position = cgroup.target.position();
            let terms = may_chmod(self.subject(), position, node, mode, delegated)?;
            changes.push((cgroup, terms.actor));
        }
        if changes.is_empty() {
            return Err(super::request::unknown_file(file));
        }
        for (cgroup, actor) in &changes {
            let label = &self.hierarchy(cgroup.target.hierarchy).label;
            let result = match file {
                "" => actor.run(|| set_mode(&cgroup.dir, mode)),
                _ => self
                    .reach(&cgroup.dir, file)
                    .and_then(|handle| actor.run(|| set_mode(&handle, mode))),
            };
            result.map_err(|errno| Error::kernel(format_args!("chmod in {label}"), errno))?;
        }
        Ok(())
    }
}

/// The outside id for a new owner. The ids that stand for "nobody" and "no change" are none.
fn new_owner(map: &IdMap, id: u32) -> Option<u32> {
    let reserved = id == OVERFLOW_ID || id >= u32::MAX - 1;
    map.outside(id).filter(|outside| !reserved && *outside != OVERFLOW_ID)
}

/// By handle: a name in the directory, `.` too, would be searched for with the actor's rights,
/// and an owner may change what it cannot search.
pub(super) fn give(handle: impl AsFd, (uid, gid): NewOwner) -> nix::Result<()> {
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    fchownat(handle, "", uid, gid, AtFlags::AT_EMPTY_PATH)
}

/// The same for a mode. Before Linux 6.6 an `O_PATH` handle has no other name than this one,
/// which every thread of its process may use, whoever it is at the moment.
pub(super) fn set_mode(handle: &impl AsFd, mode: u32) -> nix::Result<()> {
    let link = format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd());
    let mode = Mode::from_bits_truncate(mode);
    fchmodat(AT_FDCWD, link.as_str(), mode, FchmodatFlags::FollowSymlink)
}

/// Does `work` for everything below the cgroup, when asked for, and then for itself.
fn each(
    cgroup: &Cgroup,
    all: bool,
    mut work: impl FnMut(&Dir, Position) -> Result<()>,
) -> Result<()> {
    let mut failure = None;
    if all {
        below(&cgroup.dir, |_, _, dir| {
            failure = work(dir, Position::Below).err();
            Ok(if failure.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
        .map_err(|errno| Error::kernel("list its children", errno))?;
    }
    failure.map_or_else(|| work(&cgroup.dir, cgroup.target.position()), Err)
}
