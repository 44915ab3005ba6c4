//! Every measured call twice: as a message to the daemon, and as the system calls it stands for.

use std::collections::BTreeMap;
use std::io;

use crate::direct::Direct;
use crate::job::{Job, Op, Side};
use crate::place::{is_on_v1, mount_of, one_of_each};
use crate::wire::{NONE, call, old_call, ping};

/// What a memory limit is written to and read from, on v1 and on v2.
const LIMIT_FILES: [&str; 2] = ["memory.limit_in_bytes", "memory.max"];
/// Two values in turn: a limit that does not change might cost less.
const LIMITS: [&str; 2] = ["67108864", "134217728"];
/// Where the cgroup of [`Op::CreateFull`] is made, and what is set there: the canonical name,
/// which is also v2's file, the controller, its file on v1, and the value for each.
const FULL: [(&str, &str, &str, &str); 4] = [
    ("memory.max", "memory", LIMIT_FILES[0], LIMITS[0]),
    ("memory.low", "memory", "memory.soft_limit_in_bytes", "33554432"),
    ("pids.max", "pids", "pids.max", "100"),
    ("cpu.weight", "cpu", "cpu.shares", "512"),
];
/// The controllers of [`FULL`].
pub(crate) const FULL_CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// The calls of one connection: names are made before the clock runs.
#[derive(Debug)]
pub(crate) struct Calls<'a> {
    job: &'a Job,
    names: Vec<String>,
    pid: u32,
    limit_file: &'static str,
}

impl<'a> Calls<'a> {
    pub(crate) fn new(job: &'a Job, connection: usize) -> Self {
        let names = (0..job.count.max(2)).map(|n| format!("{connection}-{n:06}")).collect();
        let limit_file = LIMIT_FILES[usize::from(!is_on_v1("memory"))];
        let pid = job.pids.get(connection).copied().unwrap_or_default();
        Self { job, names, pid, limit_file }
    }

    /// The call's messages, in order.
    pub(crate) fn messages(&self) -> Vec<Vec<u8>> {
        let message = |n| match self.job.side {
            Side::Old => self.old_message(n),
            _ => self.message(n),
        };
        (0..self.job.count.max(2)).map(message).collect()
    }

    /// The same through cgmanager's interface. The worker is in none of the run's cgroups: so its
    /// paths start at the managed root.
    fn old_message(&self, n: usize) -> Vec<u8> {
        let path = |n: usize| format!("{}/{}", self.job.parent, self.names[n]);
        let (op, controller) = (self.job.op, self.job.controller.as_str());
        let member = op.old_name();
        match op {
            Op::WriteFile => {
                let value = LIMITS[n % 2];
                old_call(member, &(controller, path(0), self.limit_file, value))
            }
            Op::ReadFile => old_call(member, &(controller, path(0), self.limit_file)),
            Op::AttachPids => old_call(member, &(controller, path(n % 2), self.pid.cast_signed())),
            Op::Remove => old_call(member, &(controller, path(n), 0)),
            Op::Create => old_call(member, &(controller, path(n))),
            _ => old_call("Ping", &1),
        }
    }

    fn message(&self, n: usize) -> Vec<u8> {
        let path = |n: usize| format!("/{}/{}", self.job.parent, self.names[n]);
        let controllers = vec![self.job.controller.as_str()];
        let limits = |limits: &[(&'static str, &'static str)]| -> BTreeMap<&str, &str> {
            limits.iter().copied().collect()
        };
        let no_descriptors: [zbus::Fd<'_>; 0] = [];
        match self.job.op {
            Op::Ping | Op::Connect => ping(),
            Op::Create => {
                call("Create", &(path(n), controllers, limits(&[]), &no_descriptors[..], NONE))
            }
            Op::CreateFull => self.full(&path(n)),
            Op::WriteFile => call("WriteFile", &(path(0), self.limit_file, LIMITS[n % 2], NONE)),
            Op::ReadFile => call("ReadFile", &(path(0), self.limit_file)),
            Op::SetLimits => {
                call("SetLimits", &(path(0), limits(&[("memory.max", LIMITS[n % 2])]), NONE))
            }
            Op::GetLimits => call("GetLimits", &(path(0), vec!["memory.max"])),
            Op::AttachPids => call("AttachPids", &(path(n % 2), vec![self.pid], NONE)),
            Op::Remove => call("Remove", &(path(n), NONE)),
        }
    }

    /// One call that makes, limits and fills a cgroup; the process is passed as a descriptor.
    fn full(&self, path: &str) -> Vec<u8> {
        let limits: BTreeMap<_, _> = FULL.iter().map(|(name, .., value)| (name, value)).collect();
        let own = io::stdin();
        let pidfd = [zbus::Fd::from(&own)];
        call("Create", &(path, &FULL_CONTROLLERS[..], limits, &pidfd[..], NONE))
    }

    /// The same effect by system calls.
    pub(crate) fn direct(&self, tops: &Tops, n: usize) -> io::Result<()> {
        let (parent, names) = (self.job.parent.as_str(), &self.names);
        let path = |n: usize| format!("{parent}/{}", names[n]);
        let top = tops.of(&self.job.controller)?;
        match self.job.op {
            Op::Ping | Op::Connect => Ok(()),
            Op::Create => top.create(parent, &names[n]),
            Op::WriteFile => top.write(&path(0), self.limit_file, LIMITS[n % 2]),
            Op::SetLimits => {
                top.write(&path(0), self.limit_file, LIMITS[n % 2])?;
                top.read(&path(0), self.limit_file).map(drop)
            }
            Op::ReadFile | Op::GetLimits => top.read(&path(0), self.limit_file).map(drop),
            Op::AttachPids => top.attach(&path(n % 2), self.pid),
            Op::CreateFull => self.direct_full(tops, n),
            Op::Remove => top.remove(parent, &names[n]),
        }
    }

    fn direct_full(&self, tops: &Tops, n: usize) -> io::Result<()> {
        let path = format!("{}/{}", self.job.parent, self.names[n]);
        for top in tops.each() {
            top.create(&self.job.parent, &self.names[n])?;
        }
        for (name, controller, file, value) in FULL {
            let top = tops.of(controller)?;
            top.write(&path, if top.is_v1 { file } else { name }, value)?;
        }
        tops.each().try_for_each(|top| top.attach(&path, self.pid))
    }
}

/// The run's own cgroup in each hierarchy, held open.
#[derive(Debug)]
pub(crate) struct Tops {
    by_controller: BTreeMap<&'static str, Direct>,
    /// One controller for each hierarchy of [`FULL_CONTROLLERS`].
    each: Vec<&'static str>,
}

impl Tops {
    pub(crate) fn open(job: &Job) -> io::Result<Self> {
        let mut by_controller = BTreeMap::new();
        for controller in FULL_CONTROLLERS {
            if let Some(mount) = mount_of(controller) {
                let top = Direct::new(&mount.join(&job.root), is_on_v1(controller))?;
                by_controller.insert(controller, top);
            }
        }
        Ok(Self { by_controller, each: one_of_each(&FULL_CONTROLLERS) })
    }

    fn of(&self, controller: &str) -> io::Result<&Direct> {
        let missing = || io::Error::other(format!("no hierarchy of {controller} is mounted"));
        self.by_controller.get(controller).ok_or_else(missing)
    }

    fn each(&self) -> impl Iterator<Item = &Direct> {
        self.each.iter().filter_map(|controller| self.by_controller.get(controller))
    }
}
