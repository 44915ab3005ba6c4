//! With whose rights the mechanism touches a file: policy hands the actor out, here it is used.

pub use crate::sys::creds::Actor;
