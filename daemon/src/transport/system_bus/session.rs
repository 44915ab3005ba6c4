//! One connection to the bus, from Hello until it is lost: reading, answering, owning the name.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use cgroupd_proto::{BUS_NAME, ErrorName};
use futures_util::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use zbus::message::{Flags, Type};
use zbus::{Connection, Message, MessageStream};

use super::clients::{Clients, Offer, Seat};
use super::driver;
use super::identify::{Identifier, Unidentified};
use super::sieve;
use super::{RETRY, SystemBus};
use crate::accounting::{Bounds, Charge, Resource};
use crate::api::{Client, Dispatcher, TooSlow, within_limit};
use crate::caller::Caller;
use crate::transport::Limits;

const LIMITS_EXCEEDED: &str = "org.freedesktop.DBus.Error.LimitsExceeded";
const ACCESS_DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";

/// A client that says nothing for so long costs nothing any more; its next call starts anew.
const IDLE: Duration = Duration::from_secs(30);
/// Replies that wait for the bus to take them; then clients wait.
const REPLIES: usize = 64;
/// Refusals that wait for it behind all replies; then they are dropped. A bus lets a connection
/// wait for some hundred answers.
const REFUSALS: usize = 4096;
/// What goes out at once.
const BATCH: usize = 64;
/// The longest reply, whatever the configuration says. A bus ends the connection that sends a longer
/// message than it takes, and with it everybody's: dbus-daemon takes 32 MiB on the system bus
/// (`max_message_size`, dbus-daemon(1)).
const LONGEST_REPLY: usize = 16 << 20;

/// What the calls of one connection share.
#[derive(Debug)]
pub(super) struct Session {
    dispatcher: Arc<Dispatcher>,
    clients: Arc<Clients>,
    identifier: Identifier,
    limits: watch::Receiver<Limits>,
    replies: mpsc::Sender<Outgoing>,
    refusals: mpsc::Sender<Message>,
}

/// A message on its way out, charged to its receiver when it is long.
type Outgoing = (Message, Option<Charge>);

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The daemon stops.
    Stopped,
    /// The bus is gone, as the text says.
    Lost(&'static str),
}

/// Serves the bus until it is lost, or until `stop`: then no call is begun, and those that run
/// are answered.
pub(super) async fn run(
    transport: &SystemBus,
    stream: MessageStream,
    identifier: Identifier,
    stop: impl Future<Output = ()>,
) -> End {
    let bus = Connection::from(&stream);
    let limits = *transport.limits.borrow();
    let (replies, replies_out) = mpsc::channel(REPLIES);
    let (refusals, refusals_out) = mpsc::channel(REFUSALS);
    let clients = Arc::clone(&transport.clients);
    let session = Arc::new(Session {
        dispatcher: Arc::clone(&transport.dispatcher),
        clients: Arc::clone(&clients),
        identifier,
        limits: transport.limits.clone(),
        replies,
        refusals,
    });
    let patience = Duration::from_secs(limits.write_seconds);
    let mut writer = JoinSet::new();
    writer.spawn(write(bus.clone(), replies_out, refusals_out, patience));
    let forget = Forget(clients);
    let end = tokio::select! {
        () = stop => End::Stopped,
        () = read(session, stream) => End::Lost("the bus closed the connection"),
        _ = writer.join_next() => End::Lost("the bus takes no more messages"),
        never = own_the_name(bus) => match never {},
    };
    drop(forget);
    if end == End::Stopped {
        // The writer ends with the last call, whose answer it has then sent.
        let patience = Duration::from_secs(limits.change_seconds);
        let _ = timeout(patience, writer.join_next()).await;
    }
    end
}

/// Never waits for anything but the next message: everybody's calls come through here.
async fn read(session: Arc<Session>, mut stream: MessageStream) {
    while let Some(Ok(message)) = stream.next().await {
        Session::take(&session, message);
        // Other tasks of this thread get their turn under a flood, too.
        tokio::task::coop::consume_budget().await;
    }
}

/// The only writer of answers, so that none can follow one that was given up half-way: then the
/// connection is given up, too.
async fn write(
    bus: Connection,
    mut replies: mpsc::Receiver<Outgoing>,
    mut refusals: mpsc::Receiver<Message>,
    patience: Duration,
) {
    loop {
        let first = tokio::select! {
            biased;
            reply = replies.recv() => reply,
            refusal = refusals.recv() => refusal.map(|refusal| (refusal, None)),
        };
        let (mut batch, mut charges): (Vec<_>, Vec<_>) = first.into_iter().unzip();
        for (reply, charge) in std::iter::from_fn(|| replies.try_recv().ok()).take(BATCH) {
            batch.push(reply);
            charges.push(charge);
        }
        batch.extend(std::iter::from_fn(|| refusals.try_recv().ok()).take(BATCH));
        let sent = timeout(patience, bus.send_all(&batch)).await;
        if batch.is_empty() || !matches!(sent, Ok(Ok(()))) {
            break;
        }
    }
}

