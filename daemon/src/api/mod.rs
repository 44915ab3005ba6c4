//! D-Bus on one side, the service on the other: a thin adapter, the same for every transport.
mod bus;
mod cgmanager;
mod client;
mod dispatch;
mod introspect;
mod manager;
mod properties;
mod reply;
mod served;

pub use client::{Client, Events, TooSlow};
pub use dispatch::Dispatcher;
pub(crate) use reply::{limits_exceeded, within_limit};
pub use served::Cgmanager;

use cgroupd_proto::{ErrorName, Method};

use crate::service::{Request, Service};
use crate::{Error, Result};

/// The handler of a method, and a request with fresh facts for it. Whoever could not be proven has
/// none.
fn begin<'a, H: Copy>(
    service: &'a Service,
    client: &'a Client,
    method: &Method,
    handlers: &[(&str, H)],
) -> Result<(H, Request<'a>)> {
    check_proven(client)?;
    let known = handlers.iter().find(|(member, _)| *member == method.member);
    let (_, handler) = known.ok_or_else(|| {
        Error::new(ErrorName::NotSupported, format!("{} is not there", method.member))
    })?;
    let request = Request::new(service, &client.caller)?;
    request.settle();
    Ok((*handler, request))
}

fn check_proven(client: &Client) -> Result<()> {
    let Some(reason) = &client.caller.unproven else { return Ok(()) };
    let text = format!("the caller could not be proven on this bus: {reason}");
    Err(Error::new(ErrorName::Denied, text)
        .hint("use the private socket: busctl --address=unix:path=/run/cgroupd/cgroupd.sock")
        .rule("unproven"))
}
