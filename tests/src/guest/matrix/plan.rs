//! Which programs run in every guest: what cargo builds as tests of the workspace.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::guest::share;

/// Programs that ask the kernel at most and never look at a cgroup: whatever the layout, they do
/// the same, so they run in one guest of each kernel.
const THE_SAME_IN_ALL_LAYOUTS: [&str; 5] =
    ["cgroupd_proto (lib)", "cgroupd_tests (lib)", "cgctl (bin)", "process", "wire"];

/// What a guest runs, one after the other.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Plan {
    pub(super) programs: Vec<Program>,
    /// The directory with `cgroupd` and `cgctl`.
    pub(super) executables: PathBuf,
    /// `guest` as it was just built, which may not be the program that runs now.
    pub(super) guest: PathBuf,
}

/// What a program's success means.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) enum Kind {
    /// It says itself how many tests passed.
    Tests,
    /// It is one test.
    One,
}

/// A program.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) directory: PathBuf,
    pub(super) env: Vec<(String, String)>,
}

impl Plan {
    /// Builds the workspace's tests; those whose name contains one of `wanted`, or all.
    pub(super) fn of_the_workspace(wanted: &[String]) -> io::Result<Self> {
        let artifacts = build()?;
        let executable = |name: &str| {
            let found = artifacts.iter().find(|a| a.kind == "bin" && !a.is_test && a.name == name);
            let missing = || io::Error::other(format!("cargo built no {name}"));
            found.map(|artifact| artifact.path.clone()).ok_or_else(missing)
        };
        let (cgroupd, _) = (executable("cgroupd")?, executable("cgctl")?);
        let guest = executable("guest")?;
        let tests = artifacts.iter().filter(|artifact| artifact.is_test);
        let mut programs: Vec<Program> = tests.map(Artifact::program).collect();
        programs.push(demo(&cgroupd));
        programs.retain(|program| {
            wanted.is_empty() || wanted.iter().any(|part| program.name.contains(part))
        });
        programs.sort_by(|one, other| one.name.cmp(&other.name));
        let executables = cgroupd.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self { programs, executables, guest })
    }
}

impl Plan {
    /// The plan for another guest with the same kernel, and the names of what it leaves out.
    pub(super) fn for_another_layout(&self) -> (Self, Vec<String>) {
        let same = |program: &Program| THE_SAME_IN_ALL_LAYOUTS.contains(&program.name.as_str());
        let (out, programs) = self.programs.iter().cloned().partition(same);
        let names = Vec::into_iter(out).map(|program: Program| program.name).collect();
        (Self { programs, ..self.clone() }, names)
    }
}

fn demo(cgroupd: &Path) -> Program {
    let (name, arguments) = ("demo".to_owned(), vec!["demo".to_owned()]);
    let (path, directory) = (cgroupd.to_owned(), PathBuf::from("/"));
    Program { name, kind: Kind::One, path, arguments, directory, env: Vec::new() }
}

/// An executable that cargo built.
struct Artifact {
    /// The package's name, where all targets have different ones the target's.
    name: String,
    kind: String,
    is_test: bool,
    path: PathBuf,
    package: PathBuf,
}

impl Artifact {
    fn parse(line: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(line).ok()?;
        let manifest = Path::new(message["manifest_path"].as_str()?);
        Some(Self {
            name: message["target"]["name"].as_str()?.to_owned(),
            kind: message["target"]["kind"][0].as_str()?.to_owned(),
            is_test: message["profile"]["test"].as_bool()?,
            path: message["executable"].as_str()?.into(),
            package: manifest.parent()?.to_owned(),
        })
    }

    /// cargo runs tests in their package's directory.
    fn program(&self) -> Program {
        let bench = self.kind == "bench";
        let name = match self.kind.as_str() {
            "bench" | "test" => self.name.clone(),
            kind => format!("{} ({kind})", self.name),
        };
        let smoke = ("CGROUPD_BENCH".to_owned(), "smoke".to_owned());
        Program {
            name: if bench { format!("benchmark {name}") } else { name },
            kind: if bench { Kind::One } else { Kind::Tests },
            path: self.path.clone(),
            arguments: Vec::new(),
            directory: self.package.clone(),
            env: if bench { vec![smoke] } else { Vec::new() },
        }
    }
}

fn build() -> io::Result<Vec<Artifact>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--workspace", "--tests", "--benches", "--no-run", "--locked"]);
    cargo.args(["--message-format=json-render-diagnostics", "--target-dir"]).arg(share::target());
    let built = cargo.current_dir(share::workspace()).stderr(Stdio::inherit()).output()?;
    if !built.status.success() {
        return Err(io::Error::other("cargo cannot build the tests"));
    }
    let text = String::from_utf8_lossy(&built.stdout).into_owned();
    Ok(text.lines().filter_map(Artifact::parse).collect())
}
