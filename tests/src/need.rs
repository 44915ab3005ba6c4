//! What a test needs of the machine. Where it is missing the test lists itself as ignored, with
//! the reason; where `CGROUPD_REQUIRE` names it, that is a failure instead.

use std::cell::Cell;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Failed, Trial};

use crate::guest;
use crate::hierarchies::{self, Version};

/// The variable: names of [`Need`]s, with commas in between.
pub const VARIABLE: &str = "CGROUPD_REQUIRE";

/// A test that takes longer than this in an emulated guest is a long one.
const LONG: Duration = Duration::from_secs(5);

/// A prerequisite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Uid 0 with the host's capabilities, and a cgroup file system to work on.
    Root,
    /// A dbus-daemon to start.
    Bus,
    /// The command-line clients of three D-Bus libraries.
    DbusTools,
    /// User namespaces, for ordinary users too.
    UserNs,
    /// A v1 hierarchy with a controller.
    V1,
    /// A cgroup2 mount.
    V2,
    /// cgroup2 with all controllers, and no v1.
    Unified,
    /// cgroup2 beside v1, which holds the memory controller.
    Hybrid,
    /// A disk that is there to be written to, with the serial number `scratch`.
    ScratchDisk,
    /// systemd as pid 1, on a machine whose services may be changed.
    Systemd,
    /// podman, crun, runc and LXC, on a machine whose `/etc` may be changed.
    Runtimes,
    /// `SO_PEERPIDFD`, Linux 6.5.
    PeerPidfd,
    /// A kernel that lets root choose the next process number.
    ChosenPids,
    /// What it takes to start guests, and not to be one.
    Guest,
    /// FUSE, for a file system that nobody serves.
    Fuse,
    /// A Python, which can end the first thread of a process alone.
    Python,
    /// strace, which makes system calls fail.
    Strace,
}

impl Need {
    /// How `CGROUPD_REQUIRE` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Bus | Self::DbusTools => "bus",
            Self::UserNs => "userns",
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Unified => "unified",
            Self::Hybrid => "hybrid",
            Self::ScratchDisk => "scratch-disk",
            Self::Systemd => "systemd",
            Self::Runtimes => "runtimes",
            Self::PeerPidfd => "peer-pidfd",
            Self::ChosenPids => "chosen-pids",
            Self::Guest => "guest",
            Self::Fuse => "fuse",
            Self::Python => "python",
            Self::Strace => "strace",
        }
    }

    /// Why it is not there.
    pub fn missing(self) -> Option<&'static str> {
        let (there, why) = match self {
            Self::Root => (is_host_root(), "not root with CAP_SYS_ADMIN and a cgroup mount"),
            Self::Bus => (runs("dbus-daemon"), "dbus-daemon is not installed"),
            Self::DbusTools => (has_tools(), "busctl, gdbus or dbus-send is not installed"),
            Self::UserNs => (has_user_ns(), "ordinary users cannot make user namespaces"),
            Self::V1 => (has(Version::V1), "no v1 hierarchy is mounted"),
            Self::V2 => (has(Version::V2), "cgroup2 is not mounted"),
            Self::Unified => (is_unified(), "cgroup2 is not the only layout here"),
            Self::Hybrid => (is_hybrid(), "cgroup2 is not mounted beside v1's memory controller"),
            Self::ScratchDisk => (scratch_disk().is_some(), "no disk has the serial scratch"),
            Self::Systemd if !runs_systemd() => (false, "pid 1 is not systemd"),
            Self::Systemd => (
                is_required(self.name()),
                "it changes the machine's services: CGROUPD_REQUIRE=systemd where it may",
            ),
            // podman takes its time to say what version it is.
            Self::Runtimes if !is_required(self.name()) => {
                (false, "it writes to /etc: CGROUPD_REQUIRE=runtimes where it may")
            }
            Self::Runtimes => (has_runtimes(), "podman, crun, runc or lxc is not installed"),
            Self::PeerPidfd => (linux() >= (6, 5), "SO_PEERPIDFD needs Linux 6.5"),
            Self::ChosenPids => (
                Path::new("/proc/sys/kernel/ns_last_pid").exists(),
                "the kernel is built without CHECKPOINT_RESTORE",
            ),
            Self::Guest => return guest::missing(),
            Self::Fuse => (Path::new("/dev/fuse").exists(), "there is no /dev/fuse"),
            Self::Python => (runs("python3"), "python3 is not installed"),
            Self::Strace => (runs("strace"), "strace is not installed"),
        };
        (!there).then_some(why)
    }
}

fn is_required(what: &str) -> bool {
    std::env::var(VARIABLE).is_ok_and(|list| list.split(',').any(|name| name == what))
}

thread_local! {
    static SKIPPED: Cell<Option<(&'static str, &'static str)>> = const { Cell::new(None) };
}

