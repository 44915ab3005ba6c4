//! The command as a child: it is this program first, which moves itself into the cgroup and then
//! becomes the command. Signals that others send are passed on.

use std::{
    ffi::OsString,
    io,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus},
};

use nix::{
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::Pid,
};

use crate::{
    address::Address,
    exit::{Exit, Failure, words},
    request,
    session::Session,
};

/// What ends or tells a program something. Those of job control stop and continue this one too.
const PASSED_ON: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];
/// `si_code` of what the kernel sends itself, as a terminal does: to all of its group at once.
const BY_KERNEL: i32 = 0x80;

/// Runs the command in the cgroup to its end.
pub(super) fn run(
    address: &Address,
    path: &str,
    command: &[OsString],
) -> Result<ExitStatus, Failure> {
    let cannot = |error: io::Error| {
        let text = format!("cannot run {}: {}", command[0].display(), words(&error));
        Failure::new(Exit::NOT_RUN, text)
    };
    let signals = waited_for();
    signals.thread_block().map_err(|errno| cannot(errno.into()))?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC);
    let signals = signals.map_err(|errno| cannot(errno.into()))?;
    let mut child = Command::new("/proc/self/exe")
        .arg0("cgctl")
        .arg(format!("--address={address}"))
        .args(["become", path, "--"])
        .args(command)
        .spawn()
        .map_err(cannot)?;
    wait(&mut child, &signals).map_err(cannot)
}

fn waited_for() -> SigSet {
    PASSED_ON.into_iter().chain([Signal::SIGCHLD]).collect()
}

fn wait(child: &mut Child, signals: &SignalFd) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let Some(signal) = signals.read_signal()? else { continue };
        let number = Signal::try_from(signal.ssi_signo.cast_signed())?;
        if number != Signal::SIGCHLD && signal.ssi_code != BY_KERNEL {
            // Until it is waited for, the number is its own.
            let _ = kill(Pid::from_raw(child.id().cast_signed()), number);
        }
    }
}

/// Moves this process into the cgroup and becomes the command.
pub(in crate::commands) fn become_command(
    session: &mut Session,
    path: &str,
    command: &[OsString],
) -> Result<Exit, Failure> {
    let doing = format!("move {} to {path}", command[0].display());
    let moved = session.call(request::attach_caller(path), &doing);
    moved.map_err(super::not_run)?;
    // A blocked signal stays blocked in a child, and in what it becomes.
    let _ = waited_for().thread_unblock();
    let error = Command::new(&command[0]).args(&command[1..]).exec();
    let exit = match error.kind() {
        io::ErrorKind::NotFound => Exit::NO_COMMAND,
        _ => Exit::NOT_EXECUTABLE,
    };
    let text = format!("cannot run {}: {}", command[0].display(), words(&error));
    Err(Failure::new(exit, text))
}
