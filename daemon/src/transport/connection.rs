//! One connection from its handshake to its end. Its calls are answered one after the other:
//! a reply is written before the next call is looked at, and events between the calls. Dropping
//! the task frees everything.

use std::io;
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{self, Either};
use tokio::sync::watch;
use zbus::connection::Builder;
use zbus::{Connection, Guid, Message, MessageStream};

use super::closing::Closers;
use super::guard::{Turn, guard};
use super::inbox::Inbox;
use super::parked::Parked;
use super::sasl::{Handshake, Progress};
use super::socket::Socket;
use super::{Limits, Violation};
use crate::accounting::{Account, Accounts, Resource, Turns};
use crate::api::{Cgmanager, Client, Dispatcher, Events, TooSlow, limits_exceeded, within_limit};
use crate::caller::{Caller, Host, Refused};

/// Why a connection ended, but for the peer's closing it.
#[derive(Debug, thiserror::Error)]
pub enum Disconnect {
    /// The peer cannot be identified.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The handshake was not finished in time.
    #[error("the handshake was not finished in time")]
    SlowHandshake,
    /// A reply, or too many events, were not taken in time.
    #[error("a reply or its events were not taken in time")]
    SlowReader,
    /// The peer broke the protocol.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// zbus could not make sense of a message, or could not set the connection up.
    #[error("not a valid message: {0}")]
    Invalid(zbus::Error),
    /// The kernel refused something.
    #[error("the socket failed: {0}")]
    Socket(io::Error),
}

/// What all connections of a socket share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dispatcher: Arc<Dispatcher>,
    /// A connection keeps those it began with.
    pub(crate) limits: watch::Receiver<Limits>,
    pub(crate) guid: Guid<'static>,
    pub(crate) closers: Arc<Closers>,
    /// The handshakes that an account may have under way; those beyond wait here for their turn,
    /// unread, while their time runs: a burst of honest clients is served, a silent one goes.
    pub(crate) handshakes: Turns,
}

impl Shared {
    pub(crate) fn new(dispatcher: Arc<Dispatcher>, limits: watch::Receiver<Limits>) -> Self {
        let accounts = &dispatcher.service().accounts;
        let closers = Arc::new(Closers::new(accounts));
        let handshakes = Turns::new(accounts, Resource::Handshakes);
        Self { dispatcher, limits, guid: Guid::generate(), closers, handshakes }
    }

    /// The accounts that peers are charged to.
    pub(crate) fn accounts(&self) -> &Arc<Accounts> {
        &self.dispatcher.service().accounts
    }
}

/// Serves one end of a connected socket until the peer closes it.
///
/// # Errors
/// When the daemon ended the connection.
pub async fn serve_stream(
    stream: UnixStream,
    dispatcher: Arc<Dispatcher>,
    host: &Host,
    limits: Limits,
) -> Result<(), Disconnect> {
    let caller = Arc::new(Caller::from_socket(&stream, host)?);
    stream.set_nonblocking(true).map_err(Disconnect::Socket)?;
    let (_keep, never) = watch::channel(false);
    let shared = Shared::new(dispatcher, watch::channel(limits).1);
    serve(&shared, stream, (&caller, Cgmanager::Absent), never).await
}

/// Serves one admitted peer, until it goes or `stop` turns true. A peer is gone when its process is:
/// its end of the connection may live on in another process, or in a message on its way, which may
/// even be one to the daemon.
pub(crate) async fn serve(
    shared: &Shared,
    stream: UnixStream,
    (caller, cgmanager): (&Arc<Caller>, Cgmanager),
    mut stop: watch::Receiver<bool>,
) -> Result<(), Disconnect> {
    let closer = shared.closers.of(caller.account);
    let exit = match caller.process.exit() {
        Ok(exit) => exit,
        Err(error) => {
            closer.hang_up(stream.into());
            return Err(Disconnect::Socket(error));
        }
    };
    let mut stop = pin!(async {
        tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => {}
            () = exit => {}
        }
    });
    let turn = Turn::new(shared.accounts().empty_charge(caller.account, Resource::Bytes));
    let limits = *shared.limits.borrow();
    if closer.is_stuck() {
        closer.hang_up(stream.into());
        return Err(Violation::StuckDescriptors.into());
    }
    let parked = Arc::new(Parked::new(closer.clone()));
    let socket = match cgmanager.has_scm() {
        true => Socket::parking(stream, Arc::clone(&parked)),
        false => Socket::new(stream, closer),
    };
    let socket = Arc::new(socket.map_err(Disconnect::Socket)?);
    let opening = Box::pin(open((shared, &limits), socket, caller.account, turn.clone()));
    let calls = match future::select(opening, &mut stop).await {
        Either::Left((Ok(Some(calls)), _)) => calls,
        Either::Left((ended, _)) => return ended.map(drop),
        Either::Right(_) => return Ok(()),
    };
    let (client, events) = Client::new(Arc::clone(caller), None);
    let client = client.with_cgmanager(cgmanager, Arc::clone(&parked));
    converse(shared, calls, (client, events, parked), (&limits, &turn), stop).await
}