/// What a test calls, and then returns, when it finds that this machine has nothing for it: it is
/// listed as ignored because of `why` or, where `CGROUPD_REQUIRE` has `what`, has failed.
pub fn skip(what: &'static str, why: &'static str) {
    SKIPPED.set(Some((what, why)));
}

/// Runs a test to its end, or to where it skipped the rest. Where guests share the machine, those
/// that take long are told.
fn complete(name: &str, test: impl FnOnce()) -> Result<Completion, Failed> {
    SKIPPED.take();
    let began = Instant::now();
    test();
    let took = began.elapsed();
    if is_translated() && took > LONG {
        eprintln!("{name} took {} s", took.as_secs());
    }
    match SKIPPED.take() {
        None => Ok(Completion::Completed),
        Some((what, why)) if is_required(what) => {
            Err(format!("{what} is required, but {why}").into())
        }
        Some((_, why)) => Ok(Completion::ignored_with(why)),
    }
}

/// A test with prerequisites; it fails by panicking.
pub fn trial(name: &str, needs: &[Need], test: impl FnOnce() + Send + 'static) -> Trial {
    let absent = needs.iter().find_map(|need| need.missing().map(|why| (*need, why)));
    match absent {
        None => {
            let own = name.to_owned();
            Trial::ignorable_test(name, move || complete(&own, test))
        }
        Some((need, why)) if is_required(need.name()) => {
            let text = format!("{} is required, but {why}", need.name());
            Trial::test(name, move || Err(Failed::from(text)))
        }
        Some((need, why)) => {
            let completion = move || Ok(Completion::ignored_with(why));
            let kind = format!("needs {}: {why}", need.name());
            Trial::ignorable_test(name, completion).with_kind(kind).with_ignored_flag(true)
        }
    }
}

fn runs_systemd() -> bool {
    let name = std::fs::read_to_string("/proc/1/comm").unwrap_or_default();
    name.trim() == "systemd" && Path::new("/run/systemd/system").is_dir()
}

fn is_host_root() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    let caps =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
    nix::unistd::geteuid().is_root() && caps && !hierarchies::all().is_empty()
}

/// Whether QEMU translates this processor's instructions, which the name that it gives it tells:
/// system calls and switches take up to ten times as long then.
pub fn is_translated() -> bool {
    // Asked once: later a test may have left no descriptors.
    static IS_TRANSLATED: OnceLock<bool> = OnceLock::new();
    *IS_TRANSLATED.get_or_init(|| {
        let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        about.contains("QEMU TCG CPU")
    })
}

/// A limit of time as it is on this processor.
pub fn patience(limit: Duration) -> Duration {
    if is_translated() { limit * 20 } else { limit }
}

/// How often something is tried, or how much of it there is: less where it takes so much longer,
/// since other machines do all of it.
pub fn times(count: u32) -> u32 {
    if is_translated() { count.div_ceil(3) } else { count }
}

fn has(version: Version) -> bool {
    hierarchies::all().iter().any(|hierarchy| hierarchy.version == version)
}

fn is_unified() -> bool {
    has(Version::V2) && !has(Version::V1)
}

fn is_hybrid() -> bool {
    has(Version::V2) && hierarchies::v1_of("memory").is_some()
}

/// The name of the disk that tests may limit, `vda`.
pub fn scratch_disk() -> Option<String> {
    let disks = std::fs::read_dir("/sys/block").ok()?.flatten();
    let mut disks = disks.filter_map(|disk| disk.file_name().into_string().ok());
    disks.find(|disk| {
        let serial = std::fs::read_to_string(format!("/sys/block/{disk}/serial"));
        serial.is_ok_and(|serial| serial.trim() == "scratch")
    })
}

fn has_runtimes() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| ["podman", "crun", "runc", "lxc-info"].into_iter().all(runs))
}

/// dbus-send and gdbus have no option that does nothing and succeeds: that they start is enough.
fn has_tools() -> bool {
    runs("busctl") && status("gdbus").is_ok() && status("dbus-send").is_ok()
}

fn runs(program: &str) -> bool {
    status(program).is_ok_and(|status| status.success())
}

fn status(program: &str) -> io::Result<ExitStatus> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status()
}

fn has_user_ns() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let mut command = Command::new("unshare");
        command.args(["-Ur", "true"]).uid(crate::peer::ALICE).gid(crate::peer::ALICE);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

/// The kernel's major and minor version.
pub fn linux() -> (u32, u32) {
    let release = nix::sys::utsname::uname();
    let text = release.map(|name| name.release().to_string_lossy().into_owned());
    let text = text.unwrap_or_default();
    let mut parts = text.split(['.', '-']).map_while(|part| part.parse().ok());
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}
