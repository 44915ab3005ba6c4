//! Chown and Chmod: the directory and the files a delegatee owns, never limit files.

use std::sync::Arc;

use cgroupd_proto::CgroupPath;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{Gid, Uid, fchownat};

use super::Request;
use super::read::check_file_name;
use super::request::{node_at, node_of};
use super::target::{Cgroup, Wanted};
use crate::cgroup::{Actor, Dir, Walk};
use crate::policy::{IdMap, OVERFLOW_ID, Position, may_chmod, may_chown};
use crate::{Error, Result};

impl Request<'_> {
    /// Gives a cgroup to ids of the caller's user namespace; all checked before the first change.
    pub(crate) fn chown(&self, path: &CgroupPath, uid: u32, gid: u32, all: bool) -> Result<()> {
        let subject = self.subject();
        let new = (new_owner(&subject.uid_map, uid), new_owner(&subject.gid_map, gid));
        let cgroups = self.existing(path, &Wanted::Implied)?;
        for cgroup in &cgroups {
            for (dir, position) in tree(cgroup, all)? {
                let _ = self.may_give(cgroup.target.hierarchy, &dir, position, new)?;
            }
        }
        let (uid, gid) = (new.0.map(Uid::from_raw), new.1.map(Gid::from_raw));
        for cgroup in &cgroups {
            let index = cgroup.target.hierarchy;
            let label = &self.hierarchy(index).label;
            for (dir, position) in tree(cgroup, all)? {
                let (files, actor) = self.may_give(index, &dir, position, new)?;
                actor
                    .run(|| give(&dir, &files, uid, gid))
                    .map_err(|errno| Error::kernel(format_args!("chown in {label}"), errno))?;
            }
        }
        Ok(())
    }

    /// Judges the directory and each file that goes with it: they may belong to others. Answers
    /// the files, and as whom to give them away.
    fn may_give(
        &self,
        index: usize,
        dir: &Dir,
        position: Position,
        (uid, gid): (Option<u32>, Option<u32>),
    ) -> Result<(Vec<String>, Actor)> {
        let judge = |node| may_chown(self.subject(), position, node, uid, gid);
        let files = self.delegated_files(index, dir);
        for file in &files {
            let _ = judge(node_at(dir, file)?).map_err(|refusal| {
                let error = Error::from(refusal);
                Error { text: format!("{file}: {}", error.text), ..error }
            })?;
        }
        Ok((files, judge(node_of(dir)?)?.actor))
    }

    /// The delegate-list files this cgroup has.
    fn delegated_files(&self, index: usize, dir: &Dir) -> Vec<String> {
        let list = self.service.delegate_list(self.hierarchy(index).version);
        let names: Vec<String> = match list {
            Some(list) => list.to_vec(),
            None => vec!["cgroup.procs".to_owned(), "tasks".to_owned()],
        };
        names.into_iter().filter(|name| dir.stat_at(name).is_ok()).collect()
    }

    /// Changes the mode of one file, or of the directory when `file` is empty.
    pub(crate) fn chmod(&self, path: &CgroupPath, file: &str, mode: u32) -> Result<()> {
        if !file.is_empty() {
            check_file_name(file)?;
        }
        let mut changes = Vec::new();
        for cgroup in self.existing(path, &Wanted::Implied)? {
            let node = match file {
                "" => node_of(&cgroup.dir)?,
                _ if !cgroup.dir.has_file(file) => continue,
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
            let name = if file.is_empty() { "." } else { file };
            let mode = Mode::from_bits_truncate(mode);
            actor
                .run(|| fchmodat(&cgroup.dir, name, mode, FchmodatFlags::FollowSymlink))
                .map_err(|errno| Error::kernel(format_args!("chmod in {label}"), errno))?;
        }
        Ok(())
    }
}

/// The outside id for a new owner. The ids that stand for "nobody" and "no change" are none.
fn new_owner(map: &IdMap, id: u32) -> Option<u32> {
    let reserved = id == OVERFLOW_ID || id >= u32::MAX - 1;
    map.outside(id).filter(|outside| !reserved && *outside != OVERFLOW_ID)
}

fn give(dir: &Dir, files: &[String], uid: Option<Uid>, gid: Option<Gid>) -> nix::Result<()> {
    for file in files {
        fchownat(dir, file.as_str(), uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    }
    fchownat(dir, ".", uid, gid, AtFlags::empty())
}

/// The cgroup and, when asked for, everything below it.
fn tree(cgroup: &Cgroup, all: bool) -> Result<impl Iterator<Item = (Arc<Dir>, Position)>> {
    let top = cgroup.dir.try_clone().map_err(|errno| Error::kernel("dup", errno))?;
    let top = Arc::new(top);
    let below = all.then(|| Walk::below(Arc::clone(&top))).into_iter().flatten();
    let first = std::iter::once((top, cgroup.target.position()));
    Ok(first.chain(below.map(|dir| (dir, Position::Below))))
}
