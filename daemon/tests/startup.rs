//! The daemon as whoever starts it sees it: exit codes, readiness, signals, its socket.
//!
//! Most of it needs root. Everything it makes in the cgroup hierarchies lies below a managed
//! root of its own, which is removed at the end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use cgroupd::cgroup::{Hierarchy, Layout, Version};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fs::{XattrFlags, setxattr};
use tempfile::TempDir;

type Test = fn() -> Result<(), Failed>;

const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let as_anybody: &[(&str, Test)] = &[
        ("a_good_configuration_is_ok", a_good_configuration_is_ok),
        ("mistakes_are_listed_and_exit_with_78", mistakes_are_listed_and_exit_with_78),
        ("anybody_but_root_is_told_what_is_missing", anybody_but_root_is_told_what_is_missing),
    ];
    let as_root: &[(&str, Test)] = &[
        ("it_says_ready_serves_and_cleans_up", it_says_ready_serves_and_cleans_up),
        ("the_service_manager_hears_of_it", the_service_manager_hears_of_it),
        ("one_daemon_per_socket", one_daemon_per_socket),
        ("hangup_rereads_the_configuration", hangup_rereads_the_configuration),
        ("a_descriptor_that_is_not_open_is_refused", a_descriptor_that_is_not_open_is_refused),
        ("a_hierarchy_that_is_hidden_is_passed_over", a_hierarchy_that_is_hidden_is_passed_over),
        ("of_two_mounts_the_one_that_is_not_hidden_is_taken", the_visible_mount_is_taken),
        ("what_is_mounted_over_a_hierarchy_is_what_counts", the_top_mount_counts),
        ("a_user_database_that_does_not_answer_is_not_waited_for", silent_user_database),
        ("a_user_that_is_named_is_delegated_to_after_the_start", good_user_database),
    ];
    let is_root = nix::unistd::geteuid().is_root();
    let required = std::env::var("CGROUPD_REQUIRE").is_ok_and(|list| list.contains("root"));
    let trial =
        |&(name, test): &(&str, Test), runs: bool| Trial::test(name, test).with_ignored_flag(!runs);
    let anybody = as_anybody.iter().map(|test| trial(test, true));
    let root = as_root.iter().map(|test| trial(test, is_root || required).with_kind("needs root"));
    libtest_mimic::run(&Arguments::from_args(), anybody.chain(root).collect()).exit_code()
}

/// A directory that other users can look into, with the daemon's binary.
fn directory() -> Result<TempDir, Failed> {
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    Ok(directory)
}

fn cgroupd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cgroupd"));
    command.args(arguments).stdin(Stdio::null()).env_remove("JOURNAL_STREAM");
    command
}

/// The daemon in a mount namespace of its own, in which the shell `script` runs before.
fn among_own_mounts(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", &format!(r#"{script}; exec "$0" "$@""#)]);
    command.arg(env!("CARGO_BIN_EXE_cgroupd")).args(arguments);
    command.stdin(Stdio::null()).env_remove("JOURNAL_STREAM");
    command
}

/// What it said, and its exit code.
fn outcome(output: &Output) -> (Option<i32>, String) {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn check(condition: bool, what: impl Into<String>) -> Result<(), Failed> {
    if condition { Ok(()) } else { Err(what.into().into()) }
}

fn a_good_configuration_is_ok() -> Result<(), Failed> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/cgroupd.toml");
    let file = shipped.to_str().unwrap_or_default();
    let (code, said) = outcome(&cgroupd(&["check-config", file]).output()?);
    check(code == Some(0) && said.starts_with("OK"), format!("{code:?} {said}"))
}

fn mistakes_are_listed_and_exit_with_78() -> Result<(), Failed> {
    let directory = directory()?;
    let file = directory.path().join("x.toml");
    fs::write(&file, "rot = \"/\"\n[quota]\ndepth = 0\n")?;
    let file = file.to_str().unwrap_or_default();
    let (code, said) = outcome(&cgroupd(&["check-config", file]).output()?);
    let expected = [
        format!("cgroupd: {file}:1: unknown key `rot`; did you mean `root`?"),
        format!("cgroupd: {file}:3: `quota.depth`: 0 is not between 1 and 32"),
    ];
    check(code == Some(78), format!("{code:?}"))?;
    check(said.lines().eq(expected.iter().map(String::as_str)), said)
}

