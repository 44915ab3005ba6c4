//! The daemon that is measured, and the echo server beside it.

use std::fs;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process};

use crate::wire::{Client, ping};
use crate::worker;

/// How long a server may take to start or stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) socket: PathBuf,
}

impl Server {
    /// Starts the daemon with its default limits, or those of a configuration file, and waits
    /// until it says that it is ready.
    pub(crate) fn daemon(
        binary: &Path,
        socket: PathBuf,
        root: &str,
        config: Option<&Path>,
    ) -> io::Result<Self> {
        let (ready, says) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setfd(&says, FdFlags::empty())?;
        let mut command = Command::new(binary);
        let root = format!("/{root}");
        command.arg("--socket").arg(&socket).args(["--root", &root, "--no-system-bus"]);
        command.args(["--ready-fd", &says.as_raw_fd().to_string()]);
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        let log = fs::File::create(socket.with_extension("log"))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        let mut server = Self { child, socket };
        drop(says);
        match fs::File::from(ready).read(&mut [0; 1])? {
            1 => Ok(server),
            _ => {
                let status = server.child.wait()?;
                let (binary, log) = (binary.display(), server.log());
                Err(io::Error::other(format!("{binary} did not start: {status}: {log}")))
            }
        }
    }

    /// Starts the echo server.
    pub(crate) fn echo(socket: PathBuf) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        let child = command.arg("echo").arg(&socket).stdin(Stdio::null()).spawn()?;
        let server = Self { child, socket };
        let began = Instant::now();
        while Client::connect_plain(&server.socket).is_err() {
            if began.elapsed() > PATIENCE {
                return Err(io::Error::other("the echo server did not start"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A connection that has made one call.
    pub(crate) fn connect(&self) -> io::Result<Client> {
        Client::connect(&self.socket, &ping())
    }

    /// Keeps all threads, and those they start, on the first CPU, or lets them go.
    pub(crate) fn pin(&self, pinned: bool) -> io::Result<()> {
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let id = task?.file_name().to_string_lossy().parse().map_err(io::Error::other)?;
            match worker::pin(Some(id), pinned) {
                // A thread that has ended since it was listed.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// Resident memory that is its own, in KiB: pages of the executable included.
    pub(crate) fn memory(&self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().map_err(io::Error::other)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.socket.with_extension("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.pid() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let began = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if began.elapsed() > PATIENCE {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
