//! The system bus: joined when it appears, done without when there is none, joined again after
//! it restarts. All callers share one connection there; each unique name is a client with its
//! own queue, its own limits and an identity that the kernel confirms.

mod address;
mod clients;
mod driver;
mod identify;
mod mailbox;
mod prove;
mod prover;
mod session;
mod sieve;

use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use zbus::MessageStream;
use zbus::connection::Builder;

pub use prove::{BusProcess, Claim, Proof, Unproven};

use clients::Clients;
use identify::Identifier;
use prover::{OtherEnd, Prover};
use session::End;

use super::Limits;
use super::closing::Closers;
use crate::api::Dispatcher;
use crate::caller::Host;

/// How long until the next try to join, or to own the name.
const RETRY: Duration = Duration::from_secs(1);
/// A bus that has not welcomed us by then is tried again.
const WELCOME: Duration = Duration::from_secs(5);
/// Messages that zbus reads ahead of us. Enough that reading and sorting need not take turns.
const READ_AHEAD: NonZeroUsize = NonZeroUsize::new(32).unwrap();

/// The transport over the system bus.
#[derive(Debug)]
pub struct SystemBus {
    dispatcher: Arc<Dispatcher>,
    host: Host,
    limits: watch::Receiver<Limits>,
    trust_pid: bool,
    address: Option<String>,
    clients: Arc<Clients>,
    closers: Arc<Closers>,
}

/// Why the daemon is not on the bus.
#[derive(Debug, thiserror::Error)]
enum NotJoined {
    #[error("no connection to the system bus: {0}")]
    Connect(#[from] std::io::Error),
    #[error("no connection to the system bus: {0}")]
    Socket(#[from] nix::errno::Errno),
    #[error("the system bus does not let the daemon in: {0}")]
    Refused(#[from] zbus::Error),
    #[error("the system bus does not answer")]
    Silent,
}

impl SystemBus {
    /// A transport that answers with `dispatcher`. With `trust_pid` a caller is who the bus
    /// says, also where the kernel does not confirm it.
    pub fn new(
        dispatcher: Arc<Dispatcher>,
        host: Host,
        limits: watch::Receiver<Limits>,
        trust_pid: bool,
    ) -> Self {
        let accounts = &dispatcher.service().accounts;
        let clients = Arc::new(Clients::new(limits.clone(), Arc::clone(accounts)));
        let closers = Arc::new(Closers::new(accounts));
        Self { dispatcher, host, limits, trust_pid, address: None, clients, closers }
    }

    /// Joins the bus at this D-Bus address in place of the system's own.
    #[must_use]
    pub fn at(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// How many clients there are at present.
    pub fn clients(&self) -> usize {
        self.clients.count()
    }

    /// Joins the bus, again and again, until `shutdown`. Then no call is begun, and those that
    /// run are answered, for at most [`Limits::change_seconds`].
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let mut said = String::new();
        loop {
            let joined = tokio::select! {
                () = &mut shutdown => return,
                joined = timeout(WELCOME, self.join()) => joined.unwrap_or(Err(NotJoined::Silent)),
            };
            match joined {
                Ok((stream, identifier)) => {
                    match session::run(self, stream, identifier, &mut shutdown).await {
                        End::Stopped => return,
                        End::Lost(why) => tracing::info!("left the system bus: {why}"),
                    }
                    said.clear();
                }
                Err(why) => say_once(&mut said, why.to_string()),
            }
            tokio::select! {
                () = &mut shutdown => return,
                () = sleep(RETRY) => {}
            }
        }
    }

    /// One connection, as far as Hello. The name is claimed when somebody reads the stream.
    async fn join(&self) -> Result<(MessageStream, Identifier), NotJoined> {
        let address = self.address.clone().unwrap_or_else(address::system_bus);
        let stream = address::connect_any(&address)?;
        let other_end = OtherEnd::of(&stream)?;
        let longest = self.limits.borrow().message_in;
        let stream = Builder::socket(sieve::sieve(stream, &self.closers, longest)?)
            .max_queued(READ_AHEAD)
            .build_message_stream()
            .await?;
        let bus = zbus::Connection::from(&stream);
        let prover = Prover::start(other_end, bus.clone(), Arc::clone(self.dispatcher.service()));
        let (host, trust_pid) = (self.host, self.trust_pid);
        Ok((stream, Identifier { bus, prover, host, trust_pid }))
    }
}

/// A bus that is not there is one line in the log, not one a second.
fn say_once(said: &mut String, why: String) {
    if *said != why {
        tracing::info!("{why}; trying again every second");
        *said = why;
    }
}

/// Serves the system bus until `shutdown`: [`SystemBus`] in one call.
pub async fn run(
    dispatcher: Arc<Dispatcher>,
    host: Host,
    limits: watch::Receiver<Limits>,
    trust_pid: bool,
    shutdown: impl Future<Output = ()>,
) {
    SystemBus::new(dispatcher, host, limits, trust_pid).run(shutdown).await;
}
