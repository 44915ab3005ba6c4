//! `guest`: makes kits, runs a command in a guest, or all tests in all of them.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use cgroupd_tests::guest::matrix::{self, Extent};
use cgroupd_tests::guest::{self, Guest, Kernel, Kit, Mode, Sinks};
use cgroupd_tests::{peer, sweep};
use clap::{Parser, Subcommand};

/// A guest that did not end in time, as `timeout(1)` has it.
const HANG: u8 = 124;
/// A guest that failed itself.
const BROKEN: u8 = 125;

/// Throw-away machines with other kernels and other layouts of cgroups.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Download kernels and make the kits that are missing.
    Kits {
        /// Make them anew.
        #[arg(long)]
        force: bool,
    },
    /// Run one command in a guest, in this directory (/tmp and /run are the guest's own); its
    /// output and exit status are the command's.
    Run {
        /// unified, legacy, hybrid or systemd.
        #[arg(long, default_value = "unified")]
        mode: Mode,
        /// 6.1 or 6.12.
        #[arg(long, default_value = "6.1")]
        kernel: Kernel,
        /// Memory in MiB.
        #[arg(long, default_value_t = 512)]
        memory: u32,
        /// The scratch disk in MiB.
        #[arg(long, default_value_t = 64)]
        disk: u32,
        /// Seconds after which the guest is ended.
        #[arg(long, default_value_t = 600)]
        limit: u64,
        /// NAME=VALUE for the command.
        #[arg(long, value_parser = pair)]
        env: Vec<(String, String)>,
        /// The command.
        #[arg(last = true, required = true)]
        words: Vec<String>,
    },
    /// Run all tests of the workspace, the demo and a short benchmark in each guest.
    Matrix {
        /// Only what the layout or the kernel of each guest can decide, as CI does for a change.
        #[arg(long)]
        each_change: bool,
        /// Only these guests: unified/6.1, or hybrid, or 6.12.
        #[arg(long)]
        only: Vec<String>,
        /// Only programs with this in their names.
        #[arg(long)]
        program: Vec<String>,
        /// How many guests at a time.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
    },
    /// What the matrix runs in a guest.
    #[command(hide = true)]
    Inside {
        /// The programs, as JSON.
        plan: String,
    },
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    if let Some(code) = peer::run_if_asked() {
        return code;
    }
    let result = match Arguments::parse().command {
        Command::Kits { force } => kits(force),
        Command::Run { mode, kernel, memory, disk, limit, env, words } => {
            let limit = Duration::from_secs(limit);
            let directory = std::env::current_dir().unwrap_or_default();
            let machine = Guest::new(mode, kernel);
            run(&Guest { memory, disk, limit, env, directory, ..machine }, &words)
        }
        Command::Matrix { each_change, only, program, jobs } => {
            let extent = if each_change { Extent::EachChange } else { Extent::Whole };
            all(extent, &only, &program, jobs)
        }
        Command::Inside { plan } => matrix::run_plan(&plan).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("guest: {error}");
        ExitCode::from(BROKEN)
    })
}

fn kits(force: bool) -> io::Result<ExitCode> {
    sweep::leftovers();
    for kernel in Kernel::ALL {
        let found = Kit::find(kernel).filter(|_| !force);
        let kit = found.map_or_else(|| Kit::make(kernel), Ok)?;
        println!("{kernel}: {} in {}", kit.name()?, guest::kits().display());
    }
    Ok(ExitCode::SUCCESS)
}

fn all(extent: Extent, only: &[String], programs: &[String], jobs: usize) -> io::Result<ExitCode> {
    let mut places = matrix::PLACES.to_vec();
    if !only.is_empty() {
        let chosen: io::Result<Vec<_>> = only.iter().map(|text| matrix::matching(text)).collect();
        let chosen = chosen?.concat();
        places.retain(|place| chosen.contains(place));
    }
    let report = matrix::run(&places, extent, programs, jobs)?;
    println!("{report}");
    Ok(if report.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(machine: &Guest, words: &[String]) -> io::Result<ExitCode> {
    let sinks = Sinks { out: Box::new(io::stdout()), err: Box::new(io::stderr()) };
    let ended = machine.run(words, sinks)?;
    io::stdout().flush()?;
    Ok(match ended.status {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(BROKEN)),
        Err(failure) => {
            eprintln!("guest: {failure}");
            ExitCode::from(if matches!(failure, guest::Failure::Hang { .. }) {
                HANG
            } else {
                BROKEN
            })
        }
    })
}
