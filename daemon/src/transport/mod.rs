//! Sockets and D-Bus. A peer becomes a connection here; nothing in it knows cgroups.
mod limits;

pub use limits::Limits;
