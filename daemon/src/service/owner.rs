//! Chown and Chmod: the directory and the files a delegatee owns, never limit files.

use cgroupd_proto::{CgroupPath, ErrorName};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
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
            let files = self.delegated_files(*index, dir);
            let label = &self.hierarchy(*index).label;
            actor
                .run(|| give(dir, &files, uid, gid))
                .map_err(|errno| Error::kernel(format_args!("chown in {label}"), errno))?;
        }
        Ok(())
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
