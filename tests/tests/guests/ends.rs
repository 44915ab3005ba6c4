//! How guests end: by themselves, or they are ended; no process of theirs survives.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cgroupd_tests::guest::{Failure, Guest, Kernel, Mode};
use cgroupd_tests::{cgroups, peer};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{run, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("a_hang_is_ended", hang),
        test("a_guest_that_breaks_is_no_success", broken),
        test("nothing_survives_an_interrupt", || survives_nothing(Signal::SIGINT)),
        test("nothing_survives_a_termination", || survives_nothing(Signal::SIGTERM)),
        test("nothing_survives_a_kill", || survives_nothing(Signal::SIGKILL)),
    ]
}

fn hang() {
    let mut guest = Guest::new(Mode::Unified, Kernel::V6_1);
    guest.limit = Duration::from_secs(15);
    let begin = Instant::now();
    let ran = run(&guest, "echo begun; sleep 1000");
    assert!(matches!(ran.ended.status, Err(Failure::Hang { .. })), "{:?}", ran.ended.status);
    assert_eq!(ran.out, "begun\n", "what came before is kept");
    let took = begin.elapsed();
    assert!(took >= guest.limit && took < guest.limit + Duration::from_secs(10), "{took:?}");
    assert_eq!(peer::children(std::process::id().cast_signed()), [0; 0]);
}

fn broken() {
    let guest = Guest::new(Mode::Unified, Kernel::V6_1);
    let ran = run(&guest, "echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger");
    let status = ran.ended.status;
    let is_told =
        matches!(&status, Err(Failure::Broken { console, .. }) if console.contains("panic"));
    assert!(is_told, "{status:?}");
}

/// A program that runs a guest; killed when this is dropped.
struct Runner(Child);

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

fn survives_nothing(signal: Signal) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guest"));
    command.args(["run", "--limit", "60", "--", "sh", "-c", "echo begun; sleep 1000"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut runner = Runner(command.spawn().expect("our own program"));
    let begun = &mut [0; 6];
    let mut out = runner.0.stdout.take().expect("piped");
    std::io::Read::read_exact(&mut out, begun).expect("the guest runs");
    let number = runner.0.id().cast_signed();
    let processes = peer::children(number);
    assert_eq!(processes.len(), 2, "QEMU and virtiofsd");
    kill(Pid::from_raw(number), signal).expect("it runs");
    runner.0.wait().expect("our child");
    let end = Instant::now() + Duration::from_secs(10);
    while processes.iter().any(|pid| is_alive(*pid)) {
        assert!(Instant::now() < end, "of {processes:?} some are left");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!has_files(number), "it left files");
}

fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie waits for whoever reaps it, and is nothing else any more.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Whether there are temporary files of this process.
fn has_files(pid: i32) -> bool {
    let prefix = format!("{}{pid}-", cgroups::PREFIX);
    let entries = std::fs::read_dir(std::env::temp_dir()).expect("a directory").flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
}
