//! The machine with cgroupd installed, and commands on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cgroupd_tests::said::Said;
use cgroupd_tests::{bins, sweep};

/// The managed root that the daemon chooses.
pub(crate) const TREE: &str = "/system.slice/cgroupd-tree.service";

/// How long systemd and the daemon may take, on a slow guest.
const PATIENCE: Duration = Duration::from_secs(30);

/// An installation of cgroupd, removed when this is dropped.
pub(crate) struct Host(());

impl Host {
    /// Runs `packaging/install.sh` as an administrator would.
    pub(crate) fn install() -> Self {
        let host = Self(());
        installer("install");
        host.ok("systemctl start dbus.service");
        host.ok("systemctl reload dbus.service");
        host.ok("systemctl daemon-reload");
        host
    }

    /// A daemon that runs, and an empty tree. What runs is left alone: on a slow guest to start
    /// everything anew takes longer than most tests.
    pub(crate) fn start_anew(&self) {
        for child in fs::read_dir(cgroup(TREE)).into_iter().flatten().flatten() {
            let is_cgroup = child.file_type().is_ok_and(|kind| kind.is_dir());
            if is_cgroup && child.file_name() != ".holder" {
                sweep::remove(&child.path()).expect("a test's cgroup can be removed");
            }
        }
        self.reset();
        self.ok("systemctl start cgroupd.service");
    }

    /// Failures and restarts of one test do not count for the next.
    fn reset(&self) {
        self.run("systemctl reset-failed cgroupd.service cgroupd-tree.service");
    }

    /// Ends both services.
    pub(crate) fn stop(&self) {
        self.run("systemctl stop cgroupd.service cgroupd-tree.service");
        self.reset();
    }

    /// Runs a command; words are separated by blanks.
    pub(crate) fn run(&self, line: &str) -> Said {
        let mut words = line.split_ascii_whitespace();
        Said::of(Command::new(words.next().expect("a command")).args(words))
    }

    /// Runs a command that must succeed, and returns what it said.
    #[track_caller]
    pub(crate) fn ok(&self, line: &str) -> String {
        let said = self.run(line);
        assert_eq!(said.code, Some(0), "{line}: {}\n{}", said.text, journal());
        said.text
    }

    /// The main process of a unit; 0 when it has none.
    pub(crate) fn main_pid(&self, unit: &str) -> i32 {
        self.ok(&format!("systemctl show -P MainPID {unit}")).parse().expect("a number")
    }

    /// Waits until `is_so`, and says what was waited for when that takes too long.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < end, "not so: {what}\n{}", journal());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the daemon answers.
    #[track_caller]
    pub(crate) fn wait_for_answers(&self) {
        self.wait_until("the daemon answers", || self.run("cgctl whoami").code == Some(0));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop();
        installer("uninstall");
        self.run("systemctl daemon-reload");
    }
}

/// Into `/usr`, as a package would be: systemd and the bus look there.
fn installer(what: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/install.sh");
    let mut command = Command::new("sh");
    command.args([script, what]).env("PREFIX", "/usr").env("BUILD", bins::directory());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    assert!(command.status().expect("sh runs").success(), "install.sh {what} fails");
}

fn journal() -> String {
    let mut command = Command::new("journalctl");
    command.args(["-b", "--no-pager", "-n", "30", "-u", "cgroupd.service"]);
    let output = command.args(["-u", "cgroupd-tree.service"]).output();
    output.map_or_else(|_| String::new(), |o| String::from_utf8_lossy(&o.stdout).into_owned())
}

/// A directory of cgroup2.
pub(crate) fn cgroup(path: &str) -> PathBuf {
    Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'))
}

/// A cgroup's interface file, without blanks at its end.
#[track_caller]
pub(crate) fn read(path: &str, file: &str) -> String {
    let file = cgroup(path).join(file);
    let text = fs::read_to_string(&file);
    text.unwrap_or_else(|error| panic!("{}: {error}", file.display())).trim_end().to_owned()
}

/// The process that holds the tree.
#[track_caller]
pub(crate) fn holder() -> i32 {
    read(&format!("{TREE}/.holder"), "cgroup.procs").parse().expect("one process")
}
