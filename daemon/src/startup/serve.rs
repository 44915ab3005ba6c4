//! The daemon at work: its transports run, signals change or end that.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::reload::{Reload, ReloadError};
use super::settler::Settler;
use super::{Failure, Notifier, describe};
use crate::accounting::Bounds;
use crate::api::{Cgmanager, Dispatcher};
use crate::caller::Host;
use crate::cgroup::handle::errno_of;
use crate::cli::Cli;
use crate::config::{Config, Loaded, group_id};
use crate::log;
use crate::transport::{Limits, Peers, PrivateSocket, SocketFile, system_bus};

/// Everything that is needed to serve.
pub(super) struct Daemon<'a> {
    pub(super) cli: &'a Cli,
    pub(super) config: Config,
    pub(super) log: log::Handle,
    pub(super) notifier: Notifier,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) host: Host,
    pub(super) settler: Settler,
}

/// What a running transport hears from us.
struct Reins {
    limits: watch::Sender<Limits>,
    stop: watch::Sender<bool>,
}

impl Daemon<'_> {
    /// Serves until SIGTERM or SIGINT, and answers until when the rest of the daemon has to end.
    /// Calls that are under way then have [`LAST_CALLS`] to finish; another signal meanwhile ends
    /// the daemon at once.
    pub(super) async fn serve(mut self) -> Result<Instant, Failure> {
        let mut signals = Signals::install()?;
        let reins =
            Reins { limits: watch::channel(self.config.limits).0, stop: watch::channel(false).0 };
        // Removed when this function ends, however late the tasks of the transports do.
        let sockets = self.sockets()?;
        let (_files, sockets): (Vec<SocketFile>, Vec<_>) = sockets.into_iter().unzip();
        let mut transports = self.transports(sockets, &reins);
        tracing::info!("{}", describe(&self.dispatcher.service().layout, &self.config));
        self.notifier.ready();
        self.settler.ask();
        let service = Arc::clone(self.dispatcher.service());
        tokio::spawn(async move { service.audit.sum_up_later().await });
        self.wait(&mut signals, &mut transports, &reins.limits).await?;

        self.notifier.stopping();
        tracing::info!("stopping");
        let deadline = Instant::now() + LAST_CALLS;
        reins.stop.send_replace(true);
        let finished = tokio::select! {
            result = timeout_at(deadline.into(), finish(&mut transports, &self.dispatcher)) => result,
            () = signals.stop() => return Ok(stopped_early(Instant::now())),
        };
        self.dispatcher.service().audit.sum_up();
        finished
            .map_or_else(|_| Ok(stopped_early(deadline)), |finished| finished.map(|()| deadline))
    }

    /// Every transport is a task.
    fn transports(
        &self,
        sockets: Vec<PrivateSocket>,
        reins: &Reins,
    ) -> JoinSet<Result<(), Failure>> {
        let (dispatcher, limits) = (Arc::clone(&self.dispatcher), reins.limits.subscribe());
        let peers = Arc::new(Peers::new(dispatcher, self.host, limits));
        let mut transports = JoinSet::new();
        for socket in sockets {
            let (peers, stop) = (Arc::clone(&peers), stopped(&reins.stop));
            transports.spawn(async move {
                let served = socket.serve(peers, stop).await;
                served.map_err(|e| Failure::kernel("watch the socket")(errno_of(e)))
            });
        }
        if self.config.system_bus.enable {
            let (dispatcher, host) = (Arc::clone(&self.dispatcher), self.host);
            let (limits, stop) = (reins.limits.subscribe(), stopped(&reins.stop));
            let trust_pid = self.config.system_bus.trust_pid;
            transports.spawn(async move {
                system_bus::run(dispatcher, host, limits, trust_pid, stop).await;
                Ok(())
            });
        }
        transports
    }

    /// The private socket, and where it is wanted the one that cgmanager's clients know.
    fn sockets(&self) -> Result<Vec<(SocketFile, PrivateSocket)>, Failure> {
        let socket = &self.config.socket;
        let old = &self.config.compat.cgmanager;
        // The same door twice: who may connect is decided once.
        let (mode, group) = (socket.mode.0, group(&socket.group)?);
        let sockets = [(&socket.path, old.private_socket), (&old.socket, true)]
            .map(|(path, is_served)| (path, Cgmanager::new(is_served, old.scm)));
        let wanted = sockets.into_iter().filter(|(path, _)| !path.as_os_str().is_empty());
        wanted
            .map(|(path, cgmanager)| {
                let (file, socket) = PrivateSocket::bind(path, mode, group)?;
                Ok((file, socket.with_cgmanager(cgmanager)))
            })
            .collect()
    }

    /// Until a signal says stop, or a transport fails.
    async fn wait(
        &mut self,
        signals: &mut Signals,
        transports: &mut JoinSet<Result<(), Failure>>,
        limits: &watch::Sender<Limits>,
    ) -> Result<(), Failure> {
        let mut reload = Reload::default();
        loop {
            tokio::select! {
                asked = signals.next() => match asked {
                    Asked::Stop => return Ok(()),
                    Asked::Reload => {
                        self.notifier.reloading();
                        reload.ask(self.cli);
                    }
                },
                loaded = reload.done() => {
                    self.take(loaded, limits);
                    match reload.is_outdated() {
                        true => reload.ask(self.cli),
                        false => self.notifier.ready(),
                    }
                }
                Some(ended) = transports.join_next() => outcome(ended)?,
            }
        }
    }

    /// What cannot change while it runs is said, and keeps its old value. A configuration with
    /// mistakes changes nothing.
    fn take(&mut self, loaded: Result<Loaded, ReloadError>, limits: &watch::Sender<Limits>) {
        match loaded {
            Ok(loaded) => self.apply(&loaded.config, limits),
            Err(error) => {
                error.to_string().lines().for_each(|line| tracing::error!("{line}"));
                tracing::error!("the configuration stays as it was");
            }
        }
    }

    fn apply(&mut self, new: &Config, limits: &watch::Sender<Limits>) {
        for key in self.config.differing_keys(new) {
            match is_live(&key) {
                true => tracing::info!("{key} changed"),
                false => tracing::warn!("{key} changed in the configuration: restart to apply it"),
            }
        }
        self.config.limits = new.limits;
        self.config.log.level = new.log.level;
        self.log.set_level(new.log.level);
        if self.config.delegate != new.delegate {
            self.config.delegate = new.delegate.clone();
            self.dispatcher.service().delegations.set(&new.delegate);
            self.settler.ask();
        }
        self.dispatcher.service().accounts.change_bounds(|now| Bounds {
            calls_per_account: now.calls_per_account,
            handshakes_per_account: now.handshakes_per_account,
            ..Bounds::new(&new.limits, now.cgroups_per_account)
        });
        limits.send_replace(new.limits);
        tracing::info!("configuration read again");
    }
}