/// Answers calls, and tells events between them. A call that has begun is answered to its end.
async fn converse(
    shared: &Shared,
    mut calls: MessageStream,
    (client, mut events, parked): (Client, Events, Arc<Parked>),
    (limits, turn): (&Limits, &Turn),
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<(), Disconnect> {
    let connection = Connection::from(&calls);
    loop {
        let call = tokio::select! {
            biased;
            () = &mut stop => return Ok(()),
            call = calls.next() => match call {
                Some(Ok(call)) => call,
                Some(Err(error)) => return ended(error),
                None => return Ok(()),
            },
            event = events.next() => {
                let event = event.map_err(|TooSlow| Disconnect::SlowReader)?;
                if let Err(error) = connection.send(&event).await {
                    return ended(error);
                }
                continue;
            }
        };
        let reply = shared.dispatcher.answer(&client, &call).await;
        parked.clear(call.data().fds());
        if let Some(reply) = reply {
            let reply = within_limit(&call, reply, limits.message_out)
                .and_then(|reply| within_account(&call, reply, turn))
                .map_err(Disconnect::Invalid)?;
            drop(call);
            if let Err(error) = connection.send(&reply).await {
                return ended(error);
            }
        }
        turn.next();
    }
}

/// Shakes hands and puts zbus behind the guard; `None` when the peer went away.
async fn open(
    (shared, limits): (&Shared, &Limits),
    socket: Arc<Socket>,
    account: Account,
    turn: Turn,
) -> Result<Option<MessageStream>, Disconnect> {
    let mut inbox = Inbox::new(Arc::clone(&socket), limits.descriptors);
    let deadline = Duration::from_secs(limits.handshake_seconds);
    let greeting = async {
        let _turn = shared.handshakes.turn(account).await;
        shake_hands(&socket, &mut inbox, &shared.guid).await
    };
    let negotiated = match tokio::time::timeout(deadline, greeting).await {
        Err(_) => return Err(Disconnect::SlowHandshake),
        Ok(Err(error)) => return ended(error.into()).map(|()| None),
        Ok(Ok(None)) => return Ok(None),
        Ok(Ok(Some(negotiated))) => negotiated,
    };
    let split = guard(socket, inbox, negotiated, turn, limits);
    Builder::authenticated_socket(split, shared.guid.clone())
        .p2p()
        .max_queued(std::num::NonZeroUsize::MIN)
        .validate_bodies()
        .build_message_stream()
        .await
        .map(Some)
        .map_err(Disconnect::Invalid)
}

/// Reads up to and including `BEGIN`; what came behind it stays in the inbox. Says whether
/// descriptors may be passed, or `None` when the peer went away.
async fn shake_hands(
    socket: &Socket,
    inbox: &mut Inbox,
    guid: &Guid<'_>,
) -> io::Result<Option<bool>> {
    let mut handshake = Handshake::new(guid.to_string());
    loop {
        if !inbox.fill(0).await? {
            return Ok(None);
        }
        let mut answer = Vec::new();
        let progress = handshake.feed(inbox.bytes(), &mut answer)?;
        let consumed = match progress {
            Progress::More => inbox.bytes().len(),
            Progress::Done { consumed, .. } => consumed,
        };
        inbox.consume(consumed);
        // The kernel ends a read after bytes that came with descriptors: unless bytes of a
        // message are left, the descriptors were sent with the handshake.
        let negotiated = matches!(progress, Progress::Done { descriptors: true, .. });
        if inbox.has_descriptors() && (inbox.bytes().is_empty() || !negotiated) {
            return Err(Violation::EarlyDescriptors.into());
        }
        socket.send(&answer, &[]).await?;
        if let Progress::Done { descriptors, .. } = progress {
            return Ok(Some(descriptors));
        }
    }
}

/// Whether the end of a connection is worth a word.
fn ended(error: zbus::Error) -> Result<(), Disconnect> {
    let zbus::Error::InputOutput(error) = error else {
        return Err(Disconnect::Invalid(error));
    };
    if let Some(violation) = error.get_ref().and_then(|inner| inner.downcast_ref::<Violation>()) {
        return Err((*violation).into());
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset => Ok(()),
        io::ErrorKind::TimedOut => Err(Disconnect::SlowReader),
        kind => Err(Disconnect::Socket(kind.into())),
    }
}

/// A reply for which the account has no bytes left becomes an error that says so: it may have to wait
/// for long until its peer takes it.
fn within_account(call: &Message, reply: Message, turn: &Turn) -> zbus::Result<Message> {
    match turn.charge(reply.data().len()) {
        Ok(()) => Ok(reply),
        Err(full) => limits_exceeded(
            call,
            &format!("{full}: read the replies of the other connections first"),
        ),
    }
}
