//! Who may do what. Pure: plain facts in, a decision out that carries its terms. It knows no
//! D-Bus and touches no file; its tests are tables of made-up callers.
mod id_map;
mod subject;

pub use id_map::{IdMap, OVERFLOW_ID};
pub use subject::{Class, Subject};
