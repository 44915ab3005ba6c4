//! D-Bus on one side, the service on the other: a thin adapter, the same for every transport.
mod bus;
mod changes;
mod client;
mod dispatch;
mod inline;
mod introspect;
mod manager;
mod properties;
mod reply;

pub use client::{Client, Events, TooSlow};
pub use dispatch::Dispatcher;
pub(crate) use reply::limits_exceeded;
