//! Clients in processes of their own: this program again, told by a variable what to be.

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};

use cgroupd_tests::bus::Bus;
use cgroupd_tests::wire::{Received, Wire};

use crate::daemon::{cgroup_of_call, ping_call, who_am_i_call};

const ROLE: &str = "CGROUPD_TEST_ROLE";
const SOCKET: &str = "CGROUPD_TEST_SOCKET";

/// What a process is.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    /// A client that connects and calls.
    Client,
    /// A client that connects and ends; its child calls on its connection.
    Orphaner,
}

/// Whom it runs as.
#[derive(Clone, Copy)]
pub(crate) struct Who {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: &'static str,
}

pub(crate) const ROOT: Who = Who { uid: 0, gid: 0, groups: "0" };
pub(crate) const NOBODY: Who = Who { uid: 65534, gid: 65534, groups: "65534" };

/// A client in another process.
pub(crate) struct Actor {
    child: Child,
    orders: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    /// Its unique name.
    pub(crate) name: String,
    /// The process that connected.
    pub(crate) pid: i32,
}

impl Actor {
    pub(crate) fn start(role: Role, who: Who, bus: &Bus) -> Self {
        let mut child = command(role, who, &bus.socket()).spawn().expect("this program again");
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("piped")).lines();
        let pid = child.id().cast_signed();
        let mut actor = Self { child, orders, answers, name: String::new(), pid };
        actor.name = actor.answer();
        if matches!(role, Role::Orphaner) {
            actor.child.wait().expect("a child of ours");
        }
        actor
    }

    /// Has it call `ping`, `whoami` or `cgroup` (of its own process), and returns the answer in a line.
    pub(crate) fn say(&mut self, order: &str) -> String {
        let orders = self.orders.as_mut().expect("not ended");
        writeln!(orders, "{order}").expect("it listens");
        self.answer()
    }

    fn answer(&mut self) -> String {
        self.answers.next().expect("it answers").expect("text")
    }
}

impl Drop for Actor {
    /// Without orders it ends, and so does its child.
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.child.wait();
        for _ in self.answers.by_ref() {}
    }
}

fn command(role: Role, who: Who, socket: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={}", who.uid)).arg(format!("--regid={}", who.gid));
    command.arg(format!("--groups={}", who.groups)).arg("--");
    command.arg(std::env::current_exe().expect("/proc is mounted"));
    let name = match role {
        Role::Client => "client",
        Role::Orphaner => "orphaner",
    };
    command.env(ROLE, name).env(SOCKET, socket);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Plays the role this process was started for, if any.
pub(crate) fn play() -> Option<ExitCode> {
    let role = std::env::var(ROLE).ok()?;
    let socket = std::env::var(SOCKET).unwrap_or_default();
    match role.as_str() {
        "orphan" => {
            // The connection came in the place of stderr.
            let socket = std::io::stderr().as_fd().try_clone_to_owned().expect("a connection");
            obey(Wire::inherited(socket));
        }
        _ => {
            let mut wire = Wire::connect(Path::new(&socket)).expect("the bus runs");
            println!("{}", wire.hello().expect("the bus answers"));
            match role.as_str() {
                "orphaner" => leave_to_child(wire),
                _ => obey(wire),
            }
        }
    }
    Some(ExitCode::SUCCESS)
}

/// The child has the connection, the orders and the answers; this process ends.
fn leave_to_child(wire: Wire) -> ! {
    let mut command = Command::new(std::env::current_exe().expect("/proc is mounted"));
    command.env(ROLE, "orphan").stderr(Stdio::from(wire.into_socket())).process_group(0);
    // The first process ends now; whoever adopts the second waits for it.
    let _child = command.spawn().expect("this program again");
    std::process::exit(0);
}

fn obey(mut wire: Wire) {
    for order in std::io::stdin().lines().map_while(Result::ok) {
        let call = match order.as_str() {
            "ping" => ping_call(),
            "whoami" => who_am_i_call(),
            _ => cgroup_of_call(std::process::id()),
        };
        let answer = wire.call(&call).map_or_else(|error| error.to_string(), |it| describe(&it));
        println!("{answer}");
    }
}

fn describe(answer: &Received) -> String {
    if answer.is_error() {
        let text = answer.text();
        let name = text.split('\0').find(|part| part.contains(".Error."));
        return format!("error {}", name.unwrap_or("without a name"));
    }
    let keys = ["proven", "uid", "gid", "class"].into_iter();
    let known = keys.filter_map(|key| answer.entry(key).map(|value| format!("{key}={value}")));
    known.chain(["ok".to_owned()]).collect::<Vec<_>>().join(" ")
}