fn anybody_but_root_is_told_what_is_missing() -> Result<(), Failed> {
    // The build's directory may be closed to others.
    let directory = directory()?;
    let binary = directory.path().join("cgroupd");
    fs::copy(env!("CARGO_BIN_EXE_cgroupd"), &binary)?;
    for arguments in [&[][..], &["demo"]] {
        let mut command = Command::new(&binary);
        command.args(arguments);
        if nix::unistd::geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        let (code, said) = outcome(&output_of_a_copy(&mut command)?);
        check(code == Some(77), format!("{arguments:?}: {code:?} {said}"))?;
        check(said.starts_with("cgroupd: must run as root (it is uid "), said)?;
    }
    Ok(())
}

/// A process that another test has just forked may have the copy open for writing until it executes.
fn output_of_a_copy(command: &mut Command) -> std::io::Result<Output> {
    loop {
        match command.output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            output => return output,
        }
    }
}

/// A daemon on a socket and in a managed root of its own.
struct Daemon {
    child: Child,
    socket: PathBuf,
    root: String,
}

impl Daemon {
    /// Starts it and waits until it says that it is ready.
    fn start(directory: &Path, more: &[&str]) -> Result<Self, Failed> {
        Self::start_by(directory, more, cgroupd)
    }

    /// The same among mounts of its own, which the shell `script` changes before.
    fn start_among(directory: &Path, script: &str, more: &[&str]) -> Result<Self, Failed> {
        Self::start_by(directory, more, |arguments| among_own_mounts(script, arguments))
    }

    fn start_by(
        directory: &Path,
        more: &[&str],
        command: impl Fn(&[&str]) -> Command,
    ) -> Result<Self, Failed> {
        let (reader, writer) = std::io::pipe()?;
        fcntl(&writer, FcntlArg::F_SETFD(FdFlag::empty()))?;
        let number = writer.as_raw_fd().to_string();
        let (socket, root) = places(directory);
        let socket_text = socket.to_str().unwrap_or_default();
        let fixed = ["--socket", socket_text, "--root", &root, "--no-system-bus", "--ready-fd"];
        let log = File::create(directory.join("log"))?;
        let mut command = command(&[&fixed[..], &[&number], more].concat());
        let child = command.stderr(log).spawn()?;
        drop(writer);
        let daemon = Self { child, socket, root };
        let mut polled = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        let answered = poll(&mut polled, PollTimeout::try_from(PATIENCE)?)? == 1;
        check(answered, format!("not ready in time: {}", daemon.log()))?;
        let mut line = String::new();
        BufReader::new(reader).read_line(&mut line)?;
        check(line == "\n", format!("not ready: {line:?}, {}", daemon.log()))?;
        Ok(daemon)
    }

    fn log(&self) -> String {
        let file = self.socket.with_file_name("log");
        fs::read_to_string(file).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) -> Result<(), Failed> {
        Ok(kill(Pid::from_raw(self.child.id().try_into()?), signal)?)
    }

