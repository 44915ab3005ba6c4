//! Where the microseconds of a call go: what the daemon has to ask the kernel besides the work
//! itself, measured as the same system calls made from here.

use std::io;
use std::time::Instant;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};
use rustix::thread::capabilities;

use crate::direct::{alive, beneath};
use crate::job::Op;
use crate::report::digits;
use crate::stats::{Cost, micros, percentile};

/// How often each is measured.
const TIMES: usize = 2_000;

/// In µs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    /// The caller's facts: alive, namespaces, capabilities, alive.
    facts: f64,
    /// Finding out that a cgroup is not in a hierarchy.
    absent: f64,
    hierarchies: usize,
}

impl Parts {
    /// `hierarchies`: the mount points that calls without a list of controllers look in.
    pub(crate) fn measure(hierarchies: &[std::path::PathBuf]) -> io::Result<Self> {
        let own = getpid();
        let pidfd = pidfd_open(own, PidfdFlags::empty())?;
        let process = open_directory(&format!("/proc/{}", Pid::as_raw(Some(own))))?;
        let facts = median(|| {
            alive(&pidfd)?;
            statat(&process, "ns/user", AtFlags::empty())?;
            statat(&process, "ns/cgroup", AtFlags::empty())?;
            capabilities(Some(own))?;
            alive(&pidfd)
        })?;
        let top = open_directory(&hierarchies[0].display().to_string())?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let absent = median(|| {
            let _ = beneath(&top, "cgroupd-test-bench-absent/x", flags);
            Ok(())
        })?;
        Ok(Self { facts, absent, hierarchies: hierarchies.len() })
    }

    /// One line that adds up to what `op` took.
    pub(crate) fn of(
        &self,
        op: Op,
        uid: u32,
        ping: Cost,
        direct: Cost,
        daemon: Cost,
    ) -> Vec<String> {
        if op == Op::Ping {
            let more = digits(daemon.p50 - direct.p50);
            return vec![format!("{more} µs more than an echo: D-Bus, the runtime, the guard")];
        }
        let elsewhere = match op {
            // The others name what they mean.
            Op::Remove | Op::AttachPids => self.absent * (self.hierarchies - 1) as f64,
            _ => 0.0,
        };
        let known = ping.p50 + direct.p50 + self.facts + elsewhere;
        let rest = match uid {
            0 => "arguments, permissions, the log",
            _ => "acting as the caller, arguments, permissions, the log",
        };
        vec![format!(
            "{} round trip + {} the work itself + {} the caller's facts + {} looking in other \
             hierarchies + {} the rest: {rest}",
            digits(ping.p50),
            digits(direct.p50),
            digits(self.facts),
            digits(elsewhere),
            digits(daemon.p50 - known),
        )]
    }
}

fn open_directory(path: &str) -> io::Result<rustix::fd::OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

fn median(mut work: impl FnMut() -> io::Result<()>) -> io::Result<f64> {
    let mut samples = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let began = Instant::now();
        work()?;
        samples.push(began.elapsed().as_nanos() as u64);
    }
    Ok(micros(percentile(&samples, 50)))
}
