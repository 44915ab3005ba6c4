//! What this host offers, what is missing, and what to do about it.
//!
//! Facts are gathered from the system, as far as the caller can see it, and from the daemon if
//! it answers. Checks are small functions over facts: they look at nothing else.

mod checks;
mod daemon;
mod facts;
mod hierarchies;
mod own;

pub(crate) use checks::examine;
pub(crate) use facts::gather;

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing is blocked.
    Note,
    /// Something is blocked.
    Problem,
}

impl State {
    /// As it is printed.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Problem => "problem",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// What was looked at.
    pub(crate) name: &'static str,
    /// What it came to.
    pub(crate) state: State,
    /// What was found.
    pub(crate) text: String,
    /// What to do, in one line.
    pub(crate) remedy: Option<String>,
}

impl Check {
    fn new(name: &'static str, state: State, text: impl Into<String>) -> Self {
        Self { name, state, text: text.into(), remedy: None }
    }

    fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(name, State::Ok, text)
    }

    fn note(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(name, State::Note, text)
    }

    fn problem(name: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(name, State::Problem, text).remedy(remedy)
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}
