//! The rule matrix: the daemon's verdicts beside the kernel's.
//!
//! Each row is an identity, a cgroup of some owner and mode, and something to do with it. A
//! process of that identity does it twice on the same ground: with plain system calls on the
//! writable cgroupfs, which is the oracle, and through the daemon's socket. The two verdicts
//! must be the same unless a rule, named in `rules`, says that and how they differ.

pub mod child;
mod ground;
mod identity;
mod judge;
mod orders;
mod peer;
mod plan;
mod rows;
mod rules;
mod run;
mod state;
mod victims;
mod wire;

pub use judge::Findings;
pub use run::run;
