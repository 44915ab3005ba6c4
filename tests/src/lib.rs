//! The harness of the whole-system tests: what they need, a real daemon on a managed root of its
//! own, clients of any identity, private instances of what the daemon works with, and cgroups
//! that are gone when a test ends, however it ends.

pub mod bins;
pub mod bus;
pub mod cgroups;
pub mod client;
pub mod daemon;
pub mod events;
pub mod faults;
pub mod guest;
pub mod hierarchies;
pub mod lingering;
pub mod matrix;
pub mod need;
pub mod peer;
pub mod place;
pub mod said;
pub mod snapshot;
pub mod suite;
pub mod sweep;
pub mod wire;
pub mod world;
