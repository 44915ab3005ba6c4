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
}

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
        Self { root: daemon.connect(), daemon, cgroups }
    }

    /// Ends the daemon.
    ///
    /// # Panics
    /// When it does not end cleanly.
    pub fn finish(self) {
        let Self { root, daemon, cgroups } = self;
        drop(root);
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