/// Whether a key can change while the daemon runs. Turns of calls and handshakes are counted out
/// once, at start.
fn is_live(key: &str) -> bool {
    const AT_START: [&str; 2] = ["limits.changes-per-key", "limits.half-open-per-key"];
    ["log.level", "delegate"].contains(&key)
        || key.starts_with("limits.") && !AT_START.contains(&key)
}

/// The group's number; the daemon's own group is `None`.
fn group(name: &str) -> Result<Option<u32>, Failure> {
    if name.is_empty() {
        return Ok(None);
    }
    let found = group_id(name).and_then(|group| group.ok_or(nix::errno::Errno::ENOENT));
    found.map(Some).map_err(Failure::kernel(format!("look up group {name:?}")))
}

/// For all that is under way when the daemon is told to stop, together.
const LAST_CALLS: Duration = Duration::from_secs(10);

fn stopped_early(deadline: Instant) -> Instant {
    tracing::warn!("stopped before the last calls were answered");
    deadline
}

fn stopped(stop: &watch::Sender<bool>) -> impl Future<Output = ()> + use<> {
    let mut stop = stop.subscribe();
    async move {
        // An error means that nobody is left who could say stop.
        let _ = stop.wait_for(|stopped| *stopped).await;
    }
}

async fn finish(
    transports: &mut JoinSet<Result<(), Failure>>,
    dispatcher: &Dispatcher,
) -> Result<(), Failure> {
    while let Some(ended) = transports.join_next().await {
        outcome(ended)?;
    }
    dispatcher.end_talks().await;
    Ok(())
}

fn outcome(ended: Result<Result<(), Failure>, tokio::task::JoinError>) -> Result<(), Failure> {
    ended.unwrap_or_else(|error| Err(Failure::Transport(error.to_string())))
}

/// What a signal asks for.
enum Asked {
    Reload,
    Stop,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn install() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|e| Failure::kernel("listen to signals")(errno_of(e)));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    /// The next signal that says stop; it is too late to reload.
    async fn stop(&mut self) {
        while let Asked::Reload = self.next().await {}
    }
}
