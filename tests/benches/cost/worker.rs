//! The processes that do the measured work. Each connection is a thread, and they start
//! together; what they took is written to standard output in binary.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::calls::{Calls, Tops};
use crate::job::{Job, Op, Side};
use crate::stats::Series;
use crate::wire::{Client, ping};

/// How often a call is made at a steady pace.
const PACE: Duration = Duration::from_millis(1);

/// Does a job and prints what it took.
pub(crate) fn run(job: &Job) -> io::Result<()> {
    if job.pinned {
        pin(None, true)?;
    }
    let series = if job.count == 0 { steadily(job)? } else { side_by_side(job)? };
    let mut bytes = Vec::with_capacity(16 + series.samples.len() * 8);
    for number in [series.elapsed.as_nanos() as u64, series.cpu.as_nanos() as u64] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(series.samples.iter().flat_map(|sample| sample.to_le_bytes()));
    io::stdout().write_all(&bytes)
}

/// What [`run`] printed.
pub(crate) fn parse(output: &[u8]) -> Option<Series> {
    let mut numbers =
        output.chunks_exact(8).map(|bytes| bytes.try_into().map(u64::from_le_bytes).unwrap_or(0));
    let elapsed = Duration::from_nanos(numbers.next()?);
    let cpu = Duration::from_nanos(numbers.next()?);
    Some(Series { samples: numbers.collect(), elapsed, cpu })
}

/// Keeps a thread (none: this one, and those it will start) on the first CPU, or lets it go.
pub(crate) fn pin(thread: Option<i32>, pinned: bool) -> io::Result<()> {
    let mut cpus = CpuSet::new();
    let online = thread::available_parallelism().map_or(1, usize::from);
    (0..if pinned { 1 } else { online.max(64) }).for_each(|cpu| cpus.set(cpu));
    Ok(sched_setaffinity(thread.and_then(Pid::from_raw), &cpus)?)
}

/// The CPU time of a process and all its threads, those that ended included.
pub(crate) fn cpu_time(process: u32) -> io::Result<Duration> {
    let pid = nix::unistd::Pid::from_raw(process as i32);
    let clock = nix::time::clock_getcpuclockid(pid)?;
    Ok(Duration::from(nix::time::clock_gettime(clock)?))
}

/// Every connection makes its calls one after the other.
fn side_by_side(job: &Job) -> io::Result<Series> {
    let start = Barrier::new(job.connections + 1);
    let start = &start;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..job.connections)
            .map(|connection| scope.spawn(move || connection_of(job, connection, start)))
            .collect();
        start.wait();
        let (began, cpu) = (Instant::now(), cpu_time(job.server)?);
        let mut samples = Vec::new();
        for thread in threads {
            let joined = thread.join();
            samples.extend(joined.unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))?);
        }
        let cpu = cpu_time(job.server)?.saturating_sub(cpu);
        Ok(Series { samples, elapsed: began.elapsed(), cpu })
    })
}

fn connection_of(job: &Job, connection: usize, start: &Barrier) -> io::Result<Vec<u64>> {
    let calls = Calls::new(job, connection);
    let prepared = prepare(job, &calls);
    start.wait();
    let mut work = prepared?;
    (0..job.count)
        .map(|n| {
            let began = Instant::now();
            work(n)?;
            Ok(began.elapsed().as_nanos() as u64)
        })
        .collect()
}

type Work<'a> = Box<dyn FnMut(usize) -> io::Result<()> + 'a>;

/// Everything that is not part of the call is done here.
fn prepare<'a>(job: &'a Job, calls: &'a Calls<'a>) -> io::Result<Work<'a>> {
    if job.op == Op::Connect {
        let message = ping();
        return Ok(Box::new(move |_| Client::connect(&job.socket, &message).map(drop)));
    }
    match (job.side, job.op) {
        (Side::Direct, Op::Ping) => {
            let mut client = Client::connect_plain(&job.socket)?;
            let message = ping();
            Ok(Box::new(move |_| client.echo(&message)))
        }
        (Side::Direct, _) => {
            let tops = Tops::open(job)?;
            Ok(Box::new(move |n| calls.direct(&tops, n)))
        }
        (Side::Daemon | Side::Old, op) => {
            let messages = calls.messages();
            let mut client = Client::connect(&job.socket, &ping())?;
            if op != Op::CreateFull {
                return Ok(Box::new(move |n| client.call(&messages[n])));
            }
            let pid = job.pids.first().and_then(|pid| Pid::from_raw(*pid as i32));
            let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
            let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
            Ok(Box::new(move |n| client.call_with(&messages[n], &pidfd)))
        }
    }
}

/// A call every millisecond until standard input ends. Each counts from when it was due, so
/// that a stall shows in all calls it held up.
fn steadily(job: &Job) -> io::Result<Series> {
    let ended = AtomicBool::new(false);
    let message = ping();
    let mut client = Client::connect(&job.socket, &message)?;
    let (began, cpu) = (Instant::now(), cpu_time(job.server)?);
    let samples = thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::stdin().read_to_end(&mut Vec::new());
            ended.store(true, Ordering::Relaxed);
        });
        let mut samples = Vec::new();
        let mut due = Instant::now();
        while !ended.load(Ordering::Relaxed) {
            due += PACE;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let called = client.call(&message);
            samples.push(due.elapsed().as_nanos() as u64);
            called?;
        }
        io::Result::Ok(samples)
    })?;
    let cpu = cpu_time(job.server)?.saturating_sub(cpu);
    Ok(Series { samples, elapsed: began.elapsed(), cpu })
}

/// A server that sends back what it gets: the least a round trip can cost.
pub(crate) fn echo(socket: &str) -> io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    fs::set_permissions(socket, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    loop {
        let (mut stream, _) = listener.accept()?;
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
        });
    }
}
