//! Stats: what cgroups use, as numbers.

use cgroupd_proto::{CgroupPath, ErrorName};

use super::Request;
use super::target::Wanted;
use crate::Result;
use crate::cgroup::{Stats, stats};

impl Request<'_> {
    /// The path in the caller's view and the statistics of each cgroup; those that are not there
    /// are left out, for they may have gone since they were listed.
    pub(crate) fn stats(&self, paths: &[CgroupPath]) -> Result<Vec<(String, Stats)>> {
        let mut rows = Vec::with_capacity(paths.len());
        for path in paths {
            match self.stats_of(path) {
                Ok(row) => rows.push(row),
                Err(error) if error.name == ErrorName::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(rows)
    }

    /// From all hierarchies together.
    fn stats_of(&self, path: &CgroupPath) -> Result<(String, Stats)> {
        let cgroups = self.existing(path, &Wanted::Implied)?;
        let read = || {
            let each = cgroups.iter().map(|c| stats(&c.dir, self.hierarchy(c.target.hierarchy)));
            each.flatten().collect()
        };
        Ok((cgroups[0].target.shown(), self.plain_actor().run(read)))
    }
}
