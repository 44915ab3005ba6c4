//! Who may do what. Pure: plain facts in, a decision out that carries its terms. It knows no
//! D-Bus and touches no file; its tests are tables of made-up callers.
//!
//! An effect is allowed only if the kernel would have allowed this caller the same open and
//! write on a writable cgroupfs (then the terms are the caller's own identity, and the kernel
//! is asked), or if a named grant covers it.

mod access;
mod control;
mod entering;
mod evacuate;
mod files;
mod id_map;
mod moving;
mod owner;
mod speaking;
mod subject;

pub use access::{Node, Position, Want, access, change, may_search};
pub use control::{check_reserved, may_control, may_signal};
pub use entering::{ELSEWHERE, ENTER, Entry, Source, needs_entry};
pub use evacuate::{Crowded, may_evacuate};
pub use files::{FileRule, TYPE, is_delegated, is_never_set, is_readable, may_set, stops_or_ends};
pub use id_map::{IdMap, OVERFLOW_ID};
pub use moving::{Holding, Move, Victim, holding, may_move, way_back};
pub use owner::{may_chmod, may_chown};
pub use speaking::{Requestor, may_speak_for};
pub use subject::{Class, Subject};

use crate::sys::creds::Actor;

/// An allowed effect, and whom to be while doing it.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The identity to act as.
    pub actor: Actor,
    /// The named grant that was needed, if any.
    pub grant: Option<&'static str>,
}

/// A refused effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The rule, for the log: never shown to the caller.
    pub rule: &'static str,
    /// Why, for the caller.
    pub text: String,
    /// The way out, where there is one.
    pub hint: Option<&'static str>,
}

/// What policy answers.
pub type Decision = Result<Terms, Refusal>;

impl Terms {
    fn acting(actor: Actor) -> Self {
        Self { actor, grant: None }
    }

    fn granted(actor: Actor, grant: &'static str) -> Self {
        Self { actor, grant: Some(grant) }
    }
}

impl Refusal {
    fn new(rule: &'static str, text: impl Into<String>) -> Self {
        Self { rule, text: text.into(), hint: None }
    }

    fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }
}
