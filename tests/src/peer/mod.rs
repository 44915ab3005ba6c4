//! Processes of any identity that connect to the daemon. A peer is this executable once more,
//! told step by step to give up ids, enter namespaces, and connect. The socket it connected
//! comes back to the test, which speaks on it: the daemon sees the peer.

mod agent;
mod channel;
pub mod misfit;
pub mod unflushed;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use crate::client::{self, Client};
use crate::daemon::Daemon;
use channel::Channel;

/// An ordinary user that no system has.
pub const ALICE: u32 = 64_101;
/// Another one.
pub const BOB: u32 = 64_102;
/// The first of 65,536 ids of a container.
pub const RANGE: u32 = 700_000_000;
/// The first of 65,536 ids of another container.
pub const OTHER_RANGE: u32 = 700_100_000;

const AGENT: &str = "--cgroupd-test-peer";
const SLEEPER: &str = "--cgroupd-test-sleeper";
const TIED: &str = "--cgroupd-test-tied";
const BOMB: &str = "--cgroupd-test-bomb";
const STUCK: &str = "--cgroupd-test-stuck";
const SENDER: &str = "--cgroupd-test-sender";
const UNFLUSHED: &str = "--cgroupd-test-unflushed";
/// A link that works for every user, also where the path to the executable is root's.
const SELF: &str = "/proc/self/exe";

/// A process that does what it is told. It ends when this is dropped.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    channel: Channel,
    pid: i32,
    /// Uid and gid as its present user namespace calls them.
    ids: (u32, u32),
}

/// Which ids a new user namespace has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// The peer maps its own id to 0, as `unshare -r` does.
    Own,
    /// The test maps 65,536 ids from here to 0 and up, and the peer becomes 0 of them.
    Range(u32),
    /// None at all.
    Nothing,
}

/// A process in two pid namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pids {
    /// As the peer calls it.
    pub inside: u32,
    /// As the test calls it.
    pub outside: i32,
}

/// How a command ended, and what it wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit status; -1 for a signal.
    pub status: i32,
    /// Standard output, then standard error.
    pub text: String,
}

