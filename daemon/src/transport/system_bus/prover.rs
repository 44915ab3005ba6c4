//! One look at the bus's sockets serves everybody who waits for one: however many strangers
//! call at once, nobody waits for more than the look under way and the next.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::UnixAddr;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use zbus::Connection;

use super::prove::{BusProcess, Claim, Proof, Unproven};
use super::{address, driver};
use crate::caller::Process;
use crate::service::Service;
use crate::sys::socket;

/// How long the search for the bus rests when descriptors or memory ran out.
const PAUSE: Duration = Duration::from_millis(200);
/// Claims that one look answers.
const BATCH: usize = 64;

/// What our own socket says of its other end, asked before zbus owns the socket.
#[derive(Debug)]
pub(super) struct OtherEnd {
    name: UnixAddr,
    listener: nix::Result<OwnedFd>,
}

impl OtherEnd {
    pub(super) fn of(stream: &UnixStream) -> nix::Result<Self> {
        Ok(Self { name: address::own_name(stream)?, listener: socket::peer_pidfd(stream) })
    }

    fn listener(&self) -> nix::Result<Process> {
        let pidfd = self.listener.as_ref().map_err(|errno| *errno)?;
        Process::from_pidfd(pidfd.try_clone().map_err(|_| Errno::EMFILE)?)
    }
}

type Answer = oneshot::Sender<Result<Proof, Unproven>>;

/// Asks for proofs.
#[derive(Clone, Debug)]
pub(super) struct Prover(mpsc::Sender<(Claim, Answer)>);

impl Prover {
    /// Starts the work, which ends with the last handle.
    pub(super) fn start(other_end: OtherEnd, bus: Connection, service: Arc<Service>) -> Self {
        let (sender, receiver) = mpsc::channel(BATCH);
        tokio::spawn(serve(receiver, other_end, bus, service));
        Self(sender)
    }

    /// A proof by a look that starts after this call.
    pub(super) async fn prove(&self, claim: Claim) -> Result<Proof, Unproven> {
        let (answer, proof) = oneshot::channel();
        self.0.send((claim, answer)).await.map_err(|_| Unproven::NotTheBus)?;
        proof.await.unwrap_or(Err(Unproven::NotTheBus))
    }
}

async fn serve(
    mut asked: mpsc::Receiver<(Claim, Answer)>,
    other_end: OtherEnd,
    bus: Connection,
    service: Arc<Service>,
) {
    let other_end = Arc::new(other_end);
    let mut known = None;
    // Found before anybody asks: it is among those whom nobody stops.
    let mut process = found(&mut known, &other_end, &bus, &service).await;
    let mut batch = Vec::new();
    loop {
        let look_again = process.as_ref().is_err_and(Unproven::is_transient);
        tokio::select! {
            count = asked.recv_many(&mut batch, BATCH) => if count == 0 { return },
            () = sleep(PAUSE), if look_again => {}
        }
        process = found(&mut known, &other_end, &bus, &service).await;
        let process = process.clone();
        let (claims, answers): (Vec<Claim>, Vec<Answer>) = batch.drain(..).unzip();
        let look = move || match process {
            Ok(process) => process.prove(&claims),
            Err(why) => claims.iter().map(|_| Err(why.clone())).collect(),
        };
        let proofs = match on_a_thread(look).await {
            Ok(proofs) => proofs,
            Err(why) => answers.iter().map(|_| Err(why.clone())).collect(),
        };
        for (answer, proof) in answers.into_iter().zip(proofs) {
            // Who asked may have left meanwhile.
            let _ = answer.send(proof);
        }
    }
}

/// The process of the bus, looked for until it is known; then it is guarded too.
async fn found(
    known: &mut Option<Arc<BusProcess>>,
    other_end: &Arc<OtherEnd>,
    bus: &Connection,
    service: &Service,
) -> Result<Arc<BusProcess>, Unproven> {
    if let Some(known) = known {
        return Ok(Arc::clone(known));
    }
    let process = find(other_end, bus).await?;
    service.guarded.set_bus(process.process()?);
    Ok(Arc::clone(known.insert(Arc::new(process))))
}

/// The peer of our socket is who *listened*. With socket activation that is not the bus, which
/// then says its own number; either must hold the other end of our connection.
async fn find(other_end: &Arc<OtherEnd>, bus: &Connection) -> Result<BusProcess, Unproven> {
    let stated = driver::own_pid(bus).await.ok().and_then(|pid| i32::try_from(pid).ok());
    let other_end = Arc::clone(other_end);
    let look = move || {
        let confirm = |process| BusProcess::confirm(process, &other_end.name);
        let listener = other_end.listener().map_err(Unproven::from).and_then(confirm);
        listener.or_else(|why| {
            // Resources that ran out say nothing about who listened.
            if why.is_transient() {
                return Err(why);
            }
            let stated = stated.ok_or(why)?;
            confirm(Process::pin(stated)?)
        })
    };
    on_a_thread(look).await?
}

/// Runs `work` on a thread of its own: those of the runtime may all be busy with writes that take
/// long.
///
/// # Errors
/// EAGAIN when no thread can be started; NotTheBus when `work` panicked.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unproven> {
    let (done, result) = oneshot::channel();
    let thread = std::thread::Builder::new().name("bus-proof".to_owned()).spawn(move || {
        let _ = done.send(work());
    });
    thread.map_err(|_| Unproven::Unreadable(Errno::EAGAIN))?;
    result.await.map_err(|_| Unproven::NotTheBus)
}
