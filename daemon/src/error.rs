//! What a request can fail with: a name for programs, a text for people, a way out.
//!
//! Inner modules have errors of their own; here they meet, and each gets its D-Bus name in
//! one place. The text never speaks of cgroups outside the caller's scope.

use std::fmt;

use cgroupd_proto::{ErrorName, PathError, printable};
use nix::errno::Errno;

use crate::accounting::Full;

/// The result of a request.
pub type Result<T> = std::result::Result<T, Error>;

/// A refused or failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The D-Bus name.
    pub name: ErrorName,
    /// Why, without the verb and the path, which [`Error::during`] puts in front.
    pub text: String,
    /// The way out, where there is one.
    pub hint: Option<String>,
    /// The rule of the policy that refused, for the log.
    pub rule: Option<&'static str>,
}

impl Error {
    /// An error with a reason.
    pub fn new(name: ErrorName, text: impl Into<String>) -> Self {
        Self { name, text: text.into(), hint: None, rule: None }
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names the rule that refused.
    #[must_use]
    pub fn rule(mut self, rule: &'static str) -> Self {
        self.rule = Some(rule);
        self
    }

    /// Puts what was attempted in front: `cannot create a: …`.
    #[must_use]
    pub fn during(mut self, verb: &str, path: &str) -> Self {
        let path = if path.is_empty() { "." } else { path };
        // A line break in a path would pass for the end of the text, and what follows for our hint.
        self.text = format!("cannot {verb} {}: {}", printable(path), self.text);
        self
    }

    /// What the kernel answered to `what` (`write memory.max`, `mkdir`), by one table.
    pub fn kernel(what: impl fmt::Display, errno: Errno) -> Self {
        let error = Self::new(name_of(errno), format!("{what}: {}", words(errno)));
        match is_out_of_resources(errno) {
            true => error.hint(TRY_AGAIN),
            false => error,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        self.hint.iter().try_for_each(|hint| write!(f, "\nhint: {hint}"))
    }
}

impl std::error::Error for Error {}

impl From<Full> for Error {
    fn from(full: Full) -> Self {
        Self::new(ErrorName::QuotaExceeded, full.to_string())
    }
}

impl From<PathError> for Error {
    fn from(error: PathError) -> Self {
        Self::new(ErrorName::InvalidPath, error.to_string())
    }
}

/// The D-Bus name for what cgroupfs answers. ENODEV is a cgroup that was removed while open.
fn name_of(errno: Errno) -> ErrorName {
    match errno {
        Errno::EACCES | Errno::EPERM | Errno::EROFS => ErrorName::Denied,
        Errno::ENOENT | Errno::ENODEV | Errno::ESTALE => ErrorName::NotFound,
        Errno::EBUSY | Errno::ENOTEMPTY => ErrorName::Busy,
        Errno::EEXIST => ErrorName::Exists,
        Errno::ESRCH => ErrorName::NoSuchProcess,
        Errno::EINVAL | Errno::ERANGE => ErrorName::InvalidArgument,
        Errno::ENAMETOOLONG | Errno::ELOOP | Errno::EXDEV => ErrorName::InvalidPath,
        Errno::ENOSPC => ErrorName::QuotaExceeded,
        errno if is_out_of_resources(errno) => ErrorName::OutOfResources,
        Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::ENOTTY => ErrorName::NotSupported,
        _ => ErrorName::Failed,
    }
}

/// The way out where descriptors or memory ran out.
const TRY_AGAIN: &str = "the daemon or the machine has run out of descriptors or memory for now: \
                         repeat the call later";

/// Whether the daemon or the machine has run out of descriptors or memory.
pub fn is_out_of_resources(errno: Errno) -> bool {
    matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)
}

/// Whether an errno says nothing about what was asked: resources ran out, or the answer changed or
/// was interrupted while it was read. The same question may be answered a moment later.
pub fn is_transient(errno: Errno) -> bool {
    is_out_of_resources(errno) || matches!(errno, Errno::EAGAIN | Errno::EINTR)
}

/// What the kernel gave, or nothing where it answered an error.
///
/// # Errors
/// One that is no answer: see [`is_transient`].
pub fn known<T>(answer: nix::Result<T>) -> nix::Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(errno) if is_transient(errno) => Err(errno),
        Err(_) => Ok(None),
    }
}

/// An errno in words, with its name for those who search for it.
pub fn words(errno: Errno) -> String {
    // These have other words in every manual page of the calls that are made here.
    let mut text = match errno {
        Errno::ERANGE => "value out of range".to_owned(),
        Errno::EBADF => "bad file descriptor".to_owned(),
        Errno::EOPNOTSUPP => "operation not supported".to_owned(),
        errno => errno.desc().to_owned(),
    };
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    format!("{text} ({errno:?})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_says_what_on_what_and_why() {
        let error = Error::kernel("mkdir", Errno::EACCES).during("create", "a").hint("ask");
        assert_eq!(error.name, ErrorName::Denied);
        assert_eq!(
            error.to_string(),
            "cannot create a: mkdir: permission denied (EACCES)\nhint: ask"
        );
    }

    #[test]
    fn case_64_a_lack_of_descriptors_or_memory_has_a_name_of_its_own() {
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM] {
            let error = Error::kernel("open it", errno);
            assert_eq!(error.name, ErrorName::OutOfResources, "{errno}");
            assert!(error.hint.is_some_and(|hint| hint.ends_with("repeat the call later")));
        }
        assert_eq!(Error::kernel("write", Errno::EAGAIN).name, ErrorName::Failed);
    }

    #[test]
    fn a_path_cannot_add_lines_of_its_own() {
        let error = Error::new(ErrorName::InvalidPath, "no").during("create", "é\nhint: b\u{1b}");
        assert_eq!(error.to_string(), "cannot create é\\nhint: b\\u{1b}: no");
    }

    #[test]
    fn a_value_out_of_range_is_not_called_arithmetic() {
        assert_eq!(words(Errno::ERANGE), "value out of range (ERANGE)");
        assert_eq!(words(Errno::EBADF), "bad file descriptor (EBADF)");
        assert_eq!(words(Errno::EBUSY), "device or resource busy (EBUSY)");
    }
}
