//! Chown and Chmod: the directory and the files a delegatee owns, never limit files.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use cgroupd_proto::{CgroupPath, ErrorName};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{Gid, Uid, fchownat};

use super::Request;
use super::read::check_file_name;
use super::request::{node_at, node_of};
use super::target::{Cgroup, Wanted};
use crate::cgroup::{Actor, Dir};
use crate::policy::{IdMap, OVERFLOW_ID, Position, may_chmod, may_chown};
use crate::{Error, Result};

impl Request<'_> {
    /// Gives a cgroup to ids of the caller's user namespace; all checked before the first change.
    pub(crate) fn chown(&self, path: &CgroupPath, uid: u32, gid: u32, all: bool) -> Result<()> {
        let subject = self.subject();
        let new = (new_owner(&subject.uid_map, uid), new_owner(&subject.gid_map, gid));
        let mut changes: Vec<(usize, Dir, Actor)> = Vec::new();
        for cgroup in self.existing(path, &Wanted::Implied)? {
            let index = cgroup.target.hierarchy;
            for (dir, position) in tree(cgroup, all)? {
                let terms = may_chown(subject, position, node_of(&dir)?, new.0, new.1)?;
                changes.push((index, dir, terms.actor));
            }
        }
        let (uid, gid) = (new.0.map(Uid::from_raw), new.1.map(Gid::from_raw));
        for (index, dir, actor) in &changes {
            let label = &self.hierarchy(*index).label;
            self.delegated_files(*index, dir)
                .and_then(|files| actor.run(|| give(dir, &files, uid, gid)))
                .map_err(|errno| Error::kernel(format_args!("chown in {label}"), errno))?;
        }
        Ok(())
    }

    /// The delegate-list files this cgroup has.
    fn delegated_files(&self, index: usize, dir: &Dir) -> nix::Result<Vec<OwnedFd>> {
        let list = self.service.delegate_list(self.hierarchy(index).version);
        let names: Vec<&str> = match list {
            Some(list) => list.iter().map(String::as_str).collect(),
            None => vec!["cgroup.procs", "tasks"],
        };
        let there = names.into_iter().filter(|name| dir.stat_at(name).is_ok());
        there.map(|name| self.reach(dir, name)).collect()
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
fn give(dir: &Dir, files: &[OwnedFd], uid: Option<Uid>, gid: Option<Gid>) -> nix::Result<()> {
    let handles = files.iter().map(AsFd::as_fd).chain([dir.as_fd()]);
    for handle in handles {
        fchownat(handle, "", uid, gid, AtFlags::AT_EMPTY_PATH)?;
    }
    Ok(())
}

/// The same for a mode. Before Linux 6.6 an `O_PATH` handle has no other name than this one,
/// which every thread of its process may use, whoever it is at the moment.
fn set_mode(handle: &impl AsFd, mode: u32) -> nix::Result<()> {
    let link = format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd());
    let mode = Mode::from_bits_truncate(mode);
    fchmodat(AT_FDCWD, link.as_str(), mode, FchmodatFlags::FollowSymlink)
}

/// The cgroup and, when asked for, everything below it, children first.
fn tree(cgroup: Cgroup, all: bool) -> Result<Vec<(Dir, Position)>> {
    const MOST: usize = 100_000;
    let kernel = |errno| Error::kernel("list its children", errno);
    let mut found = vec![(cgroup.dir, cgroup.target.position())];
    let mut next = 0;
    while all && next < found.len() {
        for name in found[next].0.entries().map_err(kernel)?.children {
            match found[next].0.open(&name) {
                Ok(child) => found.push((child, Position::Below)),
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(kernel(errno)),
            }
        }
        next += 1;
        if found.len() > MOST {
            let text = format!("it has more than {MOST} descendants");
            return Err(Error::new(ErrorName::QuotaExceeded, text));
        }
    }
    found.reverse();
    Ok(found)
}
