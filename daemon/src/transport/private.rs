//! The private socket: everybody may connect, and is told apart by what the kernel says. It
//! accepts, counts and starts connections; each is a task of its own, and whatever happens to
//! one, the others go on.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use rustix::net::{SocketFlags, accept_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet, block_in_place};

use super::Limits;
pub use super::bind::{BindError, SocketFile};
use super::connection::{Disconnect, Shared, serve};
use crate::accounting::{Account, Charge, Lines, Resource};
use crate::api::{Cgmanager, Dispatcher};
use crate::caller::{Caller, Host, Presumed};
use crate::sys::watched::watched;

/// How long to wait when the kernel has no descriptor or memory for a new connection.
const RECOVERY: Duration = Duration::from_millis(100);

/// A socket that listens.
#[derive(Debug)]
pub struct PrivateSocket {
    listener: UnixListener,
    cgmanager: Cgmanager,
}

/// What all sockets have in common: a peer is counted wherever it connects.
#[derive(Debug)]
pub struct Peers {
    shared: Arc<Shared>,
    host: Host,
    limits: watch::Receiver<Limits>,
    refusals: Arc<Lines>,
}

impl Peers {
    /// Nobody yet.
    pub fn new(dispatcher: Arc<Dispatcher>, host: Host, limits: watch::Receiver<Limits>) -> Self {
        Self {
            shared: Arc::new(Shared::new(dispatcher, limits.clone())),
            host,
            limits,
            refusals: Arc::new(Lines::about_refusals()),
        }
    }
}

impl PrivateSocket {
    /// Makes the socket at `path` with `mode` and, when given, `group`, and its directory when
    /// that is missing. A socket that nobody serves any more is replaced. The file is not the
    /// socket's to remove: a task that is aborted late would leave it behind.
    ///
    /// # Errors
    /// When another daemon serves it, or the kernel refuses.
    pub fn bind(
        path: &Path,
        mode: u32,
        group: Option<u32>,
    ) -> Result<(SocketFile, Self), BindError> {
        let (file, listener) = SocketFile::new(path, mode, group)?;
        Ok((file, Self { listener, cgmanager: Cgmanager::Absent }))
    }

    /// The same, with this much of cgmanager's interface.
    #[must_use]
    pub fn with_cgmanager(self, cgmanager: Cgmanager) -> Self {
        Self { cgmanager, ..self }
    }

    /// Serves until `shutdown`; then nobody is let in, no call is begun, and those that run are
    /// answered, for at most [`Limits::change_seconds`].
    ///
    /// # Errors
    /// When the kernel does not let the runtime watch the socket.
    pub async fn serve(
        self,
        peers: Arc<Peers>,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let listener = watched(self.listener.into(), Interest::READABLE)?;
        let (stop, stopped) = watch::channel(false);
        let cgmanager = self.cgmanager;
        let mut door = Door { peers, cgmanager, connections: JoinSet::new(), stopped };
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(ended) = door.connections.join_next() => report(ended),
                stream = accept(&listener, &door.peers.refusals) => door.let_in(stream),
            }
        }
        // Whoever comes now is told at once; what those who were not let in have sent is closed
        // with the listener, which nobody waits for.
        let _detached = std::thread::Builder::new().spawn(move || drop(listener));
        let _ = stop.send(true);
        let patience = Duration::from_secs(door.peers.limits.borrow().change_seconds);
        let finishing = async {
            while let Some(ended) = door.connections.join_next().await {
                report(ended);
            }
        };
        // Past its time, the rest is aborted when the set is dropped.
        let _ = tokio::time::timeout(patience, finishing).await;
        Ok(())
    }
}

/// What a new peer meets.
struct Door {
    peers: Arc<Peers>,
    cgmanager: Cgmanager,
    connections: JoinSet<()>,
    stopped: watch::Receiver<bool>,
}