    /// Waits until the log contains `text`.
    fn says(&self, text: &str) -> Result<(), Failed> {
        let start = Instant::now();
        while !self.log().contains(text) {
            check(start.elapsed() < PATIENCE, format!("no {text:?} in {}", self.log()))?;
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<Option<i32>, Failed> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            check(start.elapsed() < PATIENCE, format!("it does not stop: {}", self.log()))?;
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        remove_root(&self.root);
    }
}

/// The socket and the managed root of the daemon of a directory.
fn places(directory: &Path) -> (PathBuf, String) {
    let name = directory.file_name().map(|name| name.to_string_lossy().replace('.', ""));
    let root = format!("{}/cgroupd-test-startup-{}", above(), name.unwrap_or_default());
    (directory.join("socket"), root)
}

/// Removes a managed root from every hierarchy.
fn remove_root(root: &str) {
    let above = above();
    let layout = Layout::detect(if above.is_empty() { "/" } else { &above });
    for hierarchy in layout.into_iter().flat_map(|layout| layout.hierarchies) {
        if let Ok(own) = hierarchy.root.open(root[above.len()..].trim_start_matches('/')) {
            let _ = own.remove(LATE);
        }
        let _ = hierarchy.root.remove(root[above.len()..].trim_start_matches('/'));
    }
}

/// The cgroup in which the managed roots of tests are made, where systemd owns the others.
fn above() -> String {
    std::env::var("CGROUPD_TEST_ROOT").unwrap_or_default().trim_end_matches('/').to_owned()
}

/// The greeting of a D-Bus server to somebody who authenticates.
fn greeting(socket: &Path) -> Result<String, Failed> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"\0AUTH EXTERNAL 30\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

fn it_says_ready_serves_and_cleans_up() -> Result<(), Failed> {
    let directory = directory()?;
    let mut daemon = Daemon::start(directory.path(), &[])?;
    check(greeting(&daemon.socket)?.starts_with("OK "), "no greeting")?;
    let mode = fs::metadata(&daemon.socket)?.permissions().mode() & 0o777;
    check(mode == 0o666, format!("{mode:o}"))?;
    let line = format!("root {}, serving on unix:path={}", daemon.root, daemon.socket.display());
    daemon.says(&line)?;
    daemon.signal(Signal::SIGTERM)?;
    check(daemon.wait()? == Some(0), daemon.log())?;
    check(!daemon.socket.exists(), "the socket is still there")
}

fn the_service_manager_hears_of_it() -> Result<(), Failed> {
    let directory = directory()?;
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path)?;
    manager.set_read_timeout(Some(PATIENCE))?;
    let heard = || -> Result<String, Failed> {
        let mut text = [0; 256];
        let count = manager.recv(&mut text)?;
        Ok(String::from_utf8_lossy(&text[..count]).into_owned())
    };
    let (socket, root) = places(directory.path());
    let arguments = ["--socket", socket.to_str().unwrap_or_default(), "--root", &root];
    let child = cgroupd(&arguments)
        .arg("--no-system-bus")
        .env("NOTIFY_SOCKET", &path)
        .stderr(File::create(directory.path().join("log"))?)
        .spawn()?;
    let mut daemon = Daemon { child, socket, root };
    check(heard()? == "READY=1", "not ready")?;
    check(greeting(&daemon.socket)?.starts_with("OK "), "no greeting")?;
    daemon.signal(Signal::SIGHUP)?;
    check(heard()?.starts_with("RELOADING=1\nMONOTONIC_USEC="), "not reloading")?;
    check(heard()? == "READY=1", "not ready again")?;
    daemon.signal(Signal::SIGINT)?;
    check(heard()? == "STOPPING=1", "not stopping")?;
    check(daemon.wait()? == Some(0), daemon.log())
}

fn one_daemon_per_socket() -> Result<(), Failed> {
    let directory = directory()?;
    let first = Daemon::start(directory.path(), &[])?;
    let socket = first.socket.to_str().unwrap_or_default();
    let second = cgroupd(&["--socket", socket, "--root", &first.root, "--no-system-bus"]);
    let (code, said) = outcome(&{ second }.output()?);
    check(code == Some(1) && said.contains("another daemon serves this socket"), said)?;
    check(greeting(&first.socket)?.starts_with("OK "), "the first one was disturbed")?;

    // A socket that a killed daemon left behind is in nobody's way.
    first.signal(Signal::SIGKILL)?;
    drop(first);
    check(directory.path().join("socket").exists(), "there is nothing to replace")?;
    let next = Daemon::start(directory.path(), &[])?;
    check(greeting(&next.socket)?.starts_with("OK "), "no greeting")
}

