//! Real guests: what runs in one comes back, what hangs is ended, nothing stays behind, and each
//! layout is the one it is called after. All tests of the workspace in all guests, which takes
//! longer, is `cargo run -p cgroupd-tests --bin guest -- matrix`.
//!
//! One guest at a time: each has as many processors as this machine can spare.

mod ends;
mod layouts;
mod runs;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use cgroupd_tests::guest::{Ended, Guest, Sinks};
use cgroupd_tests::need::{self, Need};
use cgroupd_tests::{peer, sweep};
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    if let Some(code) = peer::run_if_asked() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    if !arguments.list {
        sweep::leftovers();
    }
    let trials = [runs::trials(), ends::trials(), layouts::trials()];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code()
}

fn test(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    need::trial(name, &[Need::Guest], test)
}

/// A run with what it wrote.
struct Run {
    ended: Ended,
    out: String,
    err: String,
}

/// Runs a script of `sh` in a guest.
fn run(guest: &Guest, script: &str) -> Run {
    let (out, err) = (Kept::default(), Kept::default());
    let sinks = Sinks { out: Box::new(out.clone()), err: Box::new(err.clone()) };
    let command = ["sh", "-c", script].map(str::to_owned);
    let ended = guest.run(&command, sinks).expect("the guest starts");
    Run { ended, out: out.text(), err: err.text() }
}

impl Run {
    /// What it wrote to standard output, when it succeeded.
    fn success(self) -> String {
        assert!(matches!(self.ended.status, Ok(0)), "{:?}\n{}", self.ended.status, self.err);
        self.out
    }
}

/// Keeps what is written.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no writer panics")).into_owned()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panics").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
