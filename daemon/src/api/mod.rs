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

use cgroupd_proto::{ErrorName, Method};

use crate::caller::Caller;
use crate::service::Service;
use crate::{Error, Result};

/// One line per change and per refusal, of a method under the name its interface has in the log.
fn record<T>(
    service: &Service,
    caller: &Caller,
    (method, interface): (&Method, &str),
    path: &str,
    result: &Result<T>,
) {
    let verb = || format!("{interface}{}", method.member);
    match result {
        result if method.changes => service.audit.change(caller, &verb(), path, result),
        // A read that finds nothing is no refusal, and neither is one whose caller has left.
        Err(error) if error.name != ErrorName::Denied || error.rule == Some("caller") => {}
        Err(error) => service.audit.refusal(caller, &verb(), path, error),
        Ok(_) => {}
    }
}

/// Whoever could not be proven may do nothing.
fn check_proven(client: &Client) -> Result<()> {
    let Some(reason) = &client.caller.unproven else { return Ok(()) };
    let text = format!("the caller could not be proven on this bus: {reason}");
    Err(Error::new(ErrorName::Denied, text)
        .hint("use the private socket: busctl --address=unix:path=/run/cgroupd/cgroupd.sock")
        .rule("unproven"))
}
