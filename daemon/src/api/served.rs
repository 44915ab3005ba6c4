//! What of cgmanager's interface a client is served. It is for programs that were written for
//! cgmanager, and whoever has none of these should not carry it: so each socket says.

/// How much of cgmanager's interface there is on a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cgmanager {
    /// None of it, as if there were no such object.
    #[default]
    Absent,
    /// All but the forms that end in `Scm`.
    WithoutScm,
    /// All of it.
    WithScm,
}

impl Cgmanager {
    /// What a socket on which it is `served` has of it, where the `scm` forms are wanted or not.
    pub fn new(served: bool, scm: bool) -> Self {
        match (served, scm) {
            (false, _) => Self::Absent,
            (true, false) => Self::WithoutScm,
            (true, true) => Self::WithScm,
        }
    }

    /// Whether the object is there.
    pub(super) fn is_served(self) -> bool {
        self != Self::Absent
    }

    /// Whether the forms that end in `Scm` are there.
    pub(crate) fn has_scm(self) -> bool {
        self == Self::WithScm
    }
}