fn hangup_rereads_the_configuration() -> Result<(), Failed> {
    let directory = directory()?;
    let file = directory.path().join("x.toml");
    fs::write(&file, "")?;
    let daemon = Daemon::start(directory.path(), &["--config", file.to_str().unwrap_or_default()])?;
    let _held = UnixStream::connect(&daemon.socket)?;
    check(greeting(&daemon.socket)?.starts_with("OK "), "the second one is let in")?;

    fs::write(
        &file,
        "[limits]\nconnections-per-key = 1\nhalf-open-per-key = 1\n[quota]\ndepth = 3\n",
    )?;
    daemon.signal(Signal::SIGHUP)?;
    daemon.says("configuration read again")?;
    daemon.says("quota.depth changed in the configuration: restart to apply it")?;
    // At least the one that is held counts: this one is closed without a word.
    let mut refused = String::new();
    let _ = UnixStream::connect(&daemon.socket)?.read_to_string(&mut refused);
    check(refused.is_empty(), refused)?;
    daemon.says("a connection was refused")?;

    fs::write(&file, "nonsense = 1\n")?;
    daemon.signal(Signal::SIGHUP)?;
    daemon.says("x.toml:1: unknown key `nonsense`")?;
    daemon.says("the configuration stays as it was")
}

fn a_descriptor_that_is_not_open_is_refused() -> Result<(), Failed> {
    let (code, said) = outcome(&cgroupd(&["--ready-fd", "999"]).output()?);
    check(code == Some(1) && said.contains("cannot use --ready-fd 999"), said)
}

/// Where a hierarchy is mounted, and what the first line of the log calls it: a v1 controller
/// where there is one.
fn a_hierarchy() -> Result<(String, String), Failed> {
    let above = above();
    let layout = Layout::detect(if above.is_empty() { "/" } else { &above })?;
    let is_v1 = |h: &&Hierarchy| h.version == Version::V1 && h.controllers.len() == 1;
    let found = layout.hierarchies.iter().find(is_v1).or(layout.hierarchies.last());
    let found = found.ok_or("no hierarchy")?;
    let name = found.controllers.first().unwrap_or(&found.label);
    Ok((found.mount.display().to_string(), name.clone()))
}

/// The controllers that the daemon says it manages.
fn managed(daemon: &Daemon) -> Vec<String> {
    let log = daemon.log();
    let list = log.split("controllers ").nth(1).and_then(|rest| rest.split(',').next());
    list.unwrap_or_default().split(' ').map(str::to_owned).collect()
}

fn a_hierarchy_that_is_hidden_is_passed_over() -> Result<(), Failed> {
    let (point, controller) = a_hierarchy()?;
    let directory = directory()?;
    if point != "/sys/fs/cgroup" {
        let script = format!("mount -t tmpfs none {point}");
        let daemon = Daemon::start_among(directory.path(), &script, &[])?;
        check(greeting(&daemon.socket)?.starts_with("OK "), "no greeting")?;
        daemon.says("a cgroup hierarchy is not managed: its mount cannot be reached")?;
        check(!managed(&daemon).contains(&controller), daemon.log())?;
    }
    // None that can be reached is no place to serve.
    let (socket, root) = places(directory.path());
    let arguments = ["--socket", socket.to_str().unwrap_or_default(), "--root", &root];
    let script = "mount -t tmpfs none /sys/fs/cgroup";
    let (code, said) = outcome(&among_own_mounts(script, &arguments).output()?);
    check(code == Some(1) && said.contains("no cgroup hierarchy is mounted where it can"), said)?;
    // The machine's own mounts have not changed: there it is managed.
    let daemon = Daemon::start(directory.path(), &[])?;
    check(managed(&daemon).contains(&controller), daemon.log())
}

fn the_visible_mount_is_taken() -> Result<(), Failed> {
    let (point, controller) = a_hierarchy()?;
    let directory = directory()?;
    let other = directory.path().join("x/other").display().to_string();
    let above = directory.path().join("x").display().to_string();
    fs::create_dir_all(&other)?;
    let again = format!("mount --bind {point} {other}");
    for script in [
        format!("{again}; mount -t tmpfs none {point}"),
        format!("{again}; mount -t tmpfs none {other}"),
        format!("{again}; mount -t tmpfs none {above}"),
        again.clone(),
    ] {
        let daemon = Daemon::start_among(directory.path(), &script, &[])?;
        check(managed(&daemon).contains(&controller), format!("{script}: {}", daemon.log()))?;
        check(!daemon.log().contains("not managed"), format!("{script}: {}", daemon.log()))?;
    }
    Ok(())
}

