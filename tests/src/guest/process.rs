//! The processes of a guest: waited for with a deadline, and what they cost.

use std::fs;
use std::io;
use std::ops::Add;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// What a guest took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// From its start to its end.
    pub wall: Duration,
    /// The processors' time of QEMU and virtiofsd.
    pub cpu: Duration,
}

/// A process that is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Owned(pub(crate) Child);

impl Owned {
    /// Waits until it ends; `false` when it still runs at `end`.
    pub(crate) fn ends_before(&self, end: Instant) -> io::Result<bool> {
        let pidfd = pidfd_open(Pid::from_child(&self.0), PidfdFlags::empty())?;
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        Ok(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left))? == 1)
    }

    /// Kills it, if it still runs; its status and the processor time it used.
    pub(crate) fn end(mut self) -> io::Result<(ExitStatus, Duration)> {
        self.0.kill()?;
        // Until it is waited for its figures can be read.
        self.ends_before(Instant::now() + Duration::from_secs(60))?;
        let used = processor_time(self.0.id());
        Ok((self.0.wait()?, used))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// User and system time of a process, `proc_pid_stat(5)`: the fields 14 and 15.
fn processor_time(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let (_, fields) = text.rsplit_once(") ").unwrap_or_default();
    let ticks: u64 =
        fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { wall: self.wall + other.wall, cpu: self.cpu + other.cpu }
    }
}
