//! Setting one interface file.

use std::time::Instant;

use cgroupd_proto::{CgroupPath, ErrorName};
use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::Request;
use super::enable::ENABLED;
use super::explain::{no_control, unreadable};
use super::request::{node_at, node_of, unknown_file};
use super::target::Cgroup;
use crate::cgroup::limits::Unfinished;
use crate::cgroup::{Actor, may_wait_for};
use crate::policy::{
    FileRule, TYPE, Want, access, is_never_set, is_readable, may_set, stops_or_ends,
};
use crate::{Error, Result};

/// The longest value, in bytes.
const MAX_VALUE: usize = 4096;

impl Request<'_> {
    pub(crate) fn write_file(&self, path: &CgroupPath, file: &str, value: &str) -> Result<()> {
        let value = one_line(value)?;
        let cgroup = self.cgroup_with(path, file)?;
        let actor = self.may_set(&cgroup, file)?;
        if stops_or_ends(file) {
            self.check_unguarded(&cgroup)?;
        }
        let may_wait = may_wait_for(&cgroup.dir, file, value);
        let written = if may_wait.map_err(unreadable("what is in use"))? {
            self.write_on_worker(&cgroup, file, value, &actor)?
        } else {
            actor.run(|| cgroup.dir.write(file, value))
        };
        written.map_err(|errno| not_written(&cgroup, file, value, errno))
    }

    /// Writes on a thread that is charged to the caller, and waits for it no longer than a change may
    /// take. The file is opened here, as the caller: the kernel judges whoever opened it.
    fn write_on_worker(
        &self,
        cgroup: &Cgroup,
        file: &str,
        value: &str,
        actor: &Actor,
    ) -> Result<nix::Result<()>> {
        let permit = self.reclaim_threads().permit()?;
        let opened = match actor.run(|| cgroup.dir.open_file(file, OFlag::O_WRONLY)) {
            Ok(opened) => opened,
            Err(errno) => return Ok(Err(errno)),
        };
        let bytes = value.as_bytes().to_vec();
        let deadline = Instant::now() + self.service.deadline;
        let written = permit.run(deadline, move || nix::unistd::write(&opened, &bytes).map(drop));
        written.map_err(|unfinished| match unfinished {
            Unfinished::UnderWay => Error::new(
                ErrorName::TimedOut,
                format!("the write of {:?} to {file} is still under way", value.trim_end()),
            )
            .hint(
                "the kernel goes on with it: memory.current (on cgroup v1 memory.usage_in_bytes) \
                 tells how far it has reclaimed",
            ),
            Unfinished::NoThread => Error::new(
                ErrorName::OutOfResources,
                format!("write {file}: the machine has no thread for it"),
            )
            .hint("repeat the call later"),
        })
    }

    /// Whom to be while setting a file of an open cgroup.
    pub(super) fn may_set(&self, cgroup: &Cgroup, file: &str) -> Result<Actor> {
        let index = cgroup.target.hierarchy;
        self.check_free(&cgroup.target)?;
        if !is_readable(file, &self.hierarchy(index).controllers) && !is_never_set(file) {
            return Err(unknown_file(file));
        }
        let rule = FileRule {
            name: file,
            node: node_at(&cgroup.dir, file)?,
            position: cgroup.target.position(),
            cgroup: node_of(&cgroup.dir)?,
            delegated: self.is_delegated(index, file),
            may_change_parent: file != TYPE || self.may_change_parent(cgroup)?,
        };
        Ok(may_set(self.subject(), &rule)?.actor)
    }

    /// Whether the caller may write the cgroup's parent: the kernel is asked, as the caller.
    fn may_change_parent(&self, cgroup: &Cgroup) -> Result<bool> {
        let Some((_, above)) = cgroup.target.names.split_last() else { return Ok(false) };
        let kernel = |errno| Error::kernel("look at its parent", errno);
        let parent = self.open(&cgroup.target.scope.dir, above).map_err(kernel)?;
        let Ok(terms) = access(self.subject(), node_of(&parent)?, Want::CHANGE) else {
            return Ok(false);
        };
        match terms.actor.run(|| parent.check_change()) {
            Ok(()) => Ok(true),
            Err(Errno::EACCES) => Ok(false),
            Err(errno) => Err(kernel(errno)),
        }
    }
}

/// What the kernel answered to a write.
fn not_written(cgroup: &Cgroup, file: &str, value: &str, errno: Errno) -> Error {
    let value = value.trim_end();
    let error = Error::kernel(format_args!("write {value:?} to {file}"), errno);
    match (file, errno) {
        (_, Errno::EINVAL | Errno::ERANGE) => Error { name: ErrorName::InvalidLimit, ..error },
        (ENABLED, errno) => no_control(cgroup, value.trim(), errno),
        // It reclaims as much as it finds, and says so when that is less than was asked.
        ("memory.reclaim", Errno::EAGAIN) => Error::new(
            ErrorName::Busy,
            format!("write {value:?} to {file}: less could be reclaimed: the rest is in use"),
        )
        .hint("memory.current tells what is left; without swap anonymous memory stays"),
        _ => error,
    }
}

/// One line for one `write(2)`. Zero bytes would change nothing and still succeed, so an empty
/// value is an empty line: that is how the kernel clears a file.
fn one_line(value: &str) -> Result<&str> {
    let bad = |text: String| Err(Error::new(ErrorName::InvalidArgument, text));
    let line = value.strip_suffix('\n').unwrap_or(value);
    if line.len() > MAX_VALUE {
        return bad(format!("the value has {} bytes, at most {MAX_VALUE} are allowed", line.len()));
    }
    if line.contains(['\n', '\0']) {
        return bad(format!("the value {line:?} is more than one line"));
    }
    Ok(if line.is_empty() { "\n" } else { line })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_30_values() {
        assert_eq!(one_line("").unwrap(), "\n");
        assert_eq!(one_line("1\n").unwrap(), "1");
        assert_eq!(one_line("1  ").unwrap(), "1  ");
        for bad in ["1\n2", "1\n\n", "a\0b", &"x".repeat(4097), &"x".repeat(65536)] {
            assert!(one_line(bad).is_err(), "{bad:?}");
        }
        assert!(one_line(&"x".repeat(4096)).is_ok());
    }
}
