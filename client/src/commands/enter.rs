//! `cgctl enter`: the shell that has called it, or a command, goes to a leaf of what is the user's.
//! On cgroup v2 a cgroup with processes can give no controllers to those below it: so runtimes make
//! theirs beside that leaf.

use std::{ffi::OsString, os::fd::OwnedFd};

use rustix::{
    fd::AsFd,
    process::{Pid, PidfdFlags, getppid, getuid, pidfd_open},
};

use super::exec::exec;
use crate::{
    exit::{Exit, Failure, words},
    output::object,
    request,
    session::Session,
};

/// The leaf in the caller's home where none is named.
const LEAF: &str = "session";

pub(super) fn run(
    session: &mut Session,
    path: Option<&str>,
    command: &[OsString],
) -> Result<Exit, Failure> {
    let path = path.or_else(|| (!getuid().is_root()).then_some(LEAF)).ok_or_else(|| {
        // Its sessions would find themselves beside everybody's cgroups, and not above them.
        Failure::new(Exit::Usage, "cannot enter: root has no home to go to")
            .hint("cgctl enter PATH; `cgctl delegate USER` gives a user a cgroup")
    })?;
    match command {
        [] => move_parent(session, path),
        [program, ..] => {
            let doing = format!("move {} to {path}", program.display());
            session.call(request::enter(path, None), &doing)?;
            exec(command)
        }
    }
}

fn move_parent(session: &mut Session, path: &str) -> Result<Exit, Failure> {
    let (number, pidfd) = parent()?;
    let doing = format!("move process {number}, which has called cgctl, to {path}");
    let (path, ..) = session.call(request::enter(path, Some(pidfd.as_fd())), &doing)?;
    let output = &mut session.output;
    if output.json {
        output.document(&object([("path", path.into()), ("pid", number.into())]))?;
    } else if !output.quiet {
        output.line(&format!("{path}  process {number}"))?;
    }
    Ok(Exit::Ok)
}

/// The process that has called this one, pinned, and its number.
fn parent() -> Result<(i32, OwnedFd), Failure> {
    // What has called it then is sudo, and not the shell.
    if getuid().is_root() && std::env::var_os("SUDO_UID").is_some() {
        return Err(Failure::new(Exit::Other, "cannot move what has called cgctl: it is sudo")
            .hint("sudo cgctl enter PATH -- CMD, or without sudo"));
    }
    let cannot = |why: &str| {
        Failure::new(Exit::Other, format!("cannot move what has called cgctl: {why}"))
            .hint("`cgctl enter PATH -- CMD` starts a command there")
    };
    let parent = getppid().ok_or_else(|| cannot("it is not to be seen from here"))?;
    let pidfd = pidfd_open(parent, PidfdFlags::empty());
    let pidfd = pidfd.map_err(|errno| cannot(&words(&errno.into())))?;
    // While it is the parent the number is its own.
    if getppid() != Some(parent) {
        return Err(cannot("it has ended"));
    }
    match real_uid(parent) == Some(getuid().as_raw()) {
        true => Ok((parent.as_raw_nonzero().get(), pidfd)),
        false => Err(cannot("it is another user's")),
    }
}

fn real_uid(process: Pid) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    uids.split_ascii_whitespace().next()?.parse().ok()
}
