//! From a message to its handler. One dispatcher serves every connection of every transport;
//! zbus' object server is never in front of a peer, because its queues have no bounds.

use std::sync::Arc;
use std::time::Duration;

use cgroupd_proto::cgmanager::{
    INTERFACE as OLD_INTERFACE, OBJECT_PATH as OLD_OBJECT_PATH, find_method as find_old_method,
};
use cgroupd_proto::{INTERFACE, Method, OBJECT_PATH, find_method};
use tokio::runtime::Handle;
use zbus::Message;
use zbus::message::{Header, Type};

use super::changes::{Changes, Turn};
use super::client::Client;
use super::inline::Inline;
use super::reply::{Fault, Reply, fault, is_wanted, success};
use super::{bus, cgmanager, introspect, manager, properties};
use crate::caller::{Caller, Customer, ROOT};
use crate::service::Service;

const PEER: &str = "org.freedesktop.DBus.Peer";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";

/// Calls that run at a time: fewer than the runtime has threads to stand in for theirs.
const ALL_CHANGES: usize = 96;
/// Conversations at a time of all but host root, each on a thread of its own that waits most of the
/// time; and of one customer, as which each of root's containers counts.
const ALL_TALKS: usize = 64;
const TALKS_PER_KEY: usize = 8;
/// How long those under way are waited for at the end: most are silent or done by then.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long one waits for its turn: longer than another lasts whose other end is silent.
const TALK_TURN: Duration = Duration::from_secs(6);

/// Answers method calls.
#[derive(Debug)]
pub struct Dispatcher {
    service: Arc<Service>,
    changes: Arc<Changes>,
    /// Conversations of cgmanager's clients.
    talks: Changes<Customer>,
    roots_talks: Changes,
    inline: Inline,
    id: String,
}

impl Dispatcher {
    /// A dispatcher over a service; `id` is the instance's GUID, and at most `changes_per_key`
    /// calls of one accounting key run at a time.
    pub fn new(service: Arc<Service>, id: String, changes_per_key: usize) -> Self {
        let changes = Arc::new(Changes::new(changes_per_key, ALL_CHANGES));
        let talks = Changes::new(TALKS_PER_KEY, ALL_TALKS);
        let roots_talks = Changes::new(TALKS_PER_KEY, TALKS_PER_KEY);
        Self { service, changes, talks, roots_talks, inline: Inline::default(), id }
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
        if path != OLD_OBJECT_PATH
            && let Some(stranger) = foreign_destination(&header)
        {
            let text = format!("{stranger:?} is not here");
            return fault(call, Fault::ServiceUnknown, &text);
        }
        let member = header.member().map_or("", |member| member.as_str());
        match interface_of(&header, path, member) {
            PEER => peer(call, member),
            INTROSPECTABLE if member == "Introspect" => introspect::answer(call, path),
            bus::DRIVER if path == bus::DRIVER_PATH => bus::answer(call, member, &self.id),
            PROPERTIES if introspect::is_object(path) => {
                properties::answer(call, path, member, &self.service)
            }
            INTERFACE if path == OBJECT_PATH => self.manage(client, call, member).await,
            OLD_INTERFACE if path == OLD_OBJECT_PATH => {
                self.manage_cgmanager(client, call, member).await
            }
            interface if interface == OLD_INTERFACE || path == OLD_OBJECT_PATH => {
                cgmanager::unknown(call)
            }
            interface => unknown(call, path, interface, member),
        }
    }

    /// The native API. Signatures are checked against the table before anything is parsed.
    async fn manage(&self, client: &Client, call: &Message, member: &str) -> Reply {
        let Some(method) = find_method(member) else {
            return unknown(call, OBJECT_PATH, INTERFACE, member);
        };
        let wanted = method.signature();
        let given = call.header().signature().to_string_no_parens();
        if given != wanted {
            let text = format!("{member} takes \"{wanted}\", not \"{given}\"");
            return fault(call, Fault::InvalidArgs, &text);
        }
        let _permit = self.changes.permit(client.caller.key).await;
        self.inline.run(|| manager::answer(&self.service, client, call, method))
    }

    /// cgmanager's interface.
    async fn manage_cgmanager(&self, client: &Client, call: &Message, member: &str) -> Reply {
        let Some(method) = find_old_method(member) else { return cgmanager::unknown(call) };
        if let Some(reply) = cgmanager::misfit(call, method) {
            return reply;
        }
        if cgmanager::goes_on(method) {
            return self.talk(client, call, method).await;
        }
        let _permit = self.changes.permit(client.caller.key).await;
        self.inline.run(|| cgmanager::answer(&self.service, client, call, method))
    }

    /// Waits for what is being done in conversations; nothing more is begun. What was done is told,
    /// unless that takes too long.
    pub async fn end_talks(&self) {
        self.changes.close().await;
        let ended = futures_util::future::join(self.talks.end(), self.roots_talks.end());
        if tokio::time::timeout(LAST_WORDS, ended).await.is_err() {
            tracing::warn!("some of cgmanager's clients were still being told");
        }
    }

    async fn turn_to_talk(&self, caller: &Caller) -> Option<Turn> {
        match caller.key {
            ROOT => self.roots_talks.permit(ROOT).await,
            _ => self.talks.permit(caller.customer()).await,
        }
    }

    /// What follows the answer to such a call holds up nobody.
    async fn talk(&self, client: &Client, call: &Message, method: &'static Method) -> Reply {
        let order = match cgmanager::order(&self.service, client, call, method) {
            Ok(order) => order,
            Err(refused) => return refused,
        };
        let turn = tokio::time::timeout(TALK_TURN, self.turn_to_talk(&client.caller)).await;
        let crowded = || cgmanager::crowded(&self.service, client, call, method);
        let Ok(turn) = turn else { return crowded() };
        let (service, proxy) = (Arc::clone(&self.service), Arc::clone(&client.caller));
        let (changes, runtime) = (Arc::clone(&self.changes), Handle::current());
        let talk = move || {
            let (service, proxy, changes, runtime) = (&*service, &*proxy, &*changes, &runtime);
            order.carry_out(cgmanager::Context { service, proxy, changes, runtime });
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
        _ => unknown(call, "/", PEER, member),
    }
}

fn unknown(call: &Message, path: &str, interface: &str, member: &str) -> Reply {
    if !introspect::is_known(path) {
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
