//! D-Bus on one side, the service on the other: a thin adapter, the same for every transport.
mod bus;
mod cgmanager;
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

use cgroupd_proto::ErrorName;

use crate::{Error, Result};

/// Whoever could not be proven may do nothing.
fn check_proven(client: &Client) -> Result<()> {
    let Some(reason) = &client.caller.unproven else { return Ok(()) };
    let text = format!("the caller could not be proven on this bus: {reason}");
    Err(Error::new(ErrorName::Denied, text)
        .hint("use the private socket: busctl --address=unix:path=/run/cgroupd/cgroupd.sock")
        .rule("unproven"))
}
