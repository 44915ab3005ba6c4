//! What all parts of a run share: the servers, the cgroups, and a way to have a job done.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::binaries::Binaries;
use crate::job::{Job, Op, Side};
use crate::place::Place;
use crate::scale::Scale;
use crate::servers::Server;
use crate::stats::Series;
use crate::worker;

/// Somebody who is not root.
pub(crate) const OTHER: u32 = 4242;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A run under way. What it made is gone when it is dropped, in the order of the fields: the
/// servers end before the cgroups are removed.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) scale: Scale,
    pub(crate) binaries: Binaries,
    pub(crate) daemon: Server,
    pub(crate) echo: Server,
    sleepers: Sleepers,
    pub(crate) place: Place,
    pub(crate) directory: Directory,
}

impl Bench {
    pub(crate) fn new(scale: Scale, binaries: Binaries) -> Result<Self> {
        let directory = Directory::new()?;
        let place = Place::new();
        let socket = directory.0.join("daemon.sock");
        // Calls are measured on both interfaces.
        let config = directory.0.join("cgroupd.toml");
        fs::write(&config, cgroupd_tests::world::CGMANAGER)?;
        let daemon = Server::daemon(&binaries.cgroupd, socket, &place.root, Some(&config))?;
        let echo = Server::echo(directory.0.join("echo.sock"))?;
        let sleepers = Sleepers::default();
        Ok(Self { scale, binaries, daemon, echo, sleepers, place, directory })
    }

    /// Keeps both servers on the first CPU, or lets them go.
    pub(crate) fn pin(&self, pinned: bool) -> io::Result<()> {
        self.daemon.pin(pinned)?;
        self.echo.pin(pinned)
    }

    /// A job for one connection of root's on `memory`, below `parent`.
    pub(crate) fn job(&self, side: Side, op: Op, parent: &str) -> Job {
        let echo = (side, op) == (Side::Direct, Op::Ping);
        let server = if echo { &self.echo } else { &self.daemon };
        Job {
            side,
            op,
            count: self.scale.calls,
            connections: 1,
            pinned: true,
            socket: server.socket.clone(),
            server: server.pid(),
            controller: "memory".to_owned(),
            root: self.place.root.clone(),
            parent: parent.to_owned(),
            pids: Vec::new(),
        }
    }

    /// Processes that do nothing, below the cgroup `parent` of `controllers`: on v2 one whose
    /// children have controllers has no processes.
    pub(crate) fn sleepers(
        &mut self,
        uid: u32,
        count: usize,
        parent: &str,
        controllers: &[&str],
    ) -> io::Result<Vec<u32>> {
        let pids = self.sleepers.of(uid, count)?;
        for (pid, controller) in
            pids.iter().flat_map(|pid| controllers.iter().map(move |c| (pid, c)))
        {
            let rest = self.place.dir(controller, parent).join("rest");
            fs::create_dir_all(&rest)?;
            fs::write(rest.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(pids)
    }
}

/// Has a job done by a process of its own, with `uid`.
pub(crate) fn run(job: &Job, uid: u32) -> Result<Series> {
    finish(start(job, uid)?)
}

/// Starts a job; one that goes on at a steady pace ends with its standard input.
pub(crate) fn start(job: &Job, uid: u32) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.arg("worker").args(job.to_arguments());
    if uid != 0 {
        command.uid(uid).gid(uid);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// What a job took.
pub(crate) fn finish(mut child: Child) -> Result<Series> {
    drop(child.stdin.take());
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned().into());
    }
    worker::parse(&output.stdout).ok_or_else(|| "a worker said nothing".into())
}

/// Processes of ours that can be moved about.
#[derive(Debug, Default)]
struct Sleepers(Vec<(u32, Child)>);

impl Sleepers {
    fn of(&mut self, uid: u32, count: usize) -> io::Result<Vec<u32>> {
        let have = self.0.iter().filter(|(owner, _)| *owner == uid).count();
        for _ in have..count {
            let mut command = Command::new("sleep");
            let child = command.arg("1h").uid(uid).gid(uid).stdin(Stdio::null()).spawn()?;
            self.0.push((uid, child));
        }
        let own = self.0.iter().filter(|(owner, _)| *owner == uid);
        Ok(own.map(|(_, child)| child.id()).take(count).collect())
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
        // Their cgroups are empty only when the kernel has let them go.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// For the sockets: everybody may pass, nobody else may write.
#[derive(Debug)]
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    fn new() -> io::Result<Self> {
        let name = format!("cgroupd-test-bench-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