/// Until the name is ours, tries again; somebody else having it is said once.
async fn own_the_name(bus: Connection) -> Infallible {
    if let Err(error) = driver::watch_endings(&bus).await {
        // Clients are still forgotten once they are silent.
        tracing::warn!("the system bus does not say who leaves it: {error}");
    }
    let mut said = None;
    while let Err(why) = claim(&bus).await {
        if said.as_ref() != Some(&why) {
            tracing::warn!("on the system bus, but not as {BUS_NAME}: {why}");
            said = Some(why);
        }
        sleep(RETRY).await;
    }
    tracing::info!("joined the system bus as {BUS_NAME}");
    std::future::pending().await
}

async fn claim(bus: &Connection) -> Result<(), String> {
    match driver::claim(bus, BUS_NAME).await {
        Ok(true) => Ok(()),
        Ok(false) => Err("somebody else owns the name".to_owned()),
        Err(error) => Err(format!("{error}; is the policy file installed?")),
    }
}

impl Session {
    /// Replies are zbus' business; signals count only from the bus itself.
    fn take(self: &Arc<Self>, message: Message) {
        match message.message_type() {
            Type::MethodCall => self.take_call(message),
            Type::Signal => {
                if let Some(name) = driver::ended(&message) {
                    self.clients.leave(&name);
                }
            }
            Type::MethodReturn | Type::Error => {}
        }
    }

    fn take_call(self: &Arc<Self>, call: Message) {
        let header = call.header();
        let Some(name) = header.sender().map(|sender| sender.to_string()) else { return };
        if sieve::is_cut(&call) {
            return self.turn_away(&call, "the message is too long");
        }
        match self.clients.offer(&name, call) {
            Offer::Waits => {}
            Offer::First(seat) => {
                tokio::spawn(Arc::clone(self).serve(seat));
            }
            Offer::Refused(call, why) => self.turn_away(&call, &why),
        }
    }

    /// Waiting for room would let one flood hold up everybody.
    fn turn_away(&self, call: &Message, why: &str) {
        if let Some(reply) = refusal(call, LIMITS_EXCEEDED, why) {
            let _ = self.refusals.try_send(reply);
        }
    }

    /// Answers one client's calls in order, until it leaves or falls silent.
    async fn serve(self: Arc<Self>, mut seat: Seat) {
        match self.identify(&mut seat).await {
            Ok(caller) => self.attend(&seat, caller).await,
            // Who is refused keeps no seat.
            Err((name, why)) => {
                while let Some(call) = seat.next(Some(Duration::ZERO)).await {
                    self.send(refusal(&call, name, &why)).await;
                }
            }
        }
    }

    /// Answers an identified client's calls, and sends its events in between.
    async fn attend(&self, seat: &Seat, caller: Arc<Caller>) {
        let (client, mut events) = Client::new(caller, Some(seat.name.clone()));
        loop {
            // Who watches is not expected to say anything: it stays until it leaves the bus.
            let idle = (!client.is_watching()).then_some(IDLE);
            tokio::select! {
                call = seat.next(idle) => match call {
                    Some(call) => {
                        let reply = self.dispatcher.answer(&client, &call).await;
                        if let Some(reply) = reply {
                            self.reply(&client, &call, reply).await;
                        }
                    }
                    None => return,
                },
                event = events.next() => match event {
                    Ok(event) => self.send(Some(event)).await,
                    Err(TooSlow) => {
                        client.end_watches();
                        events.clear();
                    }
                },
            }
        }
    }

    async fn identify(&self, seat: &mut Seat) -> Result<Arc<Caller>, (&'static str, String)> {
        let caller = self.identifier.identify(&seat.name).await.map_err(|why| match why {
            Unidentified::Unknown(why) => (ACCESS_DENIED, why),
            Unidentified::OutOfResources(why) => (ErrorName::OutOfResources.wire(), why),
        })?;
        seat.charge(caller.account).map_err(|full| (LIMITS_EXCEEDED, full.to_string()))?;
        Ok(Arc::new(caller))
    }

    /// Sends a reply, or an error where it is too long or the account has no bytes left for it.
    async fn reply(&self, client: &Client, call: &Message, reply: Message) {
        let most = self.limits.borrow().message_out.min(LONGEST_REPLY);
        let Ok(reply) = within_limit(call, reply, most) else { return };
        let bytes = Bounds::charged_bytes(reply.data().len());
        match self.clients.accounts().charge(client.caller.account, Resource::Bytes, bytes) {
            Ok(charge) => drop(self.replies.send((reply, Some(charge))).await),
            Err(full) => self.send(refusal(call, LIMITS_EXCEEDED, &full.to_string())).await,
        }
    }

    async fn send(&self, message: Option<Message>) {
        if let Some(message) = message {
            // Fails only when the connection is lost, and the message with it.
            let _ = self.replies.send((message, None)).await;
        }
    }
}

/// When the connection ends, in whatever way, so do its clients.
struct Forget(Arc<Clients>);

impl Drop for Forget {
    fn drop(&mut self) {
        self.0.leave_all();
    }
}

/// An error reply, unless the call wants none.
fn refusal(call: &Message, name: &str, why: &str) -> Option<Message> {
    if call.primary_header().flags().contains(Flags::NO_REPLY_EXPECTED) {
        return None;
    }
    Message::error(&call.header(), name).build(&(why,)).ok()
}
