//! Reading interface files, and listing them with their owners.

use std::collections::HashMap;

use cgroupd_proto::{CgroupPath, ErrorName, escape_name};
use nix::errno::Errno;
use nix::sys::stat::FileStat;
use std::os::unix::ffi::OsStrExt;

use super::Request;
use super::explain::unreadable;
use super::request::{has_file, node_at, node_of, unknown_file};
use super::target::{Cgroup, Wanted, not_found, unreachable};
use crate::cgroup::Version;
use crate::policy::{Subject, Want, access, is_readable};
use crate::{Error, Result};

/// An interface file: its owners as the caller's user namespace has them, and its `st_mode`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) mode: u32,
}

/// A file's owner and mode, by name.
pub(crate) type FileRows = Vec<(String, HashMap<String, String>)>;

impl Request<'_> {
    pub(crate) fn read_file(&self, path: &CgroupPath, file: &str) -> Result<String> {
        let cgroup = self.cgroup_with(path, file)?;
        let controllers = &self.hierarchy(cgroup.target.hierarchy).controllers;
        if !is_readable(file, controllers) && !self.is_v2_core(&cgroup, file) {
            return Err(unknown_file(file));
        }
        let text = self.read(&cgroup, file)?;
        match file {
            "cgroup.procs" | "cgroup.threads" | "tasks" => self.renumber(&text),
            _ => Ok(text),
        }
    }

    /// Reads a file with the caller's rights.
    pub(super) fn read(&self, cgroup: &Cgroup, file: &str) -> Result<String> {
        let terms = access(self.subject(), node_at(&cgroup.dir, file)?, Want::READ)?;
        terms.actor.run(|| cgroup.dir.read(file)).map_err(unreadable(file))
    }

    /// Files of cpu, io and memory that v2 has without their controllers: `cpu.stat`,
    /// `memory.pressure`.
    fn is_v2_core(&self, cgroup: &Cgroup, file: &str) -> bool {
        let v2 = self.hierarchy(cgroup.target.hierarchy).version == Version::V2;
        v2 && !file.contains('/') && (file.starts_with("cpu.stat") || file.ends_with(".pressure"))
    }

    /// The cgroup, among those at `path`, that has `file`: the one of the controller it is
    /// named after, else the first.
    pub(super) fn cgroup_with(&self, path: &CgroupPath, file: &str) -> Result<Cgroup> {
        check_file_name(file)?;
        let prefix = file.split_once('.').map_or("", |(prefix, _)| prefix);
        let mut targets = self.targets(path, &Wanted::Implied)?;
        // As a rule the first one has it, and the others are not looked at.
        targets.sort_by_key(|target| {
            !self.hierarchy(target.hierarchy).controllers.iter().any(|c| c == prefix)
        });
        let mut error = not_found();
        for target in targets {
            match self.open(&target.scope.dir, &target.names) {
                Ok(dir) if has_file(&dir, file)? => return Ok(Cgroup { target, dir }),
                Ok(_) => error = unknown_file(file),
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(unreachable(self.hierarchy(target.hierarchy), errno)),
            }
        }
        Err(error)
    }

    /// Numbers of the caller's pid namespace, those it cannot see left out.
    fn renumber(&self, text: &str) -> Result<String> {
        let pids = self.translate(text.lines().filter_map(|line| line.parse().ok()))?;
        Ok(pids.into_iter().map(|pid| format!("{pid}\n")).collect())
    }

    pub(crate) fn list_files(&self, path: &CgroupPath) -> Result<FileRows> {
        let mut rows = FileRows::new();
        for cgroup in self.existing(path, &Wanted::Implied)? {
            for name in self.files_of(&cgroup)? {
                if !rows.iter().any(|(known, _)| *known == name)
                    && let Some(stat) = stat_if_there(&cgroup, &name)?
                {
                    rows.push((name, self.owner_row(stat)));
                }
            }
        }
        Ok(rows)
    }

    /// The files of one cgroup; those that vanish meanwhile are left out.
    pub(crate) fn keys(&self, path: &CgroupPath) -> Result<Vec<Key>> {
        let Subject { uid_map, gid_map, .. } = self.subject();
        let mut keys = Vec::new();
        for cgroup in self.existing(path, &Wanted::Implied)? {
            for name in self.files_of(&cgroup)? {
                let Some(stat) = stat_if_there(&cgroup, &name)? else { continue };
                let (uid, gid) = (uid_map.inside(stat.st_uid), gid_map.inside(stat.st_gid));
                keys.push(Key { name, uid, gid, mode: stat.st_mode });
            }
        }
        Ok(keys)
    }

    /// Their names, in the kernel's order.
    fn files_of(&self, cgroup: &Cgroup) -> Result<Vec<String>> {
        let kernel = |errno| Error::kernel("list its files", errno);
        let terms = access(self.subject(), node_of(&cgroup.dir)?, Want::LIST)?;
        let files = terms.actor.run(|| cgroup.dir.files()).map_err(kernel)?;
        Ok(files.iter().map(|name| escape_name(name.as_bytes())).collect())
    }

    /// `uid`, `gid` and `mode` as the caller's user namespace shows them.
    pub(super) fn owner_row(&self, stat: FileStat) -> HashMap<String, String> {
        let subject = self.subject();
        HashMap::from([
            ("uid".to_owned(), subject.uid_map.shown(stat.st_uid).to_string()),
            ("gid".to_owned(), subject.gid_map.shown(stat.st_gid).to_string()),
            ("mode".to_owned(), format!("{:04o}", stat.st_mode & 0o7777)),
        ])
    }
}

/// Owner and mode of a file; `None` when it has vanished since it was listed.
fn stat_if_there(cgroup: &Cgroup, name: &str) -> Result<Option<FileStat>> {
    match cgroup.dir.stat_at(name) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(None),
        Err(errno) => Err(Error::kernel(format_args!("stat {name}"), errno)),
    }
}

/// One name, no path.
pub(super) fn check_file_name(file: &str) -> Result<()> {
    let plain = !file.is_empty() && !file.contains(['/', '\n']) && file != "." && file != "..";
    match plain && file.len() <= 255 {
        true => Ok(()),
        false => Err(Error::new(
            ErrorName::InvalidArgument,
            format!("{file:?} is not the name of an interface file"),
        )),
    }
}