impl Peer {
    /// A root process in this one's namespaces and cgroups.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        let (channel, end) = Channel::pair().expect("a pair of sockets");
        let child = Command::new(SELF).arg(AGENT).stdin(end).spawn().expect("ourselves");
        let peer = Self { pid: child.id().cast_signed(), child, channel, ids: (0, 0) };
        peer.expect_answer("start");
        peer
    }

    /// Its number in this process's pid namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Takes these ids, and no capability if the uid is not 0.
    pub fn ids(&mut self, uid: u32, gid: u32, groups: &[u32]) {
        let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
        self.tell(&["ids", &uid.to_string(), &gid.to_string(), &groups.join(",")]);
        self.ids = (uid, gid);
    }

    /// The same, with the groups that it has.
    pub fn ids_but_groups(&mut self, uid: u32, gid: u32) {
        self.tell(&["ids-but-groups", &uid.to_string(), &gid.to_string()]);
        self.ids = (uid, gid);
    }

    /// Makes a user namespace.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn user_ns(&mut self, map: Map) {
        self.tell(&["unshare", "user"]);
        match map {
            Map::Nothing => {}
            Map::Own => {
                self.tell(&["map-own", &self.ids.0.to_string(), &self.ids.1.to_string()]);
                self.ids = (0, 0);
            }
            Map::Range(base) => {
                for file in ["uid_map", "gid_map"] {
                    let result =
                        fs::write(format!("/proc/{}/{file}", self.pid), format!("0 {base} 65536"));
                    result.unwrap_or_else(|error| panic!("{file}: {error}"));
                }
                self.ids(0, 0, &[]);
            }
        }
    }

    /// Enters the user namespace of another process.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn join_user_ns(&mut self, pid: i32) {
        self.tell(&["join-user", &pid.to_string()]);
    }

    /// Makes a pid namespace and becomes its first process.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn pid_ns(&mut self) {
        self.tell(&["unshare", "pid"]);
        self.tell(&["spawn-self"]);
        self.pid = *children(self.pid).first().expect("it has just been started");
    }

    /// Makes a cgroup namespace, whose roots are the peer's present cgroups.
    pub fn cgroup_ns(&mut self) {
        self.tell(&["unshare", "cgroup"]);
    }

    /// Makes a mount namespace.
    pub fn mount_ns(&mut self) {
        self.tell(&["unshare", "mount"]);
    }

    /// Makes a network namespace.
    pub fn network_ns(&mut self) {
        self.tell(&["unshare", "network"]);
    }

    /// Calls itself something else, as `/proc/PID/comm` shows it.
    pub fn rename(&mut self, name: &str) {
        self.tell(&["rename", name]);
    }

    /// Gives up the effective CAP_SYS_ADMIN.
    pub fn drop_sys_admin(&mut self) {
        self.tell(&["drop-sys-admin"]);
    }

    /// Takes so many MiB of memory, which the kernel needs time to free when it ends.
    pub fn grow(&mut self, mebibytes: u32) {
        self.tell(&["grow", &mebibytes.to_string()]);
    }

    /// Connects to the daemon and shakes hands.
    ///
    /// # Panics
    /// When the daemon does not take it.
    pub fn connect(&mut self, daemon: &Daemon) -> Client {
        self.try_connect(daemon).expect("the daemon takes the peer")
    }

    /// As [`Self::connect`].
    ///
    /// # Errors
    /// When the daemon does not take it.
    pub fn try_connect(&mut self, daemon: &Daemon) -> client::Result<Client> {
        let client = Client::try_over(self.stream(&daemon.socket()));
        self.let_go();
        client
    }

    /// A connected socket. The peer, which the daemon must find with it, has a copy (another
    /// descriptor than the one that it connected) until [`Self::let_go`], or its next connection.
    ///
    /// # Panics
    /// When it cannot connect.
    pub fn stream(&mut self, path: &Path) -> UnixStream {
        let path = path.to_str().expect("a readable path");
        let (_, descriptor) = self.tell(&["connect", path]);
        descriptor.expect("a socket").into()
    }

    /// Has the peer close its copy of the socket that it connected last.
    pub fn let_go(&mut self) {
        self.tell(&["let-go"]);
    }

    /// Starts a process of this user (as the peer counts) that does nothing.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn sleeper(&mut self, uid: u32) -> Pids {
        self.child(&["sleeper", &uid.to_string()])
    }

    /// Starts a command, which must end by itself or with its cgroup.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(&mut self, command: &[&str]) -> Pids {
        self.child(&[&["start"], command].concat())
    }

    fn child(&mut self, words: &[&str]) -> Pids {
        let before = children(self.pid);
        let (inside, _) = self.tell(words);
        let outside = children(self.pid).into_iter().find(|pid| !before.contains(pid));
        let inside = inside.parse().expect("a number");
        Pids { inside, outside: outside.expect("it has just been started") }
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(&mut self, command: &[&str]) -> Output {
        let words = [&["run"], command].concat();
        let (answer, _) = self.tell(&words);
        let (status, text) = answer.split_once('\n').expect("a status line");
        Output { status: status.parse().expect("a number"), text: text.to_owned() }
    }

    /// Becomes another program, in the same process.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn exec(&mut self, command: &[&str]) {
        let words = [&["exec"], command].concat();
        self.channel.send(&words.join("\0"), None).expect("it listens");
        // The channel is closed on exec: a refusal comes back, success ends it.
        let answer = self.channel.receive().expect("a socket");
        assert_eq!(answer.map(|(text, _)| text), None, "exec {command:?}");
    }

    /// Kills it, without waiting for what it has to say.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn kill(&mut self) {
        self.child.kill().expect("it lives");
        self.child.wait().expect("our child");
    }

    fn tell(&mut self, words: &[&str]) -> (String, Option<OwnedFd>) {
        self.channel.send(&words.join("\0"), None).expect("it listens");
        self.expect_answer(&words.join(" "))
    }

    fn expect_answer(&self, what: &str) -> (String, Option<OwnedFd>) {
        let answer = self.channel.receive().expect("a socket");
        let (text, descriptor) = answer.unwrap_or_else(|| panic!("the peer ends: {what}"));
        match text.strip_prefix("error ") {
            Some(error) => panic!("the peer cannot {what}: {error}"),
            None => (text, descriptor),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // In a pid namespace of its own the child is only the one that waits. Once that has been
        // waited for, the number may be another process's.
        let is_inner = self.pid != self.child.id().cast_signed();
        if is_inner && self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let pid = nix::unistd::Pid::from_raw(self.pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that does nothing for two minutes as this user, or until this thread ends.
pub fn sleeper(uid: u32) -> Command {
    let mut command = own_sleeper();
    command.uid(uid).gid(uid);
    command
}

/// A program that is killed when this thread ends, however it ends.
pub fn tied(program: &str) -> Command {
    let mut command = Command::new(SELF);
    command.arg(TIED).arg(program);
    command
}

/// As [`sleeper`], as the present user.
fn own_sleeper() -> Command {
    let mut command = Command::new(SELF);
    command.arg(SLEEPER).stdin(Stdio::null());
    command
}

/// What the main function of every suite calls first: this executable may be a peer.
pub fn run_if_asked() -> Option<ExitCode> {
    match std::env::args().nth(1).as_deref() {
        Some(AGENT) => Some(agent::run()),
        Some(SLEEPER) => Some(agent::sleep()),
        Some(TIED) => Some(agent::tied()),
        Some(BOMB) => Some(misfit::bomb()),
        Some(STUCK) => Some(misfit::stuck()),
        Some(UNFLUSHED) => Some(unflushed::run()),
        Some(SENDER) => Some(unflushed::run_sender()),
        _ => None,
    }
}

/// The children of a process, by number.
pub fn children(parent: i32) -> Vec<i32> {
    let own = format!("PPid:\t{parent}");
    let numbers = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line == own)
    };
    let mut found: Vec<i32> = numbers.filter(is_child).collect();
    found.sort_unstable();
    found
}
