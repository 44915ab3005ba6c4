//! Which processes a cgroup has, and which cgroups a process has.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::ops::ControlFlow;

use cgroupd_proto::CgroupPath;
use nix::errno::Errno;

use super::target::{Cgroup, Wanted, shown};
use super::victim::{gone, no_process};
use super::{Request, request};
use crate::caller::{Place, Process};
use crate::cgroup::{Dir, Version, below, numbers};
use crate::{Error, Result};

impl Request<'_> {
    /// Processes (or threads) in the cgroup, in any of its hierarchies, in ascending order.
    pub(crate) fn processes(
        &self,
        path: &CgroupPath,
        recursive: bool,
        threads: bool,
    ) -> Result<Vec<u32>> {
        self.translate(self.ours(path, recursive, threads)?.into_iter())
    }

    /// The processes that the caller can see, by the daemon's numbers.
    pub(crate) fn seen_processes(&self, path: &CgroupPath, recursive: bool) -> Result<Vec<i32>> {
        let mut seen = Vec::new();
        for pid in self.ours(path, recursive, false)? {
            if self.caller.from_our_pid(pid).map_err(request::gone)?.is_some() {
                seen.push(pid);
            }
        }
        Ok(seen)
    }

    fn ours(&self, path: &CgroupPath, recursive: bool, threads: bool) -> Result<BTreeSet<i32>> {
        let mut pids = BTreeSet::new();
        for cgroup in self.existing(path, &Wanted::Implied)? {
            let v1 = self.hierarchy(cgroup.target.hierarchy).version == Version::V1;
            let file = match (threads, v1) {
                (false, _) => "cgroup.procs",
                (true, true) => "tasks",
                (true, false) => "cgroup.threads",
            };
            pids.extend(numbers(&self.read(&cgroup, file)?));
            if recursive {
                self.collect_below(&cgroup, file, &mut pids)?;
            }
        }
        Ok(pids)
    }

    /// Descendants the caller may read; what vanishes meanwhile, or is closed to it, is passed
    /// over. The tree is walked once and ends.
    fn collect_below(&self, cgroup: &Cgroup, file: &str, pids: &mut BTreeSet<i32>) -> Result<()> {
        let collect = |_: &Dir, _: &OsStr, dir: &Dir| {
            match dir.read(file) {
                Ok(text) => pids.extend(numbers(&text)),
                // It vanished, is closed to the caller, or is threaded: its domain lists them.
                Err(Errno::ENOENT | Errno::ENODEV | Errno::EACCES | Errno::EOPNOTSUPP) => {}
                Err(errno) => return Err(errno),
            }
            Ok(ControlFlow::Continue(()))
        };
        match self.plain_actor().run(|| below(&cgroup.dir, collect)) {
            Ok(()) | Err(Errno::EACCES) => Ok(()),
            Err(errno) => Err(Error::kernel("list what is below it", errno)),
        }
    }

    /// The caller's numbers for the daemon's; those it cannot see are left out.
    pub(super) fn translate(&self, pids: impl Iterator<Item = i32>) -> Result<Vec<u32>> {
        let mut translated = Vec::new();
        for pid in pids {
            let number = self.caller.from_our_pid(pid);
            let number = number.map_err(request::gone)?;
            translated.extend(number.and_then(|number| u32::try_from(number).ok()));
        }
        translated.sort_unstable();
        Ok(translated)
    }

    /// The cgroups of a process: about oneself always, about others within the scope.
    pub(crate) fn cgroup_of(&self, pid: Option<u32>) -> Result<Vec<(String, String)>> {
        let what = pid.map_or("the caller".to_owned(), |pid| format!("process {pid}"));
        let pinned = pid.map(|pid| self.pin(pid)).transpose()?;
        let process: &Process = pinned.as_ref().unwrap_or(&self.caller.process);
        let oneself = process.pid == self.caller.process.pid;
        let places = process.places().map_err(gone(&what))?;
        let mut rows = Vec::new();
        for (index, hierarchy) in self.service.layout.hierarchies.iter().enumerate() {
            if self.own.is_some_and(|own| own != index) {
                continue;
            }
            let Some(scope) = self.scope(index)? else { continue };
            let scope = self.scope_names(hierarchy, &scope)?;
            if let Place::Inside(names) = places.within(hierarchy)
                && let Some(below) = names.strip_prefix(&scope[..])
            {
                rows.push((hierarchy.label.clone(), shown(below)));
            }
        }
        if rows.is_empty() && !oneself { Err(no_process(&what)) } else { Ok(rows) }
    }
}
