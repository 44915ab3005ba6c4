//! Stats: what a cgroup uses, as numbers.

use cgroupd_proto::{CgroupPath, ErrorName};

use super::Request;
use super::target::Wanted;
use crate::cgroup::{Stats, Version, stats};
use crate::{Error, Result};

impl Request<'_> {
    /// The path in the caller's view, and the statistics from all hierarchies together; nothing of
    /// one that is not there, for it may have gone since it was listed.
    pub(crate) fn stats(&self, path: &CgroupPath) -> Result<Option<(String, Stats)>> {
        let mut cgroups = match self.existing(path, &Wanted::Implied) {
            Err(error) if error.name == ErrorName::NotFound => return Ok(None),
            cgroups => cgroups?,
        };
        // v2 has cpu.stat of its own processes in any case: v1's controller knows better.
        let version = |index: usize| self.hierarchy(index).version;
        cgroups.sort_by_key(|cgroup| version(cgroup.target.hierarchy) == Version::V1);
        let read = || {
            let each = cgroups.iter().map(|c| stats(&c.dir, self.hierarchy(c.target.hierarchy)));
            each.collect::<nix::Result<Vec<Stats>>>()
        };
        let read = self.plain_actor().run(read);
        let read = read.map_err(|errno| Error::kernel("read its statistics", errno))?;
        let read: Stats = read.into_iter().flatten().collect();
        Ok((!read.is_empty()).then(|| (cgroups[0].target.shown(), read)))
    }
}
