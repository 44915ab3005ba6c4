//! All tests in all guests: one boot for each layout and kernel, in which every test program of
//! the workspace runs, and the demo and a short benchmark too.

mod inside;
mod plan;
mod report;
mod score;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use super::{Ended, Guest, Kernel, Mode, Sinks};
use crate::need;
use inside::Outcome;
pub use inside::run_plan;
pub use plan::Extent;
use plan::Plan;
pub use report::Report;
pub use report::matching;
use score::Score;

/// A place of the matrix: `mode/kernel`.
pub type Place = (Mode, Kernel);

/// Every layout that a kernel has. 6.12 is asked what it alone has: a v2 with the newer files,
/// and memory and cpuset on v2 beside controllers on v1.
pub const PLACES: [Place; 6] = [
    (Mode::Unified, Kernel::V6_1),
    (Mode::Legacy, Kernel::V6_1),
    (Mode::Hybrid, Kernel::V6_1),
    (Mode::Systemd, Kernel::V6_1),
    (Mode::Unified, Kernel::V6_12),
    (Mode::Hybrid, Kernel::V6_12),
];

/// Enough for the tests that allocate until they are stopped.
const MEMORY: u32 = 1024;
/// How long a guest may take for all programs.
const LIMIT: Duration = Duration::from_secs(2700);

/// How it went in one guest.
#[derive(Debug)]
pub(crate) struct Boot {
    pub(crate) place: Place,
    pub(crate) outcomes: Vec<(Outcome, Score)>,
    /// The programs that other guests run, with the same result.
    pub(crate) elsewhere: Vec<String>,
    pub(crate) ended: io::Result<Ended>,
}

/// Runs the programs of this extent whose names contain one of `programs` (all, when it is empty) in
/// these guests, `jobs` at a time.
///
/// # Errors
/// The workspace cannot be built, or the logs cannot be written.
pub fn run(
    places: &[Place],
    extent: Extent,
    programs: &[String],
    jobs: usize,
) -> io::Result<Report> {
    let plan = Plan::of_the_workspace(programs)?;
    let logs = super::share::target().join("guest-logs");
    let (waiting, boots) = (Mutex::new(places.iter().copied()), Mutex::new(Vec::new()));
    let next = || waiting.lock().expect("nothing panics with it").next();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(place) = next() {
                    let (plan, elsewhere) = plan.for_one_of(places, place, extent);
                    let boot = Boot { elsewhere, ..boot(place, &plan, &logs) };
                    boots.lock().expect("nothing panics with it").push(boot);
                }
            });
        }
    });
    let mut boots = boots.into_inner().expect("nothing panics with it");
    boots.sort_by_key(|boot: &Boot| places.iter().position(|place| *place == boot.place));
    Ok(Report { boots, logs })
}

fn boot(place: Place, plan: &Plan, logs: &Path) -> Boot {
    let (outcomes, lines) = std::sync::mpsc::channel();
    let logs = logs.join(format!("{}-{}", place.0, place.1));
    let sink = Lines::new(move |line| {
        if let Ok(outcome) = serde_json::from_str::<Outcome>(line) {
            let score = Score::of(&outcome);
            report::progress(place, &outcome, &score, &logs);
            // The receiver lives until the guest has ended.
            let _ = outcomes.send((outcome, score));
        }
    });
    let ended = run_guest(place, plan, sink);
    Boot { place, outcomes: lines.iter().collect(), elsewhere: Vec::new(), ended }
}

fn run_guest((mode, kernel): Place, plan: &Plan, sink: Lines) -> io::Result<Ended> {
    let guest = plan.guest.to_string_lossy().into_owned();
    let command = [guest, "inside".to_owned(), serde_json::to_string(plan)?];
    let mut guest = Guest::new(mode, kernel);
    (guest.memory, guest.limit) = (MEMORY, LIMIT);
    guest.env = vec![
        (need::VARIABLE.to_owned(), required(mode, kernel).to_owned()),
        (crate::bins::VARIABLE.to_owned(), plan.executables.to_string_lossy().into_owned()),
    ];
    guest.run(&command, Sinks { out: Box::new(sink), err: Box::new(io::stderr()) })
}

/// What every guest of this kind has: a test that does not find it there has failed.
fn required(mode: Mode, kernel: Kernel) -> &'static str {
    match (mode, kernel) {
        (Mode::Unified | Mode::Systemd, Kernel::V6_1) => "root,bus,userns,v2",
        (Mode::Unified | Mode::Systemd, Kernel::V6_12) => "root,bus,userns,v2,peer-pidfd",
        (Mode::Legacy, _) => "root,bus,userns,v1",
        (Mode::Hybrid, Kernel::V6_1) => "root,bus,userns,v1,v2",
        (Mode::Hybrid, Kernel::V6_12) => "root,bus,userns,v1,v2,peer-pidfd",
    }
}

/// Hands on what is written line by line.
struct Lines {
    rest: Vec<u8>,
    to: Box<dyn FnMut(&str) + Send>,
}

impl Lines {
    fn new(to: impl FnMut(&str) + Send + 'static) -> Self {
        Self { rest: Vec::new(), to: Box::new(to) }
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            (self.to)(String::from_utf8_lossy(&line).trim_end());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
