//! `cgctl run`: a command in a cgroup of its own, outside of which it never runs; a report when it
//! has ended, and nothing is left behind.

mod child;
mod report;

use std::{
    ffi::OsString,
    process::{ExitStatus, id},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use child::Signals;
pub(super) use child::become_command;

use crate::{
    exit::{Exit, Failure},
    limits::Limits,
    request::{self, Stats},
    session::Session,
};

/// What to run, and where.
pub(super) struct Job<'a> {
    /// The cgroup in which the new one is made; the home by default.
    pub(super) parent: Option<&'a str>,
    /// What the new one is called.
    pub(super) name: Option<String>,
    pub(super) limits: &'a Limits,
    /// The program and its arguments.
    pub(super) command: &'a [OsString],
}

/// How it ended.
struct Ended<'a> {
    command: &'a OsString,
    status: ExitStatus,
    seconds: f64,
    stats: Stats,
}

/// Ends in the command's status.
pub(super) fn run(session: &mut Session, job: &Job<'_>) -> Result<Exit, Failure> {
    let signals = Signals::block()?;
    let path = path_of(job);
    let creating = format!("create {path}");
    let call = request::create(&path, &[], job.limits, &["must-create"]);
    let (path, ..) = session.call(call, &creating)?;
    // It may run for longer than any call may take, and needs no connection.
    session.start_again();
    let begun = Instant::now();
    let status = child::run(&signals, session.address(), &path, job.command);
    let seconds = begun.elapsed().as_secs_f64();
    session.start_again();
    let found = session.call(request::stats(&path), &format!("read the statistics of {path}"));
    let removed = session.call(
        request::remove(&path, &["recursive", "kill"]),
        &format!("remove {path} after the command has ended"),
    );
    for failure in [found.as_ref().err(), removed.as_ref().err()].into_iter().flatten() {
        let again = format!("cgctl rm -r -f {path} removes what is left");
        session.output.report(&failure.clone().hint(again))?;
    }
    let (status, stats) = (status?, found.unwrap_or_default().pop().unwrap_or_default().1);
    let command = &job.command[0];
    report::print(session, &Ended { command, status, seconds, stats });
    Ok(Exit::of_command(status))
}

fn path_of(job: &Job<'_>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unique = || format!("run-{}-{:x}", id(), now.as_micros());
    let name = job.name.clone().unwrap_or_else(unique);
    match job.parent {
        Some(parent) => format!("{}/{name}", parent.trim_end_matches('/')),
        None => name,
    }
}
