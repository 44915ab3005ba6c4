//! Processes that are hard to stop: one that makes others faster than they can be counted, one
//! that the kernel does not let go of, and one whose first thread is dead.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::{BOMB, STUCK};
use crate::cgroups::Cgroups;
use crate::hierarchies;
use crate::need::patience;

/// How long a bomb lives at most, in seconds: longer than any test.
const FUSE: u64 = 40;

/// A process that waits to be told what to become, so that it can be put somewhere before.
#[derive(Debug)]
pub struct Misfit {
    child: Child,
}

impl Misfit {
    /// Processes that each make two others and end, over and over. What bounds them is
    /// `pids.max` of the cgroup at `path`, where the first is put.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn bomb(cgroups: &Cgroups, path: &str) -> Self {
        let end = now() + FUSE;
        Self::start(cgroups, path, &[BOMB, &end.to_string()])
    }

    /// A process in uninterruptible sleep: it waits for a file system, mounted for itself alone,
    /// that nobody serves.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn stuck(cgroups: &Cgroups, path: &str, dir: &Path) -> Self {
        let mut stuck = Self::start(cgroups, path, &[STUCK, dir.to_str().expect("readable")]);
        let mut byte = [0];
        let said = stuck.child.stdout.as_mut().expect("a pipe").read(&mut byte);
        assert_eq!(said.ok(), Some(1), "it cannot mount");
        let end = Instant::now() + patience(Duration::from_secs(10));
        while !is_asleep(stuck.pid()) {
            assert!(Instant::now() < end, "it does not get stuck");
            std::thread::sleep(Duration::from_millis(2));
        }
        stuck
    }

    /// A process whose first thread has ended while another one lives on.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn headless(cgroups: &Cgroups, path: &str) -> Self {
        const SCRIPT: &str = "import ctypes, threading, time\n\
            threading.Thread(target=lambda: time.sleep(90)).start()\n\
            ctypes.CDLL(None).pthread_exit(None)\n";
        let headless = Self::become_one(cgroups, path, "python3", &["-c", SCRIPT]);
        let end = Instant::now() + Duration::from_secs(40);
        while state(headless.pid()) != Some('Z') {
            assert!(Instant::now() < end, "its first thread does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
        headless
    }

    fn start(cgroups: &Cgroups, path: &str, words: &[&str]) -> Self {
        let own = std::env::current_exe().expect("it has a path");
        Self::become_one(cgroups, path, own.to_str().expect("a readable path"), words)
    }

    fn become_one(cgroups: &Cgroups, path: &str, program: &str, words: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "read -r go && exec \"$@\"", "sh", program]).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a shell");
        for hierarchy in hierarchies::implied().filter(|h| cgroups.dir(h, path).is_dir()) {
            cgroups.put_in(hierarchy, path, child.id().cast_signed());
        }
        child.stdin.take().expect("a pipe").write_all(b"go\n").expect("it reads");
        Self { child }
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }
}

impl Drop for Misfit {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let end = Instant::now() + Duration::from_secs(2);
        // A frozen one ends when its cgroup is swept.
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The letter of its state, `proc_pid_stat(5)`.
pub fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Where root may see in which function of the kernel it waits, it is looked at.
fn is_asleep(pid: i32) -> bool {
    let waits = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    state(pid) == Some('D')
        && (waits == "0" || waits.contains("fuse") || waits.contains("request_wait"))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// One process of a bomb.
pub(super) fn bomb() -> ExitCode {
    let word = std::env::args().nth(2).unwrap_or_default();
    let Ok(end) = word.parse::<u64>() else { return ExitCode::FAILURE };
    let mut made = 0;
    while made < 2 && now() < end {
        let mut command = Command::new(super::SELF);
        command.args([BOMB, &word]).stdin(Stdio::null()).stdout(Stdio::null());
        match command.spawn() {
            Ok(_) => made += 1,
            // As many as there may be: until another one ends.
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    ExitCode::SUCCESS
}

/// Mounts a file system in a namespace of its own and waits for it for ever.
pub(super) fn stuck() -> ExitCode {
    let Some(dir) = std::env::args().nth(2) else { return ExitCode::FAILURE };
    let Ok(_server) = mount_unserved(&dir) else { return ExitCode::FAILURE };
    println!("mounted");
    let _ = fs::metadata(&dir);
    ExitCode::SUCCESS
}

fn mount_unserved(dir: &str) -> nix::Result<File> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let server = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    let server = server.map_err(|_| nix::errno::Errno::ENODEV)?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
    mount(Some("none"), dir, Some("fuse"), MsFlags::empty(), Some(options.as_str()))?;
    Ok(server)
}
