//! A private bus: a real dbus-daemon in a directory of its own, with the packaged policy file.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::need::patience;

/// What a system bus lets through unless a policy file says more.
const SYSTEM: &str = r#"
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>"#;

/// A bus that forwards anything to anybody, forgeries included.
const PERMISSIVE: &str = r#"
  <policy context="mandatory">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow send_requested_reply="false" send_type="method_return"/>
    <allow receive_requested_reply="false" receive_type="method_return"/>
    <allow eavesdrop="true"/>
  </policy>"#;

/// How strict a bus is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// As distributions configure theirs.
    System,
    /// Nothing is held back.
    Permissive,
}

/// A bus that can be started, stopped, and started again at the same address. Everything is
/// gone when it is dropped.
#[derive(Debug)]
pub struct Bus {
    dir: PathBuf,
    daemon: Option<Child>,
}

impl Bus {
    /// Makes the directory and the configuration; nothing runs yet.
    ///
    /// # Panics
    /// When the directory cannot be made.
    #[must_use]
    pub fn prepare(strictness: Strictness) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("cgroupd-test-bus-{}-{number}", std::process::id());
        let bus = Self { dir: std::env::temp_dir().join(name), daemon: None };
        fs::create_dir(&bus.dir).expect("a directory of our own");
        // The bus changes to an ordinary user and others connect to it.
        fs::set_permissions(&bus.dir, fs::Permissions::from_mode(0o755)).expect("our directory");
        fs::write(bus.dir.join("bus.conf"), bus.configuration(strictness)).expect("our directory");
        bus
    }

    /// A system-like bus that runs.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn running(strictness: Strictness) -> Self {
        let mut bus = Self::prepare(strictness);
        bus.start();
        bus
    }

    fn configuration(&self, strictness: Strictness) -> String {
        let packaged = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/dbus/org.cgroupd1.conf");
        let policy = match strictness {
            Strictness::System => format!("{SYSTEM}\n  <include>{packaged}</include>"),
            Strictness::Permissive => PERMISSIVE.to_owned(),
        };
        format!(
            r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <user>nobody</user>
  <listen>{}</listen>
  <auth>EXTERNAL</auth>{policy}
</busconfig>
"#,
            self.address()
        )
    }

    /// Where its socket is.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("bus")
    }

    /// Its D-Bus address.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix:path={}", self.socket().display())
    }

    /// The process of the bus.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.daemon.as_ref().expect("running").id().cast_signed()
    }

    /// Starts it; it takes connections when this returns.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(&mut self) {
        self.spawn(self.command(), Stdio::null());
        self.wait(|path| UnixStream::connect(path).is_ok());
    }

    /// Starts it on a socket that *this* process listens on, as systemd and inetd do.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_activated(&mut self) {
        let listener = UnixListener::bind(self.socket()).expect("no bus there");
        let everybody = fs::Permissions::from_mode(0o666);
        fs::set_permissions(self.socket(), everybody).expect("our socket");
        let mut command = Command::new("sh");
        // LISTEN_FDS start at 3, and must be meant for the process that gets them.
        let script = r#"LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" --address=systemd: 3<&0 0</dev/null"#;
        command.args(["-c", script, "sh"]);
        command.arg("dbus-daemon").args(self.arguments());
        self.spawn(command, Stdio::from(OwnedFd::from(listener)));
    }

    fn command(&self) -> Command {
        let mut command = Command::new("dbus-daemon");
        command.args(self.arguments());
        command
    }

    fn arguments(&self) -> [String; 3] {
        let file = format!("--config-file={}", self.dir.join("bus.conf").display());
        [file, "--nofork".to_owned(), "--nopidfile".to_owned()]
    }

    fn spawn(&mut self, mut command: Command, stdin: Stdio) {
        let log = fs::File::create(self.dir.join("log")).expect("our directory");
        command.stdin(stdin).stdout(Stdio::null()).stderr(log);
        self.daemon = Some(command.spawn().expect("dbus-daemon is installed"));
    }

    fn wait(&self, ready: impl Fn(&Path) -> bool) {
        let end = Instant::now() + patience(Duration::from_secs(10));
        while !ready(&self.socket()) {
            let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            assert!(Instant::now() < end, "the bus does not start: {log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it as a crash would.
    pub fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill().and_then(|()| daemon.wait());
        }
        match fs::remove_file(self.socket()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => eprintln!("bus: {error}"),
            _ => {}
        }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
