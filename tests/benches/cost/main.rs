//! What cgroupd costs: `cargo bench -p cgroupd-tests`, as root.
//!
//! Every figure stands beside the same work done by system calls in the same run, because
//! absolute times say more about the machine than about the program. Medians of several
//! repeats. `CGROUPD_BENCH=smoke` shows within seconds that everything runs, `glance` does where
//! the processor is emulated; `CGROUPD_BIN_DIR` names executables that are built already.

mod bench;
mod binaries;
mod calls;
mod direct;
mod growth;
mod job;
mod latency;
mod memory;
mod parts;
mod per_call;
mod place;
mod report;
mod scale;
mod servers;
mod starts;
mod stats;
mod whole;
mod wire;
mod worker;

use std::process::ExitCode;

use bench::{Bench, Result};
use binaries::Binaries;
use job::Job;
use parts::Parts;
use report::Report;
use scale::Scale;

/// What the program ends with where it cannot run, as automake's tests do.
const SKIPPED: u8 = 77;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.first().map(String::as_str) {
        Some("worker") => match Job::parse(&arguments[1..]) {
            Some(job) => worker::run(&job).map_err(Into::into),
            None => Err("not a job".into()),
        },
        Some("echo") => worker::echo(&arguments[1]).map_err(Into::into),
        _ => match missing() {
            Some(why) => {
                eprintln!("{why}");
                return ExitCode::from(SKIPPED);
            }
            None => measure(),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The hierarchy that this machine lacks.
fn missing() -> Option<String> {
    let missing = calls::FULL_CONTROLLERS.iter().find(|c| place::mount_of(c).is_none())?;
    Some(format!("no hierarchy of {missing} is mounted, whose costs are compared"))
}

fn measure() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err("the benchmark makes cgroups and starts the daemon: run it as root".into());
    }
    let scale = Scale::from_environment()?;
    // Servers inherit it.
    cgroupd::transport::raise_open_files()?;
    let binaries = Binaries::find()?;
    let mut report = Report::new(&binaries::target_directory());
    introduce(&binaries, &mut report);
    let mut bench = Bench::new(scale, binaries)?;
    let parts = Parts::measure(&place::implied_mounts())?;
    let costs = per_call::measure(&mut bench, &mut report, &parts)?;
    whole::compare(&mut report, &costs);
    let ping = costs.first().map_or(0.0, |(.., daemon)| daemon.p50);
    starts::measure(&mut bench, &mut report, ping)?;
    latency::measure(&mut bench, &mut report)?;
    growth::measure(&mut bench, &mut report)?;
    memory::measure(&mut bench, &mut report)?;
    drop(bench);
    Ok(report.finish()?)
}

fn introduce(binaries: &Binaries, report: &mut Report) {
    let cgctl = match (&binaries.cgctl, binaries.cgctl_is_static) {
        (None, _) => "no cgctl".to_owned(),
        (Some(cgctl), true) => format!("{} (static)", cgctl.display()),
        (Some(cgctl), false) => format!("{} (dynamically linked)", cgctl.display()),
    };
    let kernel = rustix::system::uname();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let about = format!(
        "{}, {cgctl}\nLinux {}, {cpus} CPUs. p50 (p99) in µs; direct: the same system calls; \
         cpu: the daemon's, per call.",
        binaries.cgroupd.display(),
        kernel.release().to_string_lossy(),
    );
    report.section("cgroupd's costs", &about);
}
