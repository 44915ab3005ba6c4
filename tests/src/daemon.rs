//! The real daemon, on a managed root and a socket of the test's own.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::bins;
use crate::client::Client;
use crate::need::patience;
use crate::peer;

/// How long a start or a stop may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running cgroupd. It is killed when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    dir: TempDir,
}

impl Daemon {
    /// Starts it on the managed root `root`; it takes calls when this returns.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(root: &str) -> Self {
        Self::configured(root, "")
    }

    /// As [`Self::start`], with the text of a configuration file.
    ///
    /// # Panics
    /// When it does not start.
    pub fn configured(root: &str, configuration: &str) -> Self {
        let prefix = format!("{}{}-", crate::cgroups::PREFIX, std::process::id());
        let dir = TempDir::with_prefix(prefix).expect("a directory of our own");
        // Callers of other users connect to the socket in it.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("our directory");
        let config = dir.path().join("cgroupd.toml");
        fs::write(&config, configuration).expect("our directory");
        let log = fs::File::create(dir.path().join("log")).expect("our directory");
        let mut command = peer::tied("sh");
        // Descriptor 3 is the pipe that this process reads; nothing else is left open.
        command.args(["-c", r#"exec 3>&1 >/dev/null; exec "$@""#, "sh"]).arg(bins::cgroupd());
        command.arg("--config").arg(&config).args(["--root", root, "--no-system-bus"]);
        command.arg("--socket").arg(dir.path().join("socket")).args(["--ready-fd", "3"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("sh is there");
        let ready = child.stdout.take().expect("piped");
        let daemon = Self { child, dir };
        daemon.wait_until_ready(ready);
        daemon
    }

    fn wait_until_ready(&self, mut ready: ChildStdout) {
        let mut polled = [PollFd::new(ready.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(patience(PATIENCE)).expect("short");
        let answered = poll(&mut polled, patience) == Ok(1);
        let mut byte = [0];
        let started = answered && ready.read(&mut byte).is_ok_and(|count| count == 1);
        assert!(started, "cgroupd does not start:\n{}", self.log());
    }

    /// The private socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// Its D-Bus address.
    pub fn address(&self) -> String {
        format!("unix:path={}", self.socket().display())
    }

    /// A directory everybody may look into, gone with the daemon.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The daemon's process.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// The files that it has open, as `/proc` names them.
    ///
    /// # Panics
    /// When it has ended.
    pub fn open_files(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs");
        files.map(|file| fs::read_link(file.expect("it runs").path()).unwrap_or_default()).collect()
    }

    /// A field of its `/proc/PID/status` that is a size, in KiB: `VmRSS`, `VmHWM`.
    ///
    /// # Panics
    /// When it has ended.
    pub fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// What it has written to standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Gives it another configuration file, which it has read when this returns.
    ///
    /// # Panics
    /// When it does not take it.
    pub fn reconfigure(&self, configuration: &str) {
        fs::write(self.dir.path().join("cgroupd.toml"), configuration).expect("our directory");
        let ask = || kill(Pid::from_raw(self.pid()), Signal::SIGHUP).expect("it runs");
        reread(|| self.log(), ask);
    }

    /// A client of this process: host root.
    ///
    /// # Panics
    /// When the daemon does not take it.
    pub fn connect(&self) -> Client {
        Client::over(UnixStream::connect(self.socket()).expect("the socket takes connections"))
    }

    /// Stops it as a service manager would.
    ///
    /// # Panics
    /// When it does not end cleanly, or something panicked in it.
    pub fn stop(mut self) {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM).expect("it runs");
        let status = self.wait();
        let log = self.log();
        assert!(status.is_some_and(|status| status.success()), "ended with {status:?}:\n{log}");
        assert!(!log.contains("panicked"), "something panicked:\n{log}");
        assert!(!self.socket().exists(), "the socket stays behind");
    }

    /// Ends it as a crash would.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn kill(mut self) {
        kill(Pid::from_raw(self.pid()), Signal::SIGKILL).expect("it runs");
        self.child.wait().expect("our child");
    }

    fn wait(&mut self) -> Option<ExitStatus> {
        let end = Instant::now() + patience(PATIENCE);
        loop {
            match self.child.try_wait().expect("our child") {
                None if Instant::now() < end => std::thread::sleep(Duration::from_millis(2)),
                ended => return ended,
            }
        }
    }
}

/// Asks a daemon to read its configuration again, and waits until its log says that it has.
///
/// # Panics
/// When it does not take it.
pub fn reread(log: impl Fn() -> String, ask: impl FnOnce()) {
    let times = || log().matches("configuration read again").count();
    let before = times();
    ask();
    let end = Instant::now() + patience(PATIENCE);
    while times() == before {
        assert!(Instant::now() < end, "it does not take it:\n{}", log());
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.child.kill().and_then(|()| self.child.wait().map(drop));
        }
        if std::thread::panicking() {
            eprintln!("the daemon said:\n{}", self.log());
        }
    }
}
