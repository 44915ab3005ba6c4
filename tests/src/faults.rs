//! System calls that fail or take long: `strace(1)` makes the n-th one of a kind fail in each thread
//! of a process, as the kernel would when descriptors or memory have run out, or holds up writes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::NamedTempFile;

/// System calls that take a descriptor, and what they answer when there is none left.
pub const DESCRIPTORS: (&str, &str) = ("openat,openat2,pidfd_open,fcntl", "EMFILE");
/// System calls that read, and what they answer when there is no memory left.
pub const MEMORY: (&str, &str) =
    ("newfstatat,fstat,getdents64,readlink,readlinkat,faccessat2", "ENOMEM");

/// A process whose system calls fail. Ends when this is dropped.
#[derive(Debug)]
pub struct Fault {
    strace: Child,
    log: NamedTempFile,
}

impl Fault {
    /// Makes the `nth` of these calls fail, in each thread of the process from now on.
    ///
    /// # Panics
    /// When strace cannot be attached.
    pub fn inject(pid: i32, (calls, errno): (&str, &str), nth: usize) -> Self {
        let inject = format!("inject={calls}:error={errno}:when={nth}");
        Self::start(pid, &["-e", &format!("trace={calls}"), "-e", &inject])
    }

    /// Holds up each write to this file for as long, as the kernel does while it reclaims.
    ///
    /// # Panics
    /// When strace cannot be attached.
    pub fn delay_writes(pid: i32, file: &Path, delay: Duration) -> Self {
        let inject = format!("inject=write:delay_enter={}", delay.as_micros());
        let file = file.to_str().expect("a readable path");
        Self::start(pid, &["-P", file, "-e", "trace=write", "-e", &inject])
    }

    fn start(pid: i32, arguments: &[&str]) -> Self {
        let log = NamedTempFile::new().expect("a temporary file");
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &pid.to_string(), "-o"]).arg(log.path()).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut strace = command.spawn().expect("strace is there");
        let mut said = BufReader::new(strace.stderr.take().expect("piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it says whom it traces");
        while line.contains("Requested path") {
            line.clear();
            said.read_line(&mut line).expect("it says whom it traces");
        }
        assert!(line.contains("attached"), "{line}");
        // Whatever it says later must not fill the pipe, nor end it.
        std::thread::spawn(move || said.lines().for_each(drop));
        Self { strace, log }
    }

    /// Lets the calls succeed again; says how many have failed.
    ///
    /// # Panics
    /// When strace does not end.
    pub fn end(mut self) -> usize {
        self.signal(Signal::SIGINT);
        let log = fs::read_to_string(self.log.path()).expect("our file");
        log.matches("(INJECTED)").count()
    }

    /// Ends it at once, also while it holds up a call, which then goes on.
    pub fn release(mut self) {
        self.signal(Signal::SIGKILL);
    }

    fn signal(&mut self, signal: Signal) {
        let pid = Pid::from_raw(self.strace.id().cast_signed());
        let _ = kill(pid, signal);
        self.strace.wait().expect("our child");
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        if self.strace.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal(Signal::SIGKILL);
        }
    }
}
