//! From a message to its handler. One dispatcher serves every connection of every transport;
//! zbus' object server is never in front of a peer, because its queues have no bounds.
//!
//! Every call that looks at a cgroup or at its caller may have to wait in the kernel: for a lock
//! that a move holds for milliseconds, for memory to be reclaimed, and on kernels before 6.8 for the
//! mutex of all cgroups even to read `/proc/PID/cgroup`. So it runs where nobody else waits: its
//! worker's other tasks go to another thread first. What is answered from memory (Ping,
//! introspection, properties, the bus's own methods, whatever is unknown) is answered in place.

use std::sync::Arc;
use std::time::Duration;

use cgroupd_proto::cgmanager::{
    INTERFACE as OLD_INTERFACE, OBJECT_PATH as OLD_OBJECT_PATH, find_method as find_old_method,
    is_scm,
};
use cgroupd_proto::{ErrorName, INTERFACE, Method, OBJECT_PATH, find_method};
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use zbus::Message;
use zbus::message::{Header, Type};

use super::client::Client;
use super::reply::{Fault, Reply, failure, fault, is_wanted, success};
use super::{Cgmanager, bus, cgmanager, introspect, manager, properties};
use crate::Error;
use crate::accounting::{Resource, Turns};
use crate::service::Service;

const PEER: &str = "org.freedesktop.DBus.Peer";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";

/// How long those under way are waited for at the end: most are silent or done by then.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long one waits for its turn: longer than another lasts whose other end is silent.
const TALK_TURN: Duration = Duration::from_secs(6);

/// Answers method calls.
#[derive(Debug)]
pub struct Dispatcher {
    service: Arc<Service>,
    calls: Arc<Turns>,
    /// Conversations of cgmanager's clients, each on a thread of its own that waits most of the time.
    talks: Turns,
    id: String,
}

impl Dispatcher {
    /// A dispatcher over a service; `id` is the instance's GUID.
    pub fn new(service: Arc<Service>, id: String) -> Self {
        let calls = Arc::new(Turns::new(&service.accounts, Resource::Calls));
        let talks = Turns::new(&service.accounts, Resource::Conversations);
        Self { service, calls, talks, id }
    }

    /// The service behind it.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Answers one message of one client; `None` when it is no call, or asks for no reply.
    /// Calls of one client are answered one after the other: the transport sees to that.
    pub async fn answer(&self, client: &Client, call: &Message) -> Option<Message> {
        if call.message_type() != Type::MethodCall {
            return None;
        }
        let reply = self.route(client, call).await;
        if !is_wanted(call) {
            return None;
        }
        reply.inspect_err(|error| tracing::warn!(%error, "a reply could not be built")).ok()
    }

    async fn route(&self, client: &Client, call: &Message) -> Reply {
        let header = call.header();
        let path = header.path().map_or("", |path| path.as_str());
        let old = client.cgmanager;
        if is_cgmanagers(&header, path) && !old.is_served() {
            return cgmanager::absent(call);
        }
        if path != OLD_OBJECT_PATH
            && let Some(stranger) = foreign_destination(&header)
        {
            let text = format!("{stranger:?} is not here");
            return fault(call, Fault::ServiceUnknown, &text);
        }
        let member = header.member().map_or("", |member| member.as_str());
        match interface_of(&header, path, member) {
            PEER => peer(call, member),
            INTROSPECTABLE if member == "Introspect" => introspect::answer(call, path, old),
            bus::DRIVER if path == bus::DRIVER_PATH => bus::answer(call, member, &self.id),
            PROPERTIES if introspect::is_object(path, old) => {
                properties::answer(call, path, member, &self.service)
            }
            INTERFACE if path == OBJECT_PATH => self.manage(client, call, member).await,
            OLD_INTERFACE if path == OLD_OBJECT_PATH => {
                self.manage_cgmanager(client, call, member).await
            }
            _ if is_cgmanagers(&header, path) => cgmanager::unknown(call),
            interface => unknown(call, (path, old), interface, member),
        }
    }

    /// The native API. Signatures are checked against the table before anything is parsed.
    async fn manage(&self, client: &Client, call: &Message, member: &str) -> Reply {
        let Some(method) = find_method(member) else {
            return unknown(call, (OBJECT_PATH, client.cgmanager), INTERFACE, member);
        };
        let wanted = method.signature();
        let given = call.header().signature().to_string_no_parens();
        if given != wanted {
            let text = format!("{member} takes \"{wanted}\", not \"{given}\"");
            return fault(call, Fault::InvalidArgs, &text);
        }
        let Some(_turn) = self.calls.turn(client.caller.account).await else {
            return failure(call, &stopping());
        };
        block_in_place(|| manager::answer(&self.service, client, call, method))
    }

