//! Prune, as cgmanager has it: what is empty below a cgroup goes now, the caller's own that is not
//! goes when it is left, and so does the cgroup itself. One walk, with a deadline; nobody else's
//! cgroups are promised at the caller's expense.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::time::Instant;

use cgroupd_proto::{CgroupPath, ErrorName};
use nix::errno::Errno;

use super::Request;
use super::target::{Cgroup, Wanted, shown};
use crate::cgroup::{Dir, below};
use crate::{Error, Result, is_out_of_resources};

/// The most cgroups that are remembered to be promised: more promises than anybody may have.
const MOST_LEFT: usize = 1001;

impl Request<'_> {
    /// Removes and promises; what is not the caller's to remove stays, as does what is above it.
    ///
    /// # Errors
    /// NotFound, TimedOut for a tree that takes longer than a change may, QuotaExceeded.
    pub(crate) fn prune(&self, path: &CgroupPath) -> Result<()> {
        if path.components().is_empty() && self.is_outside()? {
            // Its home would be meant, which may be all there is.
            let text = "the caller is in no cgroup that is managed here: name one";
            return Err(Error::new(ErrorName::NotFound, text).rule("no-scope"));
        }
        let end = Instant::now() + self.service.deadline;
        for cgroup in self.existing(path, &Wanted::Implied)? {
            for left in self.prune_below(&cgroup, end)? {
                self.promise_below(&left)?;
            }
        }
        if path.components().is_empty() {
            return Ok(());
        }
        match self.remove_when_empty(path) {
            // It was promised before, and now nothing was left in it.
            Err(error) if error.name == ErrorName::NotFound => Ok(()),
            removed => removed.map(drop),
        }
    }

    /// The caller's own cgroups that are not empty, as paths from its scope down, the deepest
    /// first.
    fn prune_below(&self, cgroup: &Cgroup, end: Instant) -> Result<Vec<String>> {
        let hierarchy = self.hierarchy(cgroup.target.hierarchy);
        let scope = self.scope_names(hierarchy, &cgroup.target.scope)?;
        let (mut left, mut removed) = (Vec::new(), Vec::new());
        let visit = |parent: &Dir, name: &OsStr, dir: &Dir| {
            if Instant::now() > end {
                return Err(Errno::ETIMEDOUT);
            }
            match parent.remove(name) {
                Ok(()) => {
                    removed.extend(dir.id());
                    self.forget_promise(dir);
                }
                Err(Errno::EBUSY) if left.len() < MOST_LEFT && self.is_own(dir) => {
                    let names = hierarchy.names_of(dir).unwrap_or_default();
                    left.extend(names.strip_prefix(&scope[..]).map(shown));
                }
                Err(errno) if is_out_of_resources(errno) => return Err(errno),
                Err(_) => {}
            }
            Ok(ControlFlow::Continue(()))
        };
        let walked = self.plain_actor().run(|| below(&cgroup.dir, visit));
        self.discharge(cgroup.target.hierarchy, &removed);
        match walked {
            Err(Errno::ETIMEDOUT) => {
                let text = format!("{} cgroups were removed, and there are more", removed.len());
                Err(Error::new(ErrorName::TimedOut, text).hint("repeat it"))
            }
            // What lies deeper than any walk goes stays.
            Err(errno) if errno != Errno::ELOOP => {
                Err(Error::kernel("list what is below it", errno))
            }
            _ => Ok(left),
        }
    }

    fn is_own(&self, dir: &Dir) -> bool {
        dir.stat().is_ok_and(|stat| stat.st_uid == self.subject().uid)
    }

    /// Somebody may have been faster, and no path may lead there.
    fn promise_below(&self, path: &str) -> Result<()> {
        use ErrorName::{Busy, Denied, InvalidPath, NotFound};
        let promised = CgroupPath::parse(path).map_err(Error::from);
        match promised.and_then(|path| self.remove_when_empty(&path)) {
            Err(error) if [Busy, Denied, InvalidPath, NotFound].contains(&error.name) => Ok(()),
            promised => promised.map(drop),
        }
    }
}
