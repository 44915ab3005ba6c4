//! Why a limit was not understood, and what would have been.

use super::LimitName;

/// What a parser of values says of one: `is not a size`, and what it would have taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: String,
    pub(super) hint: &'static str,
}

impl Fault {
    pub(super) fn new(reason: impl Into<String>, hint: &'static str) -> Self {
        Self { reason: reason.into(), hint }
    }
}

/// A limit that was not understood. Displayed, it is one line without the hint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// There is no limit of that name.
    #[error("{}: no limit has this name", shown(name))]
    UnknownName {
        /// What was asked for.
        name: String,
        /// The known name that was probably meant.
        nearest: Option<&'static str>,
    },
    /// The value does not fit the name.
    #[error("{name}: {} {reason}", quoted(value))]
    Value {
        /// The name as it was given.
        name: String,
        /// The value as it was given.
        value: String,
        /// What is wrong with it.
        reason: String,
        /// What would have been right.
        hint: &'static str,
    },
    /// Two of the limits cannot be set in one call.
    #[error("{first} and {second}: {reason}")]
    Conflict {
        /// One of them.
        first: LimitName,
        /// The other; the same when one limit was given under two names.
        second: &'static str,
        /// Why not.
        reason: &'static str,
    },
}

impl LimitError {
    /// The way out, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownName { nearest: Some(name), .. } => Some(format!("did you mean {name}?")),
            Self::UnknownName { nearest: None, .. } => Some(every_name()),
            Self::Value { hint, .. } => Some((*hint).to_owned()),
            Self::Conflict { .. } => Some("give one of them".to_owned()),
        }
    }
}

fn every_name() -> String {
    let names: Vec<String> = LimitName::all().map(|name| name.to_string()).collect();
    format!("there are cpus, {} and hugetlb.SIZE.max", names.join(", "))
}

/// Names and values come from anybody: whatever they hold, what is shown is short and printable.
fn shown(text: &str) -> String {
    const LONGEST: usize = 64;
    let start: String = text.chars().take(LONGEST).collect();
    let dots = if start.len() < text.len() { "…" } else { "" };
    format!("{}{dots}", start.escape_debug())
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_short_and_printable() {
        let error = LimitError::UnknownName { name: "a\n\u{1b}".repeat(100), nearest: None };
        let text = error.to_string();
        assert!(text.len() < 400 && text.chars().all(|c| !c.is_control()), "{text}");
    }

    #[test]
    fn who_asks_for_an_unknown_name_is_told_a_known_one_or_all() {
        let hint = |asked| LimitName::parse(asked).unwrap_err().hint().unwrap();
        assert_eq!(hint("pid.max"), "did you mean pids.max?");
        let all = hint("zzz");
        assert!(all.starts_with("there are cpus, cgroup.max.depth, "), "{all}");
        assert!(all.ends_with(", memory.max and hugetlb.SIZE.max"), "{all}");
    }
}
