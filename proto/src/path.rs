//! Paths of cgroups: parsed once at the edge, so that inner code sees components only.
//!
//! A path names a cgroup relative to the caller's home, or, with a leading `/`, to its
//! scope. Nothing here knows where those are. `..` is refused everywhere.

use std::fmt;

use crate::CONTROLLERS;

/// A checked path: no empty component, no `.`, no `..`, no NUL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CgroupPath {
    absolute: bool,
    components: Vec<String>,
}

/// What is wrong with a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Longer than [`CgroupPath::MAX_BYTES`].
    #[error("the path has {0} bytes, at most {max} are allowed", max = CgroupPath::MAX_BYTES)]
    TooLong(usize),
    /// Deeper than [`CgroupPath::MAX_DEPTH`].
    #[error("the path has {0} levels, at most {max} are allowed", max = CgroupPath::MAX_DEPTH)]
    TooDeep(usize),
    /// One name is longer than [`CgroupPath::MAX_NAME`].
    #[error("a name has {0} bytes, at most {max} are allowed", max = CgroupPath::MAX_NAME)]
    NameTooLong(usize),
    /// `..` is a component.
    #[error("`..` is not allowed in a path")]
    Parent,
    /// A control character.
    #[error("the name {0:?} contains a control character")]
    Control(String),
    /// The name is, or could become, an interface file.
    #[error("the name {0:?} is reserved for the kernel's interface files")]
    Reserved(String),
    /// The kernel marks removed cgroups so.
    #[error("the name {0:?} ends in \" (deleted)\", which the kernel uses for removed cgroups")]
    Deleted(String),
}

/// The names of the directories that a user's own cgroup has unless told otherwise: `users/UID`.
pub fn user_home(uid: u32) -> [String; 2] {
    ["users".to_owned(), uid.to_string()]
}

impl CgroupPath {
    /// The longest path, in bytes.
    pub const MAX_BYTES: usize = 4000;
    /// The longest name, in bytes.
    pub const MAX_NAME: usize = 255;
    /// The most levels below the base.
    pub const MAX_DEPTH: usize = 32;

    /// Parses `text`. `a//b`, `a/./b` and `a/` mean the obvious; `""` and `.` are the base.
    ///
    /// # Errors
    /// Too long, too deep, or `..` as a component.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > Self::MAX_BYTES {
            return Err(PathError::TooLong(text.len()));
        }
        let mut components = Vec::new();
        for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
            match part.len() {
                _ if part == ".." => return Err(PathError::Parent),
                len if len > Self::MAX_NAME => return Err(PathError::NameTooLong(len)),
                _ => components.push(part.to_owned()),
            }
        }
        if components.len() > Self::MAX_DEPTH {
            return Err(PathError::TooDeep(components.len()));
        }
        Ok(Self { absolute: text.starts_with('/'), components })
    }

    /// Whether the path starts at the scope (`/a`) and not at the home (`a`).
    pub fn is_absolute(&self) -> bool {
        self.absolute
    }

    /// The same names from the home on.
    #[must_use]
    pub fn relative(self) -> Self {
        Self { absolute: false, ..self }
    }

    /// The names from the base downwards.
    pub fn components(&self) -> &[String] {
        &self.components
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.absolute {
            f.write_str("/")?;
        }
        f.write_str(&self.components.join("/"))
    }
}

/// Checks a name for *creating*: existing cgroups may be called anything the kernel took.
///
/// # Errors
/// Control characters, ` (deleted)`, and names that are or could become interface files
/// of either version (a directory called `hugetlb.2MB.max` makes that file silently missing
/// once the controller is enabled).
pub fn check_new_name(name: &str) -> Result<(), PathError> {
    if name.chars().any(char::is_control) {
        return Err(PathError::Control(name.to_owned()));
    }
    if name.ends_with(" (deleted)") {
        return Err(PathError::Deleted(name.to_owned()));
    }
    let prefix = name.split_once('.').map(|(prefix, _)| prefix);
    let interface = prefix.is_some_and(|p| p == "cgroup" || CONTROLLERS.contains(&p));
    if interface || matches!(name, "tasks" | "notify_on_release" | "release_agent") {
        return Err(PathError::Reserved(name.to_owned()));
    }
    Ok(())
}

/// How a name that is not UTF-8 is shown: the bytes that are not, as `\xNN`.
pub fn escape_name(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// The bytes an escaped name may stand for, when they are *not* UTF-8. A name whose literal
/// text is valid is never rewritten: systemd's own names contain `\x2d`.
pub fn unescape_name(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\x") {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let byte = rest.get(at + 2..at + 4).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) if !byte.is_ascii() => {
                bytes.push(byte);
                rest = &rest[at + 4..];
            }
            _ => {
                bytes.extend_from_slice(b"\\x");
                rest = &rest[at + 2..];
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    std::str::from_utf8(&bytes).is_err().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_obvious_forms() {
        for (text, absolute, parts) in [
            ("", false, vec![]),
            (".", false, vec![]),
            ("/", true, vec![]),
            ("//", true, vec![]),
            ("a", false, vec!["a"]),
            ("a//b", false, vec!["a", "b"]),
            ("a/./b/", false, vec!["a", "b"]),
            ("/a/b", true, vec!["a", "b"]),
            ("..a", false, vec!["..a"]),
        ] {
            let path = CgroupPath::parse(text).unwrap();
            assert_eq!(
                (path.is_absolute(), path.components()),
                (absolute, &parts.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>()[..]),
                "{text:?}"
            );
        }
    }

    #[test]
    fn case_10_parents_are_refused() {
        for text in ["..", "/..", "a/../../b", "a/..", "../a"] {
            assert_eq!(CgroupPath::parse(text), Err(PathError::Parent), "{text:?}");
        }
    }

    #[test]
    fn case_16_long_names_and_paths() {
        assert!(CgroupPath::parse(&"n".repeat(255)).is_ok());
        assert_eq!(CgroupPath::parse(&"n".repeat(256)), Err(PathError::NameTooLong(256)));
        for bytes in [4001, 4094, 4095, 4096, 8000] {
            assert_eq!(
                CgroupPath::parse(&"a/".repeat(bytes)[..bytes]),
                Err(PathError::TooLong(bytes))
            );
        }
        assert!(CgroupPath::parse(&"a/".repeat(32)).is_ok());
        assert_eq!(CgroupPath::parse(&"a/".repeat(33)), Err(PathError::TooDeep(33)));
    }

    #[test]
    fn case_14_names_that_may_not_be_created() {
        for name in [
            "a\nb",
            "a\u{7f}",
            "\u{1}",
            "cgroup.procs",
            "cgroup.x",
            "memory.foo",
            "hugetlb.2MB.max",
            "tasks",
            "notify_on_release",
            "release_agent",
            "x (deleted)",
        ] {
            assert!(check_new_name(name).is_err(), "{name:?}");
        }
        for name in ["test01", "cgroup", "memory", "my.slice", "a b", "ü", ".hidden", "procs"] {
            assert!(check_new_name(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn names_that_are_not_utf8_come_back() {
        assert_eq!(escape_name(b"a\xffb"), "a\\xffb");
        assert_eq!(unescape_name("a\\xffb"), Some(b"a\xffb".to_vec()));
        assert_eq!(unescape_name("dev-disk\\x2duuid"), None);
        assert_eq!(unescape_name("plain"), None);
    }
}
