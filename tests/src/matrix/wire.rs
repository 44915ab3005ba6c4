//! What the test asks of its peer processes, and what they answer: JSON, a line each way.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a peer process is to start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Start {
    /// The name of its identity.
    pub(super) identity: String,
    /// What it does once it has it.
    pub(super) part: Part,
    /// A process whose namespaces it enters instead of making its own.
    pub(super) join: Option<i32>,
    /// The cgroups it puts itself into first.
    pub(super) cgroups: Vec<PathBuf>,
    /// Whether it is already in its namespaces: it is the first process of a pid namespace.
    pub(super) inside: bool,
}

/// What a peer process does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Part {
    /// Does what it is asked by system calls.
    Oracle,
    /// Asks the daemon on this socket.
    Client(PathBuf),
    /// Is moved around: with these real, effective and saved uids, or its identity's.
    Victim(Option<[u32; 3]>),
}

/// Something to be done to a cgroup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The cgroup: for the oracle in the file system, for the client in its identity's view.
    pub(super) path: String,
    /// The hierarchy's controller, or `unified`.
    pub(super) controller: String,
    pub(super) verb: Verb,
}

/// What is to be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Verb {
    Create,
    Remove {
        recursive: bool,
    },
    /// By the limit's name, which is its file's where rows set one.
    Limit {
        file: String,
        value: String,
    },
    Write {
        file: String,
        value: String,
    },
    Read {
        file: String,
    },
    List,
    Processes,
    Chown {
        uid: u32,
        gid: u32,
    },
    Chmod {
        file: String,
        mode: u32,
    },
    Attach {
        pid: u32,
    },
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) verdict: Verdict,
    /// The errno, or the D-Bus error and its text.
    pub(super) why: String,
    /// What was read.
    pub(super) data: String,
}

/// Whether permission was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Verdict {
    Allowed,
    Denied,
    /// It failed for a reason that no row is meant to have.
    Odd,
}
