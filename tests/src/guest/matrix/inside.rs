//! In the guest: runs the programs one after the other and tells about each as it ends.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::plan::{Kind, Plan, Program};
use crate::guest::process::Owned;

/// How long one program may take.
const LIMIT: Duration = Duration::from_secs(900);

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
}

/// Runs a plan given as JSON; one line of JSON on standard output for each program.
///
/// # Errors
/// It is not a plan, or a program cannot be started.
pub fn run_plan(plan: &str) -> io::Result<()> {
    let plan: Plan = serde_json::from_str(plan)?;
    for program in plan.programs {
        let outcome = serde_json::to_string(&run(program)?)?;
        writeln!(io::stdout(), "{outcome}")?;
    }
    Ok(())
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
    Ok(Outcome { name, kind, status, wall, output, errors })
}

fn text(mut file: File) -> io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
