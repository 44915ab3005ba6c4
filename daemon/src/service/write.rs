//! Setting one interface file.

use cgroupd_proto::{CgroupPath, ErrorName};
use nix::errno::Errno;

use super::Request;
use super::request::{node_at, node_of, unknown_file};
use super::target::Cgroup;
use crate::cgroup::{Actor, Version};
use crate::policy::{FileRule, is_never_set, is_readable, may_set};
use crate::{Error, Result};

/// The longest value, in bytes.
const MAX_VALUE: usize = 4096;

impl Request<'_> {
    pub(crate) fn write_file(&self, path: &CgroupPath, file: &str, value: &str) -> Result<()> {
        let value = one_line(value)?;
        let cgroup = self.cgroup_with(path, file)?;
        let actor = self.may_set(&cgroup, file)?;
        actor.run(|| cgroup.dir.write(file, value)).map_err(|errno| {
            let error =
                Error::kernel(format_args!("write {:?} to {file}", value.trim_end()), errno);
            match errno {
                Errno::EINVAL | Errno::ERANGE => Error { name: ErrorName::InvalidLimit, ..error },
                _ => error,
            }
        })
    }

    /// Whom to be while setting a file of an open cgroup.
    pub(super) fn may_set(&self, cgroup: &Cgroup, file: &str) -> Result<Actor> {
        let index = cgroup.target.hierarchy;
        let hierarchy = self.hierarchy(index);
        self.check_free(&cgroup.target)?;
        if !is_readable(file, &hierarchy.controllers) && !is_never_set(file) {
            return Err(unknown_file(file));
        }
        let parent = match (hierarchy.version, cgroup.target.names.split_last()) {
            (Version::V2, Some((_, above))) if file == "cgroup.type" => self
                .open(&cgroup.target.scope.dir, above)
                .ok()
                .map(|dir| node_of(&dir))
                .transpose()?,
            _ => None,
        };
        let rule = FileRule {
            name: file,
            node: node_at(&cgroup.dir, file)?,
            position: cgroup.target.position(),
            cgroup: node_of(&cgroup.dir)?,
            delegated: self.is_delegated(index, file),
            parent,
        };
        Ok(may_set(self.subject(), &rule)?.actor)
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