/// A subtree of a hierarchy, mounted over its root, has the same device: the managed root must
/// be known by where it really is.
fn the_top_mount_counts() -> Result<(), Failed> {
    let (point, controller) = a_hierarchy()?;
    let directory = directory()?;
    let (_, root) = places(directory.path());
    let first = Daemon::start(directory.path(), &[])?;
    let script = format!("mount --bind {point}{root} {point}");
    let other = directory.path().join("other");
    fs::create_dir(&other)?;
    let subtree = PathBuf::from(format!("{point}{root}"));
    let unit = PathBuf::from(format!("{point}{root}{}", above()));
    if unit != subtree {
        // systemd owns the tree: below the subtree, too, the daemon keeps to a delegated unit.
        fs::create_dir_all(&unit)?;
        setxattr(&unit, "user.delegate", b"1", XattrFlags::empty())?;
        let above = unit.ancestors().skip(1).take_while(|cgroup| cgroup.starts_with(&subtree));
        for cgroup in above.collect::<Vec<_>>().into_iter().rev() {
            fs::write(cgroup.join("cgroup.subtree_control"), format!("+{controller}"))?;
        }
    }
    let daemon = Daemon::start_among(&other, &script, &[])?;
    check(managed(&daemon).contains(&controller), daemon.log())?;
    // Its managed root is made in the subtree that it sees.
    let (_, inner) = places(&other);
    let made = PathBuf::from(format!("{point}{root}{inner}"));
    check(made.is_dir(), format!("{} is missing: {}", made.display(), daemon.log()))?;
    drop(daemon);
    for cgroup in made.ancestors().take_while(|cgroup| *cgroup != subtree) {
        fs::remove_dir(cgroup)?;
    }
    drop(first);
    Ok(())
}

/// The cgroup of a user that a configuration names, below the managed root.
const LATE: &str = "late-64321";

/// A user database that does not answer, whatever it is asked: a FIFO that nobody writes to, in
/// place of its file (open(2) waits). With it the commands that put it there for a daemon, and a
/// configuration that names one of its users.
fn user_database(directory: &Path) -> Result<(PathBuf, String, String), Failed> {
    let (fifo, file) = (directory.join("passwd"), directory.join("x.toml"));
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU)?;
    fs::write(&file, "[[delegate]]\nusers = [\"late\"]\npath = \"/late-{uid}\"\n")?;
    let script = format!("mount --bind {} /etc/passwd", fifo.display());
    Ok((fifo, script, file.display().to_string()))
}

fn silent_user_database() -> Result<(), Failed> {
    let directory = directory()?;
    let (_, script, file) = user_database(directory.path())?;
    let mut daemon = Daemon::start_among(directory.path(), &script, &["--config", &file])?;
    check(greeting(&daemon.socket)?.starts_with("OK "), "no greeting")?;
    // Nor is it waited for by a reload, twice, or by the end.
    for path in ["/a-{uid}", "/b-{uid}"] {
        fs::write(&file, format!("[[delegate]]\nusers = [\"late\"]\npath = \"{path}\"\n"))?;
        let times = daemon.log().matches("configuration read again").count();
        daemon.signal(Signal::SIGHUP)?;
        let start = Instant::now();
        while daemon.log().matches("configuration read again").count() == times {
            check(start.elapsed() < PATIENCE, format!("not read again: {}", daemon.log()))?;
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    check(greeting(&daemon.socket)?.starts_with("OK "), "no greeting")?;
    let start = Instant::now();
    daemon.signal(Signal::SIGTERM)?;
    check(daemon.wait()? == Some(0), daemon.log())?;
    check(start.elapsed() < PATIENCE / 2, format!("it took {:?} to stop", start.elapsed()))
}

/// The same with a database that answers.
fn good_user_database() -> Result<(), Failed> {
    let directory = directory()?;
    let (database, script, file) = user_database(directory.path())?;
    fs::remove_file(&database)?;
    fs::write(&database, "root:x:0:0::/:/bin/sh\nlate:x:64321:64321::/:/bin/sh\n")?;
    let daemon = Daemon::start_among(directory.path(), &script, &["--config", &file])?;
    daemon.says("delegated, as configured")?;
    check(daemon.log().contains(&format!("path=\"/{LATE}\"")), daemon.log())
}
