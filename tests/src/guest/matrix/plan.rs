//! Which programs run in every guest: what cargo builds as tests of the workspace.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Place;
use crate::guest::{Kernel, Mode, share};
use crate::need::{self, Need};

/// Programs that ask the kernel at most and never look at a cgroup: whatever the layout, they do
/// the same, so they run in one guest of each kernel.
const THE_SAME_IN_ALL_LAYOUTS: [&str; 5] =
    ["cgroupd_proto (lib)", "cgroupd_tests (lib)", "cgctl (bin)", "process", "wire"];

/// Programs that take minutes and ask what kernels of all versions answer alike: they run in the
/// guests of the first.
const THE_SAME_ON_ALL_KERNELS: [&str; 3] = ["matrix", "clients", "benchmark cost"];

/// What `--each-change` runs: in each guest the programs whose outcome its layout or its kernel can
/// decide; of `attacks case_71` only the tests with that in their names. The host runs every program
/// on v1 hierarchies with cgroup2 beside them, and the whole matrix is run before a release.
const OF_EACH_CHANGE: [(Place, &[&str]); 6] = [
    // cgroup2 alone, and a kernel without SO_PEERPIDFD: most code has a way of its own here.
    (
        (Mode::Unified, Kernel::V6_1),
        &["demo", "startup", "api", "attacks", "limits", "namespaces", "unified", "wire"],
    ),
    // Hierarchies with several controllers, no cgroup2, and the same kernel.
    (
        (Mode::Legacy, Kernel::V6_1),
        &[
            "demo",
            "startup",
            "attacks case_71",
            "cgmanager",
            "cgroupd (lib)",
            "limits",
            "namespaces",
        ],
    ),
    // The host's layout with that kernel.
    ((Mode::Hybrid, Kernel::V6_1), &["demo", "startup", "cgroupd (lib)", "limits", "unified"]),
    // systemd owns the tree.
    ((Mode::Systemd, Kernel::V6_1), &["demo", "startup", "systemd"]),
    // What is proven and held by newer system calls, on cgroup2.
    (
        (Mode::Unified, Kernel::V6_12),
        &["demo", "startup", "bus", "cgroupd (lib)", "namespaces", "runtimes", "unified"],
    ),
    // Memory and cpuset on v2, all else on v1.
    ((Mode::Hybrid, Kernel::V6_12), &["demo", "startup", "cgroupd (lib)", "limits", "unified"]),
];

/// Programs that start guests: not within guests.
const ON_THE_HOST: [&str; 1] = ["guests"];

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
    /// Builds the workspace's tests, and the daemon and its client; of the tests those whose name
    /// contains one of `wanted`, or all.
    ///
    /// # Errors
    /// Cargo fails, or no program has a name of [`OF_EACH_CHANGE`].
    pub(super) fn of_the_workspace(wanted: &[String]) -> io::Result<Self> {
        let artifacts = build(&["test", "--workspace", "--tests", "--benches", "--no-run"])?;
        // What ships; and where instructions are translated, fewer of them count.
        let shipped = build(&["build", "--release", "-p", "cgroupd", "-p", "cgctl"])?;
        let cgroupd = executable(&shipped, "cgroupd")?;
        let guest = executable(&artifacts, "guest")?;
        let tests = artifacts.iter().filter(|artifact| artifact.is_test);
        let mut programs: Vec<Program> = tests.map(Artifact::program).collect();
        programs.push(demo(&cgroupd));
        check_names(&programs)?;
        programs.retain(|program| {
            let is_wanted = wanted.iter().any(|part| program.name.contains(part));
            (wanted.is_empty() || is_wanted) && !ON_THE_HOST.contains(&program.name.as_str())
        });
        programs.sort_by(|one, other| one.name.cmp(&other.name));
        let executables = cgroupd.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self { programs, executables, guest })
    }
}

/// Which programs the guests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All, but for those that do the same in another guest.
    Whole,
    /// In each guest those whose outcome its layout or its kernel can decide.
    EachChange,
}

impl Extent {
    /// Whether a guest leaves a program to others: `first` is the first guest of each kernel.
    fn leaves_out(self, (mode, kernel): Place, first: bool, program: &str) -> bool {
        match self {
            Self::Whole => {
                (!first && THE_SAME_IN_ALL_LAYOUTS.contains(&program))
                    || (kernel != Kernel::V6_1 && THE_SAME_ON_ALL_KERNELS.contains(&program))
            }
            Self::EachChange => !of_each_change((mode, kernel)).any(|(name, _)| name == program),
        }
    }
}

/// The names of a guest's programs, and what is in the names of their tests where it is not all.
fn of_each_change(place: Place) -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
    let of_place = OF_EACH_CHANGE.iter().filter(move |(listed, _)| *listed == place);
    of_place.flat_map(|(_, entries)| entries.iter()).map(|entry| split(entry))
}

