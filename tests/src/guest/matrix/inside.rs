//! In the guest: runs the programs one after the other and tells about each as it ends.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::plan::{Kind, Plan, Program};
use super::score::Score;
use crate::guest::process::Owned;
use crate::need::is_translated;

/// How long one program may take: the attacks on v1 take some 700 s where instructions are translated.
const LIMIT: Duration = Duration::from_secs(1500);

/// With more failures than these something is wrong, and running again does not help.
const MOST_AGAIN: usize = 3;

/// How a program ended.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Outcome {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// `None` when it was killed.
    pub(super) status: Option<i32>,
    pub(super) wall: Duration,
    /// Its standard output, which has the report of a test program.
    pub(super) output: String,
    pub(super) errors: String,
    /// Tests that failed, and passed when they ran again alone.
    #[serde(default)]
    pub(super) unsteady: Vec<String>,
}

/// Runs a plan given as JSON; one line of JSON on standard output for each program.
///
/// # Errors
/// It is not a plan, or a program cannot be started.
pub fn run_plan(plan: &str) -> io::Result<()> {
    let plan: Plan = serde_json::from_str(plan)?;
    for program in plan.programs {
        let mut outcome = run(program.clone())?;
        if is_translated() && outcome.kind == Kind::Tests {
            outcome.unsteady = again(&program, &outcome)?;
        }
        writeln!(io::stdout(), "{}", serde_json::to_string(&outcome)?)?;
    }
    Ok(())
}

/// Runs the tests that failed once more, each alone, and says which of them pass then: where two
/// guests share the processors of a busy machine and each instruction is translated, what races
/// with time may lose. They are reported; what fails again has failed.
fn again(program: &Program, outcome: &Outcome) -> io::Result<Vec<String>> {
    let failed = Score::of(outcome).failed;
    if failed.len() > MOST_AGAIN {
        return Ok(Vec::new());
    }
    let mut passed = Vec::new();
    for name in failed {
        let mut alone = program.clone();
        alone.arguments.extend(["--exact".to_owned(), name.clone()]);
        let score = Score::of(&run(alone)?);
        if score.passed == 1 && score.failed.is_empty() {
            passed.push(name);
        }
    }
    Ok(passed)
}

fn run(program: Program) -> io::Result<Outcome> {
    let begin = Instant::now();
    let (output, errors) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).current_dir(&program.directory).stdin(Stdio::null());
    command.envs(program.env).stdout(output.try_clone()?).stderr(errors.try_clone()?);
    let process = Owned(command.spawn()?);
    process.ends_before(begin + LIMIT)?;
    let (status, _) = process.end()?;
    let wall = begin.elapsed();
    let (output, mut errors) = (text(output)?, text(errors)?);
    if let Some(signal) = status.signal() {
        errors.push_str(&format!("\nended by signal {signal} after {} s\n", wall.as_secs()));
    }
    let (name, kind, status) = (program.name, program.kind, status.code());
    Ok(Outcome { name, kind, status, wall, output, errors, unsteady: Vec::new() })
}

fn text(mut file: File) -> io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
