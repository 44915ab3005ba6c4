//! What it means when the kernel refuses a limit.

use cgroupd_proto::ErrorName;
use cgroupd_proto::limit::LimitError;
use nix::errno::Errno;

use super::step::Step;
use crate::cgroup::Version;
use crate::{Error, words};

impl From<LimitError> for Error {
    fn from(error: LimitError) -> Self {
        let hint = error.hint().map(|hint| match error {
            // A name may have been asked for only to be read.
            LimitError::UnknownName { .. } => hint,
            _ => format!("{hint}; nothing was changed"),
        });
        Self { hint, ..Self::new(ErrorName::InvalidLimit, error.to_string()) }
    }
}

/// The error for a step that the kernel refused, without what became of the others.
pub(super) fn refused(step: &Step, errno: Errno) -> Error {
    let Step { name, file, text, .. } = step;
    let what = format!("{name}: write {:?} to {file}", text.trim());
    let (kind, why) = match meaning(step, errno) {
        Some((kind, why)) => (kind, why),
        None => return Error::kernel(what, errno),
    };
    let text = format!("{what}: {}", words(errno));
    Error::new(kind, text).hint(why)
}

/// Errnos that say something else here than in the common table.
fn meaning(step: &Step, errno: Errno) -> Option<(ErrorName, &'static str)> {
    use ErrorName::{Busy, InvalidLimit, NotSupported};
    let v1 = step.version == Version::V1;
    let controller = step.file.split('.').next().unwrap_or_default();
    Some(match (controller, errno) {
        ("memory", Errno::EBUSY) => {
            (Busy, "the kernel could not reclaim enough; stop something, or ask for more")
        }
        ("cpu", Errno::EINVAL) if v1 && step.file.contains("cfs") => (
            InvalidLimit,
            "on cgroup v1 a cgroup has at most its parent's share, and at least each child's",
        ),
        ("cpuset", Errno::EACCES | Errno::EINVAL | Errno::ERANGE) => {
            (InvalidLimit, "name only what its parent has, and what the machine has")
        }
        ("cpuset", Errno::EBUSY) => (Busy, "a child has what would be taken away"),
        ("cpuset", Errno::ENOSPC) => (Busy, "processes in it need at least one CPU and one node"),
        ("io" | "blkio", Errno::ENODEV | Errno::ENXIO) => {
            (InvalidLimit, "name a whole disk; partitions have no limits of their own")
        }
        ("io" | "blkio", Errno::EOPNOTSUPP) => {
            (NotSupported, "the device's I/O scheduler or driver has no such limit")
        }
        (_, Errno::EINVAL | Errno::ERANGE) => {
            (InvalidLimit, "the kernel takes no such value there")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use cgroupd_proto::limit::LimitSet;

    use super::*;

    #[test]
    fn the_text_and_hint_of_the_documentation() {
        let error: Error = LimitSet::parse([("memory.max", "64X")]).unwrap_err().into();
        assert_eq!(error.name, ErrorName::InvalidLimit);
        assert_eq!(
            error.during("create", "a").to_string(),
            "cannot create a: memory.max: \"64X\" is not a size\n\
             hint: 64M, 1.5G, 50% or max; nothing was changed"
        );
    }
}
