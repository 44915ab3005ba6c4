//! From a message to its handler. One dispatcher serves every connection of every transport;
//! zbus' object server is never in front of a peer, because its queues have no bounds.

use std::sync::Arc;

use zbus::Message;
use zbus::message::Type;

use super::bus;
use super::reply::{Fault, Reply, fault, is_wanted, success};
use crate::caller::Caller;
use crate::service::Service;

/// Answers method calls.
#[derive(Debug)]
pub struct Dispatcher {
    service: Arc<Service>,
    id: String,
}

impl Dispatcher {
    /// A dispatcher over a service; `id` is the instance's GUID.
    pub fn new(service: Arc<Service>, id: String) -> Self {
        Self { service, id }
    }

    /// The service behind it.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Answers one message of one caller; `None` when it is no call, or asks for no reply.
    /// Calls of one client are answered one after the other: the transport sees to that.
    pub async fn answer(&self, caller: &Arc<Caller>, call: &Message) -> Option<Message> {
        if call.message_type() != Type::MethodCall {
            return None;
        }
        let reply = self.route(caller, call).await;
        if !is_wanted(call) {
            return None;
        }
        reply.inspect_err(|error| tracing::warn!(%error, "a reply could not be built")).ok()
    }

    async fn route(&self, _caller: &Arc<Caller>, call: &Message) -> Reply {
        let header = call.header();
        let member = header.member().map_or("", |member| member.as_str());
        match header.interface().map(|interface| interface.as_str()) {
            Some("org.freedesktop.DBus.Peer") if member == "Ping" => success(call, &()),
            Some(bus::DRIVER) => bus::answer(call, member, &self.id),
            _ => fault(call, Fault::UnknownMethod, "not here"),
        }
    }
}
