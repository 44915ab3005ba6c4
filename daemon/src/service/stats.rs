//! Stats: what a cgroup uses, as numbers.

use cgroupd_proto::{CgroupPath, ErrorName};

use super::Request;
use super::target::Wanted;
use crate::Result;
use crate::cgroup::{Stats, Version, stats};

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
        let read = || -> Stats {
            let each = cgroups.iter().map(|c| stats(&c.dir, self.hierarchy(c.target.hierarchy)));
            each.flatten().collect()
        };
        let read = self.plain_actor().run(read);
        Ok((!read.is_empty()).then(|| (cgroups[0].target.shown(), read)))
    }
}
