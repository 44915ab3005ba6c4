//! The test's end of a peer process.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::child::{ARGUMENT, SELF};
use super::identity::named;
use super::wire::{Answer, Order, Part, Start};

/// A running peer. It ends when this is dropped: its standard input does.
#[derive(Debug)]
pub(super) struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// Its number here.
    pub(super) outside: i32,
    /// Its number in its own pid namespace.
    pub(super) inside: u32,
    /// What the daemon takes a client for.
    pub(super) class: Option<String>,
}

impl Peer {
    /// Starts it and waits until it is who it is to be.
    pub(super) fn start(start: &Start) -> Self {
        let text = serde_json::to_string(start).expect("plain data");
        let mut command = Command::new(SELF);
        command.args([ARGUMENT, &text]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("ourselves");
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = BufReader::new(output.expect("piped"));
        let mut peer = Self { child, input, output, outside: 0, inside: 0, class: None };
        peer.settle(start);
        if matches!(start.part, Part::Client(_)) {
            peer.class = Some(peer.hear());
        }
        peer
    }

    /// The two numbers come in either order when there is a pid namespace in between.
    fn settle(&mut self, start: &Start) {
        let number = |text: &str| text.parse::<u32>().expect("a process number");
        while self.outside == 0 || self.inside == 0 {
            let line = self.hear();
            match line.split_once(' ') {
                Some(("outside", pid)) => self.outside = number(pid).cast_signed(),
                Some(("inside", pid)) => self.inside = number(pid),
                _ if line == "map" => self.map(&start.identity),
                _ => panic!("a peer says {line:?}"),
            }
        }
    }

    fn map(&mut self, identity: &str) {
        let namespace = named(identity).user_ns.expect("it has just made one");
        for (file, (inside, outside, length)) in
            [("gid_map", namespace.gids), ("uid_map", namespace.uids)]
        {
            let path = format!("/proc/{}/{file}", self.outside);
            let result = std::fs::write(&path, format!("{inside} {outside} {length}"));
            result.unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        self.say("");
    }

    /// Has something done, and waits for what came of it.
    pub(super) fn ask(&mut self, order: &Order) -> Answer {
        self.say(&serde_json::to_string(order).expect("plain data"));
        let line = self.hear();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("open until it is dropped");
        writeln!(input, "{line}").expect("it listens");
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        let length = self.output.read_line(&mut line).expect("a pipe");
        assert!(length > 0, "a peer ends before its time; its reason is above");
        line.trim_end().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}