    /// cgmanager's interface.
    async fn manage_cgmanager(&self, client: &Client, call: &Message, member: &str) -> Reply {
        let Some(method) = find_old_method(member) else { return cgmanager::unknown(call) };
        if let Some(reply) = cgmanager::misfit(call, method) {
            return reply;
        }
        if is_scm(member) && !client.cgmanager.has_scm() {
            return cgmanager::without_scm(call, member);
        }
        if is_scm(member) {
            return self.talk(client, call, method).await;
        }
        let Some(_turn) = self.calls.turn(client.caller.account).await else {
            return failure(call, &stopping());
        };
        block_in_place(|| cgmanager::answer(&self.service, client, call, method))
    }

    /// Waits for what is being done in conversations; nothing more is begun. What was done is told,
    /// unless that takes too long.
    pub async fn end_talks(&self) {
        self.calls.close().await;
        if tokio::time::timeout(LAST_WORDS, self.talks.end()).await.is_err() {
            tracing::warn!("some of cgmanager's clients were still being told");
        }
    }

    /// What follows the answer to such a call holds up nobody.
    async fn talk(&self, client: &Client, call: &Message, method: &'static Method) -> Reply {
        let order = match cgmanager::order(&self.service, client, call, method) {
            Ok(order) => order,
            Err(refused) => return refused,
        };
        let turn = self.talks.turn(client.caller.account);
        let turn = tokio::time::timeout(TALK_TURN, turn).await;
        let crowded = || cgmanager::crowded(&self.service, client, call, method);
        let Ok(turn) = turn else { return crowded() };
        let (service, proxy) = (Arc::clone(&self.service), Arc::clone(&client.caller));
        let (calls, runtime) = (Arc::clone(&self.calls), Handle::current());
        let talk = move || {
            let (service, proxy, calls, runtime) = (&*service, &*proxy, &*calls, &runtime);
            order.carry_out(cgmanager::Context { service, proxy, calls, runtime });
            drop(turn);
        };
        let thread = std::thread::Builder::new().name("talk".to_owned());
        match thread.spawn(talk) {
            Ok(_) => success(call, &()),
            Err(error) => {
                tracing::error!(%error, "no thread for a conversation");
                crowded()
            }
        }
    }
}

fn stopping() -> Error {
    Error::new(ErrorName::Busy, "the daemon is stopping").hint("repeat the call when it runs again")
}

/// A destination that is neither ours nor a unique name (the bus only delivers our own).
fn foreign_destination(header: &Header<'_>) -> Option<String> {
    let name = header.destination()?.as_str();
    let ours = name == bus::DRIVER || name == cgroupd_proto::BUS_NAME || name.starts_with(':');
    (!ours).then(|| name.to_owned())
}

/// The interface a call means; a missing one is found by its member, as D-Bus allows.
fn interface_of<'h>(header: &'h Header<'_>, path: &str, member: &str) -> &'h str {
    if let Some(interface) = header.interface() {
        return interface.as_str();
    }
    match member {
        _ if path == OLD_OBJECT_PATH && find_old_method(member).is_some() => OLD_INTERFACE,
        "Ping" | "GetMachineId" => PEER,
        "Introspect" => INTROSPECTABLE,
        "Get" | "GetAll" | "Set" => PROPERTIES,
        _ if find_method(member).is_some() => INTERFACE,
        _ if path == bus::DRIVER_PATH => bus::DRIVER,
        _ => "",
    }
}

fn peer(call: &Message, member: &str) -> Reply {
    match member {
        "Ping" => success(call, &()),
        "GetMachineId" => match std::fs::read_to_string("/etc/machine-id") {
            Ok(id) => success(call, &(id.trim(),)),
            Err(error) => fault(call, Fault::Failed, &format!("read /etc/machine-id: {error}")),
        },
        _ => unknown(call, ("/", Cgmanager::Absent), PEER, member),
    }
}

/// Whether a call is for the object or the interface of cgmanager.
fn is_cgmanagers(header: &Header<'_>, path: &str) -> bool {
    path == OLD_OBJECT_PATH || header.interface().is_some_and(|name| name.as_str() == OLD_INTERFACE)
}

/// What is not there, for a client that has this much of cgmanager's interface.
fn unknown(call: &Message, (path, old): (&str, Cgmanager), interface: &str, member: &str) -> Reply {
    if !introspect::is_known(path, old) {
        return fault(call, Fault::UnknownObject, &format!("there is no object {path:?}"));
    }
    let known = [PEER, INTROSPECTABLE, PROPERTIES, INTERFACE, bus::DRIVER, ""];
    if !known.contains(&interface) {
        let text = format!("the object {path} has no interface {interface:?}");
        return fault(call, Fault::UnknownInterface, &text);
    }
    let text = format!("there is no method {member:?} in {interface:?} at {path}");
    fault(call, Fault::UnknownMethod, &text)
}
