//! What a test works with: a managed root of its own, a daemon on it, and host root's client.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};

use crate::cgroups::Cgroups;
use crate::client::Client;
use crate::daemon::Daemon;
use crate::need::patience;
use crate::peer::{Map, Peer};

/// A daemon, and everything around it. Fields are dropped in this order.
#[derive(Debug)]
pub struct World {
    /// This process: host root.
    pub root: Client,
    /// The daemon.
    pub daemon: Daemon,
    /// Its managed root.
    pub cgroups: Cgroups,
    /// The files that the daemon had open at first.
    open_files: usize,
}

/// The configuration of a daemon that serves all of cgmanager's interface on its private socket.
pub const CGMANAGER: &str = "[compat.cgmanager]\nprivate-socket = true\nscm = true\n";
/// What the daemon may take, in KiB.
pub const MOST_MEMORY: u64 = 64 << 10;
/// Files that the daemon opens when they are needed first, and keeps: those of watches.
const OPENED_ONCE: usize = 8;
/// How long it may take until nothing is charged to callers that are gone.
const GIVEN_BACK: Duration = Duration::from_secs(5);

/// A process that does nothing, and is killed when this is dropped.
#[derive(Debug)]
pub struct Sleeper {
    child: std::process::Child,
    pidfd: OwnedFd,
}

impl World {
    /// Starts a daemon for a test of `suite`.
    pub fn new(suite: &str) -> Self {
        Self::configured(suite, "")
    }

    /// Starts a daemon with the text of a configuration file.
    pub fn configured(suite: &str, configuration: &str) -> Self {
        let cgroups = Cgroups::new(suite);
        let daemon = Daemon::configured(&cgroups.path(), configuration);
        let root = daemon.connect();
        Self { root, open_files: daemon.open_files().len(), daemon, cgroups }
    }

    /// Ends the daemon, after all that was charged to callers has been given back.
    ///
    /// # Panics
    /// When it was not, or the daemon does not end cleanly.
    pub fn finish(self) {
        let Self { root, daemon, cgroups, open_files } = self;
        drop(root);
        wait_given_back(&daemon, open_files);
        daemon.stop();
        drop(cgroups);
    }

    /// A peer with the daemon's namespaces and these ids, and a client that it connected.
    pub fn user(&self, uid: u32) -> Caller {
        let mut peer = Peer::start();
        peer.ids(uid, uid, &[]);
        self.calls(peer)
    }

    /// As [`Self::user`], placed in `path` in every implied hierarchy before.
    pub fn user_in(&self, uid: u32, path: &str) -> Caller {
        let mut peer = self.peer_in(path);
        peer.ids(uid, uid, &[]);
        self.calls(peer)
    }

    /// The root of a container: a cgroup of its own at `path`, handed over to it, and user, pid
    /// and cgroup namespaces with 65,536 ids from `base`.
    pub fn container(&self, path: &str, base: u32) -> Caller {
        self.cgroups.make_for(path, base);
        let mut peer = self.peer_in(path);
        peer.user_ns(Map::Range(base));
        peer.cgroup_ns();
        peer.pid_ns();
        self.calls(peer)
    }

    /// A root process in `path` in every implied hierarchy.
    pub fn peer_in(&self, path: &str) -> Peer {
        let peer = Peer::start();
        self.cgroups.put(path, peer.pid());
        peer
    }

    /// A client that a peer connects.
    ///
    /// # Panics
    /// When the daemon does not take it.
    pub fn calls(&self, mut peer: Peer) -> Caller {
        let client = peer.connect(&self.daemon);
        Caller { client, peer }
    }
}

/// Waits until nothing is charged but this client's own connection and call, and what outlives
/// connections.
fn wait_given_back(daemon: &Daemon, open_files: usize) {
    let own = daemon.connect();
    let lasts = |resource: &str| resource == "promises" || resource.starts_with("cgroups:");
    let is_own = |account: &str, resource: &str| {
        account == "root" && ["connections", "calls"].contains(&resource)
    };
    let end = Instant::now() + patience(GIVEN_BACK);
    loop {
        let mut rows = own.accounts().expect("host root may ask");
        rows.retain(|(account, resource, ..)| !lasts(resource) && !is_own(account, resource));
        let files = daemon.open_files();
        if rows.is_empty() && files.len() <= open_files + OPENED_ONCE {
            break;
        }
        let left = format!("charged {rows:?}, {open_files} files at first, now {files:?}");
        assert!(Instant::now() < end, "not given back after {GIVEN_BACK:?}: {left}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let memory = daemon.memory("VmHWM");
    assert!(memory < MOST_MEMORY, "the daemon had {memory} KiB");
}

/// A client and the process that it is.
#[derive(Debug)]
pub struct Caller {
    client: Client,
    /// The process.
    pub peer: Peer,
}

impl std::ops::Deref for Caller {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Sleeper {
    /// A process of this user in the cgroups of this one.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(uid: u32) -> Self {
        Self::holding(uid, Stdio::null())
    }

    /// As [`Self::start`], with this as its standard input.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn holding(uid: u32, stdin: impl Into<Stdio>) -> Self {
        let child = crate::peer::sleeper(uid).stdin(stdin).spawn();
        let child = child.expect("our own executable runs");
        let pid = rustix::process::Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("our own child");
        Self { child, pidfd }
    }

    /// Its number in this process's pid namespace.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// A descriptor of it.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Kills it; its pidfd stays, and refers to nothing.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn end(&mut self) {
        kill(Pid::from_raw(self.pid()), Signal::SIGKILL).expect("it lives");
        self.child.wait().expect("our child");
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let end = Instant::now() + Duration::from_secs(2);
        // A frozen one ends when its cgroup is swept.
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < end {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}