impl Door {
    /// Pins the peer's process at once, while what the kernel says of it is fresh, and starts its
    /// connection when it may have one. A process that must still be proven to be the peer takes
    /// the place of its account until then; it is proven in the connection's own task, because
    /// others are not to wait for that.
    fn let_in(&mut self, stream: UnixStream) {
        let Peers { host, shared, refusals, .. } = &*self.peers;
        let peer = match Presumed::from_socket(&stream, host) {
            Ok(peer) => peer,
            Err(error) => return turn_away(&self.peers, stream, &error),
        };
        let Caller { account, uid, .. } = *peer.caller();
        match shared.accounts().charge(account, Resource::Connections, 1) {
            Ok(place) => self.start(stream, peer, place),
            Err(full) if peer.is_proven() => {
                shared.closers.of(account).hang_up(stream.into());
                refuse(refusals, account, uid, &full);
            }
            Err(full) => turn_away(&self.peers, stream, &full),
        }
    }

    fn start(&mut self, stream: UnixStream, peer: Presumed, place: Charge) {
        let (peers, stopped) = (Arc::clone(&self.peers), self.stopped.clone());
        let cgmanager = self.cgmanager;
        self.connections.spawn(async move {
            let _place = place;
            let caller = match prove(&peers, &stream, peer).await {
                Ok(caller) => Arc::new(caller),
                Err(error) => return turn_away(&peers, stream, &error),
            };
            let Peers { shared, refusals, .. } = &*peers;
            if let Err(error) = serve(shared, stream, (&caller, cgmanager), stopped).await {
                disconnected(refusals, &caller, &error);
            }
        });
    }
}

/// Proves who the peer is, in one of its account's turns for handshakes: however many connect at
/// the same time, few of an account are looked at.
async fn prove(peers: &Peers, stream: &UnixStream, peer: Presumed) -> Result<Caller, Disconnect> {
    if peer.is_proven() {
        return Ok(peer.prove(stream)?);
    }
    let patience = Duration::from_secs(peers.limits.borrow().handshake_seconds);
    let turn = peers.shared.handshakes.turn(peer.caller().account);
    let turn = tokio::time::timeout(patience, turn).await;
    let _turn = turn.map_err(|_| Disconnect::SlowHandshake)?;
    Ok(block_in_place(|| peer.prove(stream))?)
}

/// Hangs up on a peer of whom no more is known than the uid that it connected with: neither what
/// it has sent nor what is written about it is charged to anybody who can be a caller.
fn turn_away(peers: &Peers, stream: UnixStream, reason: &dyn std::error::Error) {
    let uid = getsockopt(&stream, sockopt::PeerCredentials).map_or(u32::MAX, |peer| peer.uid());
    let account = Account::Gone;
    peers.shared.closers.of(account).hang_up(stream.into());
    refuse(&peers.refusals, account, uid, reason);
}

/// The next connection. Without descriptors or memory for it, it is left to wait for a while:
/// asking again at once would only burn time that running calls need to free some.
async fn accept(listener: &AsyncFd<OwnedFd>, refusals: &Lines) -> UnixStream {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    loop {
        let accepted =
            listener.async_io(Interest::READABLE, |listener| Ok(accept_with(listener, flags)?));
        match accepted.await {
            Ok(stream) => return stream.into(),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if let Some(left_out) = refusals.pass(Account::Unidentified) {
                    tracing::warn!(%error, left_out, "cannot accept a connection");
                }
                tokio::time::sleep(RECOVERY).await;
            }
        }
    }
}

fn refuse(refusals: &Lines, account: Account, uid: u32, reason: &dyn std::error::Error) {
    if let Some(left_out) = refusals.pass(account) {
        tracing::warn!(uid, %account, left_out, "a connection was refused: {reason}");
    }
}

fn disconnected(refusals: &Lines, caller: &Caller, reason: &Disconnect) {
    if let Some(left_out) = refusals.pass(caller.account) {
        let (uid, pid) = (caller.uid, caller.process.pid);
        tracing::warn!(uid, pid, left_out, "a peer was disconnected: {reason}");
    }
}

/// A panic ends the connection it happened in, and is a bug of ours to be told.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection panicked");
    }
}
