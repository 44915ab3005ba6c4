//! The guest with a user, a container image made of busybox, and the daemon as it runs on a host:
//! on the hierarchy's root, at its usual address.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cgroupd_tests::daemon::reread;
use cgroupd_tests::said::Said;
use cgroupd_tests::{bins, peer};

/// Alice's number: none that an image of Debian has.
pub(crate) const UID: u32 = 2001;
/// The first of the ids that she has for containers.
pub(crate) const FIRST: u32 = 100_000;
/// Where all of it is.
pub(crate) const HOME: &str = "/tmp/alice";
/// A tree of busybox.
pub(crate) const ROOTFS: &str = "/tmp/alice/rootfs";

/// How long a command may take where each instruction is translated and another guest is beside.
const PATIENCE: &str = "120";

const SET_UP: &str = include_str!("set_up.sh");

/// The machine, and the daemon on it.
pub(crate) struct Machine {
    daemon: Child,
}

impl Machine {
    pub(crate) fn set_up() -> Self {
        let said = shell(&format!("uid={UID} first={FIRST} home={HOME}\n{SET_UP}"));
        assert_eq!(said.code, Some(0), "{}", said.text);
        let mut command = peer::tied(bins::cgroupd().to_str().expect("a readable path"));
        let log = fs::File::create("/tmp/cgroupd.log").expect("our guest");
        let daemon = command.arg("--no-system-bus").stdin(Stdio::null()).stderr(log).spawn();
        let machine = Self { daemon: daemon.expect("our own executable runs") };
        machine.wait_until(|| machine.run("cgctl whoami").code == Some(0));
        machine
    }

    /// Waits until something is so.
    #[track_caller]
    pub(crate) fn wait_until(&self, is_so: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(Instant::now() < end, "{}", log_of_the_daemon());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Has the daemon read its configuration again.
    pub(crate) fn reload(&self) {
        reread(log_of_the_daemon, || drop(self.ok(&format!("kill -HUP {}", self.daemon.id()))));
    }

    /// Runs a script as root, in the hierarchy's root.
    pub(crate) fn run(&self, script: &str) -> Said {
        let clients = bins::directory();
        shell(&format!("PATH={}:$PATH; {script}", clients.display()))
    }

    /// As [`Self::run`], and it must succeed; what it said.
    #[track_caller]
    pub(crate) fn ok(&self, script: &str) -> String {
        let said = self.run(script);
        assert_eq!(said.code, Some(0), "{script}\n{}\n{}", said.text, log_of_the_daemon());
        said.text
    }

    /// A login of Alice's that runs a script: it starts in `/login`, beside her own cgroup.
    pub(crate) fn login(&self, script: &str) -> Said {
        as_alice("echo $$ >/sys/fs/cgroup/login/cgroup.procs", script)
    }

    /// The same for one who starts in the hierarchy's root, as where nobody places sessions, and goes
    /// to her own cgroup first.
    pub(crate) fn session(&self, script: &str) -> Said {
        as_alice(":", &format!("cgctl -q enter && {script}"))
    }

    /// As [`Self::session`], and it must succeed.
    #[track_caller]
    pub(crate) fn session_ok(&self, script: &str) -> String {
        let said = self.session(script);
        assert_eq!(said.code, Some(0), "{script}\n{}\n{}", said.text, log_of_the_daemon());
        said.text
    }
}

/// A container on the machine: what `enter` is put before runs in it, as its root.
pub(crate) struct Container<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) enter: &'a str,
}

impl Container<'_> {
    /// A call of the client, which must succeed; what it said.
    #[track_caller]
    pub(crate) fn cgctl(&self, line: &str) -> String {
        self.machine.ok(&format!("{} /clients/cgctl {line}", self.enter))
    }

    /// A command must fail, and say why.
    #[track_caller]
    pub(crate) fn refuses(&self, line: &str, why: &str) {
        let said = self.machine.run(&format!("{} {line}", self.enter));
        assert!(said.code != Some(0) && said.text.contains(why), "{line}: {said:?}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.daemon.kill().and_then(|()| self.daemon.wait());
    }
}

/// Runs a script as Alice, after root has run another in the same process.
fn as_alice(before: &str, script: &str) -> Said {
    let clients = bins::directory();
    let env = format!("HOME={HOME} USER=alice XDG_RUNTIME_DIR=/run/user/{UID}");
    shell(&format!(
        "{before}; cd {HOME}; exec env -i PATH={}:$PATH {env} timeout {PATIENCE} \
         setpriv --reuid {UID} --regid {UID} --init-groups sh -c '{script}'",
        clients.display()
    ))
}

fn log_of_the_daemon() -> String {
    fs::read_to_string("/tmp/cgroupd.log").unwrap_or_default()
}

fn shell(script: &str) -> Said {
    Said::of(Command::new("timeout").args([PATIENCE, "sh", "-c", script]))
}

/// A directory of cgroup2.
pub(crate) fn cgroup(path: &str) -> PathBuf {
    Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'))
}

/// A cgroup's interface file, without blanks at its end; `-` where there is none.
pub(crate) fn read(path: &str, file: &str) -> String {
    let text = fs::read_to_string(cgroup(path).join(file));
    text.map_or_else(|_| "-".to_owned(), |text| text.trim_end().to_owned())
}

/// What 64 MiB, half a processor and 33 processes are in the kernel's words.
#[track_caller]
pub(crate) fn assert_limited(path: &str) {
    let limits = ["memory.max", "cpu.max", "pids.max"].map(|file| read(path, file));
    assert_eq!(limits, ["67108864", "50000 100000", "33"], "{path}");
}

/// The cgroup of a process.
#[track_caller]
pub(crate) fn cgroup_of(pid: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", pid.trim())).expect("it runs");
    text.trim().strip_prefix("0::").expect("cgroup2 alone").to_owned()
}

/// How often the kernel has killed in a cgroup for want of memory.
pub(crate) fn oom_kills(path: &str) -> String {
    let events = read(path, "memory.events");
    let line = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.unwrap_or("-").to_owned()
}

/// The names of the cgroups below one.
pub(crate) fn children(path: &str) -> Vec<String> {
    let entries = fs::read_dir(cgroup(path)).into_iter().flatten().flatten();
    let is_cgroup = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let names = entries.filter(is_cgroup).map(|entry| entry.file_name());
    let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    names
}
