//! The harness of the whole-system tests: what they need, and private instances of what the
//! daemon works with.

pub mod bus;
pub mod need;
pub mod wire;
