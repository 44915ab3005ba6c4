//! What a worker process is told to do. It runs with the ids and on the CPU that are measured,
//! so that the one who tells it stays root, and out of the way.

use std::path::PathBuf;

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The worker itself, by system calls.
    Direct,
    /// The daemon, asked by the worker.
    Daemon,
    /// The daemon, asked as clients of cgmanager do.
    Old,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Daemon => "daemon",
            Self::Old => "old",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Direct, Self::Daemon, Self::Old].into_iter().find(|side| side.name() == name)
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Ping,
    Create,
    WriteFile,
    ReadFile,
    SetLimits,
    GetLimits,
    AttachPids,
    CreateFull,
    Remove,
    Connect,
}

impl Op {
    /// In the order of a cgroup's life: what one leaves is what the next needs.
    pub(crate) const CALLS: [Self; 8] = [
        Self::Ping,
        Self::Create,
        Self::WriteFile,
        Self::ReadFile,
        Self::SetLimits,
        Self::GetLimits,
        Self::AttachPids,
        Self::Remove,
    ];

    /// Those that cgmanager's interface has too.
    pub(crate) const OLD_CALLS: [Self; 6] =
        [Self::Ping, Self::Create, Self::WriteFile, Self::ReadFile, Self::AttachPids, Self::Remove];

    /// What cgmanager calls it.
    pub(crate) fn old_name(self) -> &'static str {
        match self {
            Self::WriteFile => "SetValue",
            Self::ReadFile => "GetValue",
            Self::AttachPids => "MovePid",
            same => same.name(),
        }
    }

    /// The member's name, or what is done with it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ping => "Ping",
            Self::Create => "Create",
            Self::WriteFile => "WriteFile",
            Self::ReadFile => "ReadFile",
            Self::SetLimits => "SetLimits",
            Self::GetLimits => "GetLimits",
            Self::AttachPids => "AttachPids",
            Self::CreateFull => "Create+4+1",
            Self::Remove => "Remove",
            Self::Connect => "connect",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let extra = [Self::CreateFull, Self::Connect];
        Self::CALLS.into_iter().chain(extra).find(|op| op.name() == name)
    }
}

/// One worker's task.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) side: Side,
    pub(crate) op: Op,
    /// Calls of each connection; 0: at a steady pace, until standard input ends.
    pub(crate) count: usize,
    pub(crate) connections: usize,
    pub(crate) pinned: bool,
    /// The server's socket and process; the echo server's for a direct Ping.
    pub(crate) socket: PathBuf,
    pub(crate) server: u32,
    pub(crate) controller: String,
    /// The run's own cgroup, and the parent of those that are made, below it.
    pub(crate) root: String,
    pub(crate) parent: String,
    /// Processes to move, one for each connection.
    pub(crate) pids: Vec<u32>,
}

impl Job {
    pub(crate) fn to_arguments(&self) -> Vec<String> {
        let pids: Vec<String> = self.pids.iter().map(u32::to_string).collect();
        vec![
            self.side.name().to_owned(),
            self.op.name().to_owned(),
            self.count.to_string(),
            self.connections.to_string(),
            u8::from(self.pinned).to_string(),
            self.socket.display().to_string(),
            self.server.to_string(),
            self.controller.clone(),
            self.root.clone(),
            self.parent.clone(),
            pids.join(","),
        ]
    }

    pub(crate) fn parse(arguments: &[String]) -> Option<Self> {
        let [side, op, count, connections, pinned, socket, server, controller, root, parent, pids] =
            arguments
        else {
            return None;
        };
        Some(Self {
            side: Side::parse(side)?,
            op: Op::parse(op)?,
            count: count.parse().ok()?,
            connections: connections.parse().ok()?,
            pinned: pinned == "1",
            socket: socket.into(),
            server: server.parse().ok()?,
            controller: controller.clone(),
            root: root.clone(),
            parent: parent.clone(),
            pids: pids.split(',').filter_map(|pid| pid.parse().ok()).collect(),
        })
    }
}