/// `attacks case_71` as its two words; the `(lib)` of a name stays with it.
fn split(entry: &'static str) -> (&'static str, Option<&'static str>) {
    match entry.split_once(' ') {
        Some((name, tests)) if !tests.starts_with('(') => (name, Some(tests)),
        _ => (entry, None),
    }
}

impl Plan {
    /// What one of several guests runs, and the names of the programs that it leaves to others.
    pub(super) fn for_one_of(
        &self,
        places: &[Place],
        (mode, kernel): Place,
        extent: Extent,
    ) -> (Self, Vec<String>) {
        let first = places.iter().find(|place| place.1 == kernel) == Some(&(mode, kernel));
        let is_left_out =
            |program: &Program| extent.leaves_out((mode, kernel), first, &program.name);
        let (out, mut programs): (Vec<Program>, Vec<Program>) =
            self.programs.iter().cloned().partition(is_left_out);
        if extent == Extent::EachChange {
            for (name, tests) in of_each_change((mode, kernel)) {
                let named = programs.iter_mut().filter(|program| program.name == name);
                named.for_each(|program| program.arguments.extend(tests.map(str::to_owned)));
            }
        }
        // Some want the root of a cgroup2 mount for themselves, which only a guest can give.
        if mode == Mode::Unified || mode == Mode::Hybrid {
            let own = programs.iter_mut().filter(|program| program.name == "cgroupd (lib)");
            own.for_each(|program| program.arguments.push("--include-ignored".to_owned()));
        }
        // The unified guest of this kernel runs all rows for v2, the legacy one those for v1.
        if mode == Mode::Systemd || mode == Mode::Hybrid {
            let rules = programs.iter_mut().filter(|program| program.name == "matrix");
            rules.for_each(|program| program.env = vec![variable("CGROUPD_MATRIX", "few-owners")]);
        }
        // Its tests change the machine's services, and wait for this word.
        if mode == Mode::Systemd {
            let systemd = programs.iter_mut().filter(|program| program.name == "systemd");
            let require = variable(need::VARIABLE, Need::Systemd.name());
            systemd.for_each(|program| program.env.push(require.clone()));
        }
        // Theirs write to its /etc.
        if mode == Mode::Unified {
            let runtimes = programs.iter_mut().filter(|program| program.name == "runtimes");
            let require = variable(need::VARIABLE, Need::Runtimes.name());
            runtimes.for_each(|program| program.env.push(require.clone()));
        }
        let names = out.into_iter().map(|program| program.name).collect();
        (Self { programs, ..self.clone() }, names)
    }
}

/// A name that no program has any more would leave it out of every change without a word.
fn check_names(programs: &[Program]) -> io::Result<()> {
    let entries = OF_EACH_CHANGE.iter().flat_map(|(_, entries)| entries.iter());
    let mut named = entries.map(|entry| split(entry).0);
    match named.find(|name| !programs.iter().any(|program| program.name == *name)) {
        Some(name) => Err(io::Error::other(format!("no test program is called {name}"))),
        None => Ok(()),
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
        let env = match self.name.as_str() {
            _ if bench => Some(("CGROUPD_BENCH", "glance")),
            // The rest of its rows judge permission bits, which no kernel does in its own way.
            "matrix" => Some(("CGROUPD_MATRIX", "few-modes")),
            _ => None,
        };
        let name = match self.kind.as_str() {
            "bench" | "test" => self.name.clone(),
            kind => format!("{} ({kind})", self.name),
        };
        Program {
            name: if bench { format!("benchmark {name}") } else { name },
            kind: if bench { Kind::One } else { Kind::Tests },
            path: self.path.clone(),
            arguments: Vec::new(),
            directory: self.package.clone(),
            env: env.into_iter().map(|(name, value)| variable(name, value)).collect(),
        }
    }
}

fn variable(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn executable(artifacts: &[Artifact], name: &str) -> io::Result<PathBuf> {
    let found = artifacts.iter().find(|a| a.kind == "bin" && !a.is_test && a.name == name);
    let missing = || io::Error::other(format!("cargo built no {name}"));
    found.map(|artifact| artifact.path.clone()).ok_or_else(missing)
}

fn build(what: &[&str]) -> io::Result<Vec<Artifact>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(what).arg("--locked");
    cargo.args(["--message-format=json-render-diagnostics", "--target-dir"]).arg(share::target());
    let built = cargo.current_dir(share::workspace()).stderr(Stdio::inherit()).output()?;
    if !built.status.success() {
        return Err(io::Error::other(format!("cargo {} failed", what.join(" "))));
    }
    let text = String::from_utf8_lossy(&built.stdout).into_owned();
    Ok(text.lines().filter_map(Artifact::parse).collect())
}
