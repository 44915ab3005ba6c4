//! The command as a child: it is this program first, which moves itself into the cgroup and then
//! becomes the command. Signals that others send are passed on.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::AsFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, ExitStatus},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::{Pid, getpgid, getpgrp},
};

use crate::{
    address::Address,
    commands::exec::{cannot, exec},
    exit::{Exit, Failure},
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
/// What ends a program that has not begun.
const ENDING: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];
/// What a terminal sends to all of a group at once.
const TO_ALL: [Signal; 3] = [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGWINCH];
/// `si_code` of what the kernel sends itself, as for a terminal.
const BY_KERNEL: i32 = 0x80;

/// Signals, which from now on are read and end nothing.
pub(super) struct Signals(SignalFd);

impl Signals {
    /// Before anything is made: what is made is removed, whatever comes.
    pub(super) fn block() -> Result<Self, Failure> {
        if ignores_children() {
            let text = "cannot run a command: the end of children is ignored (SIGCHLD)";
            return Err(Failure::new(Exit::Other, text)
                .hint("whoever started cgctl has set it so: let it reset SIGCHLD"));
        }
        let blocked = waited_for().thread_block().and_then(|()| {
            SignalFd::with_flags(&waited_for(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        });
        blocked.map(Self).map_err(|errno| cannot("wait for signals", &errno.into()))
    }

    /// The next one, if there is any, and whether the kernel has sent it.
    fn next(&self) -> io::Result<Option<(Signal, bool)>> {
        let Some(found) = self.0.read_signal()? else { return Ok(None) };
        let signal = Signal::try_from(found.ssi_signo.cast_signed())?;
        Ok(Some((signal, found.ssi_code == BY_KERNEL)))
    }

    fn wait(&self) -> io::Result<()> {
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// What has ended it before it began.
    fn ended(&self) -> io::Result<Option<ExitStatus>> {
        while let Some((signal, _)) = self.next()? {
            if ENDING.contains(&signal) {
                return Ok(Some(ExitStatus::from_raw(signal as i32)));
            }
        }
        Ok(None)
    }
}

/// Whether the kernel does away with children that have ended, so that nobody learns how: it is so
/// from whoever has started this process.
fn ignores_children() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (Signal::SIGCHLD as i32 - 1)) != 0)
}

fn waited_for() -> SigSet {
    PASSED_ON.into_iter().chain([Signal::SIGCHLD]).collect()
}

/// Runs the command in the cgroup to its end.
pub(super) fn run(
    signals: &Signals,
    address: &Address,
    path: &str,
    command: &[OsString],
) -> Result<ExitStatus, Failure> {
    let run = || {
        if let Some(status) = signals.ended()? {
            return Ok(status);
        }
        let mut child = Command::new("/proc/self/exe")
            .arg0("cgctl")
            .arg(format!("--address={address}"))
            .args(become_arguments(path, command))
            .spawn()?;
        wait(&mut child, signals)
    };
    run().map_err(|error| cannot(&format!("run {}", command[0].display()), &error))
}

/// `become` and its arguments. The path is the daemon's answer: nothing in it, nor in the command,
/// is taken for an option.
fn become_arguments(path: &str, command: &[OsString]) -> Vec<OsString> {
    let fixed = ["become", "--", path].map(OsString::from);
    fixed.into_iter().chain(command.iter().cloned()).collect()
}

fn wait(child: &mut Child, signals: &Signals) -> io::Result<ExitStatus> {
    // Until it is waited for, the number is its own.
    let pid = Pid::from_raw(child.id().cast_signed());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        signals.wait()?;
        while let Some((signal, by_kernel)) = signals.next()? {
            let has_it =
                by_kernel && TO_ALL.contains(&signal) && getpgid(Some(pid)) == Ok(getpgrp());
            if signal != Signal::SIGCHLD && !has_it {
                let _ = kill(pid, signal);
            }
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
    session.call(request::attach_caller(path), &doing)?;
    // A blocked signal stays blocked in a child, and in what it becomes.
    let _ = waited_for().thread_unblock();
    exec(command)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn no_path_and_no_command_is_an_option() {
        for path in ["/a/b", "-x", "--help", "--", "--address=unix:path=/x", ""] {
            for command in [&["true"][..], &["-v", "--", "x"], &["--", "--help"], &["a", "-b"]] {
                let command: Vec<OsString> = command.iter().map(OsString::from).collect();
                let line = ["cgctl", "--address=unix:path=/s"].map(OsString::from);
                let line = line.into_iter().chain(become_arguments(path, &command));
                let cli = Cli::try_parse_from(line).unwrap();
                let Command::Become { path: read, command: ran } = cli.command else {
                    panic!("{path:?} {command:?}")
                };
                assert_eq!((read.as_str(), ran), (path, command));
            }
        }
    }
}
