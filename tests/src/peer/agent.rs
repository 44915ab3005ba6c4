//! The peer's side: one thread that does one step after the other, and can therefore change its
//! identity without asking anybody else.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, getegid, geteuid, setgroups, setresgid, setresuid};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::channel::{Channel, LONGEST};
use super::{AGENT, SELF, sleeper};

/// What a step answers: a text, and perhaps a socket.
type Answer = io::Result<(String, Option<UnixStream>)>;

/// Serves until the test closes its end.
pub(super) fn run() -> ExitCode {
    stay_tied();
    let Ok(channel) = Channel::inherited() else { return ExitCode::FAILURE };
    if channel.send("ready", None).is_err() {
        return ExitCode::FAILURE;
    }
    let mut own_end = None;
    while let Ok(Some((text, _))) = channel.receive() {
        let words: Vec<&str> = text.split('\0').collect();
        // The next agent serves the channel; this one only keeps it company.
        if words == ["spawn-self"] {
            return company();
        }
        let answer = match own_end_step(&words, &mut own_end) {
            Some(answer) => answer,
            None => step(&words),
        };
        let (text, stream) = answer.unwrap_or_else(|error| (format!("error {error}"), None));
        if channel.send(&text, stream.as_ref().map(AsFd::as_fd)).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

/// Does nothing, for a bounded time.
pub(super) fn sleep() -> ExitCode {
    stay_tied();
    std::thread::sleep(Duration::from_secs(120));
    ExitCode::SUCCESS
}

/// Becomes the program that follows on the command line.
pub(super) fn tied() -> ExitCode {
    stay_tied();
    let mut arguments = std::env::args_os().skip(2);
    let Some(program) = arguments.next() else { return ExitCode::FAILURE };
    let error = Command::new(program).args(arguments).exec();
    eprintln!("cannot execute: {error}");
    ExitCode::FAILURE
}

/// Ends with whoever started it, and keeps its own `/proc` entries: the kernel takes back both
/// when ids change.
pub(super) fn stay_tied() {
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    let _ = nix::sys::prctl::set_dumpable(true);
}

fn company() -> ExitCode {
    let child = Command::new(SELF).arg(AGENT).spawn();
    let ended = child.and_then(|mut child| child.wait());
    if ended.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The steps about the connection that the peer holds: before Linux 6.5 it must hold it until the
/// daemon has looked.
fn own_end_step(words: &[&str], own_end: &mut Option<UnixStream>) -> Option<Answer> {
    let done = |()| (String::from("done"), None);
    match words {
        ["connect", path] => Some(UnixStream::connect(path).and_then(|stream| {
            *own_end = Some(stream.try_clone()?);
            Ok((String::from("connected"), Some(stream)))
        })),
        ["let-go"] => {
            *own_end = None;
            Some(Ok(done(())))
        }
        _ => None,
    }
}

fn step(words: &[&str]) -> Answer {
    let done = |()| (String::from("done"), None);
    match words {
        ["ids", uid, gid, groups] => take_ids(uid, gid, groups).map(done),
        ["ids-but-groups", uid, gid] => take_ids_but_groups(uid, gid).map(done),
        ["unshare", kind] => Ok(unshare(namespace(kind)?).map(done)?),
        ["join-user", pid] => {
            let user_ns = fs::File::open(format!("/proc/{pid}/ns/user"))?;
            Ok(setns(user_ns, CloneFlags::CLONE_NEWUSER).map(done)?)
        }
        ["map-own", uid, gid] => map_own(uid, gid).map(done),
        ["rename", name] => fs::write("/proc/thread-self/comm", name).map(done),
        ["drop-sys-admin"] => drop_sys_admin().map(done),
        ["sleeper", uid] => start_sleeper(number(uid)?),
        ["grow", mebibytes] => grow(number(mebibytes)?).map(done),
        ["start", program, arguments @ ..] => {
            let child = Command::new(program).args(arguments).stdin(Stdio::null()).spawn()?;
            Ok((child.id().to_string(), None))
        }
        ["run", command @ ..] => run_command(command),
        ["exec", program, arguments @ ..] => {
            Err(Command::new(program).args(arguments).stdin(Stdio::null()).exec())
        }
        words => Err(io::Error::other(format!("unknown step {words:?}"))),
    }
}

/// Takes so much memory, and keeps it to its end.
fn grow(mebibytes: u32) -> io::Result<()> {
    let mut memory = vec![0u8; (mebibytes as usize) << 20];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::mem::forget(memory);
    Ok(())
}

fn number(text: &str) -> io::Result<u32> {
    text.parse().map_err(io::Error::other)
}

fn take_ids(uid: &str, gid: &str, groups: &str) -> io::Result<()> {
    let groups = groups.split(',').filter(|group| !group.is_empty());
    let groups = groups.map(|group| number(group).map(Gid::from_raw));
    setgroups(&groups.collect::<io::Result<Vec<_>>>()?)?;
    take_ids_but_groups(uid, gid)
}

fn take_ids_but_groups(uid: &str, gid: &str) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(number(uid)?), Gid::from_raw(number(gid)?));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    stay_tied();
    Ok(())
}

fn namespace(kind: &str) -> io::Result<CloneFlags> {
    match kind {
        "user" => Ok(CloneFlags::CLONE_NEWUSER),
        "pid" => Ok(CloneFlags::CLONE_NEWPID),
        "cgroup" => Ok(CloneFlags::CLONE_NEWCGROUP),
        "mount" => Ok(CloneFlags::CLONE_NEWNS),
        "network" => Ok(CloneFlags::CLONE_NEWNET),
        kind => Err(io::Error::other(format!("unknown namespace {kind}"))),
    }
}

/// What a process may do without any right: one id, its own.
fn map_own(uid: &str, gid: &str) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

fn drop_sys_admin() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    sets.effective.remove(CapabilitySet::SYS_ADMIN);
    Ok(set_capabilities(None, sets)?)
}

/// The own user needs no change of ids, which would need rights.
fn start_sleeper(uid: u32) -> Answer {
    let own = geteuid().as_raw() == uid && getegid().as_raw() == uid;
    let mut command = if own { super::own_sleeper() } else { sleeper(uid) };
    Ok((command.spawn()?.id().to_string(), None))
}

fn run_command(command: &[&str]) -> Answer {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output()?;
    let status = output.status.code().unwrap_or(-1);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text[..text.len().min(LONGEST / 2)]).into_owned();
    Ok((format!("{status}\n{text}"), None))
}
