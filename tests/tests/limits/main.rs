//! The engine of limits against this kernel's cgroupfs: what it promises, and every trap of the
//! limit files. Works below a cgroup of its own in each hierarchy and removes it.
//!
//! What a trap needs and this host does not have (v1 memory, hugetlb on v2) is listed as
//! ignored, with the reason.

mod cgroup;
mod cpu;
mod cpuset;
mod io;
mod memory;
mod promises;
mod reclaim;
mod unified;
mod unified_cpu;
mod unified_memory;
mod victim;

use cgroupd::cgroup::{Layout, Version};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// What a test needs and this machine does not have.
type Prerequisite = Result<(), String>;

fn main() {
    if let Some(wish) = std::env::var_os(victim::AS_VICTIM) {
        return victim::be_one(&wish);
    }
    let arguments = Arguments::from_args();
    let trials = [
        promises::trials(),
        memory::trials(),
        reclaim::trials(),
        cpu::trials(),
        cpuset::trials(),
        io::trials(),
        unified::trials(),
        unified_cpu::trials(),
        unified_memory::trials(),
    ];
    let conclusion = libtest_mimic::run(&arguments, trials.into_iter().flatten().collect());
    cgroup::clean_up();
    conclusion.exit();
}

/// A test that is listed as ignored where `needs` says why, and fails there when
/// `CGROUPD_REQUIRE` has `root`.
fn test(name: &str, needs: fn() -> Prerequisite, test: fn()) -> Trial {
    Trial::ignorable_test(name, move || match needs() {
        Ok(()) => {
            test();
            Ok(Completion::Completed)
        }
        Err(reason) if is_required("root") && !is_root() => Err(Failed::from(reason)),
        Err(reason) => Ok(Completion::ignored_with(reason)),
    })
}

fn is_required(what: &str) -> bool {
    let required = std::env::var("CGROUPD_REQUIRE").unwrap_or_default();
    required.split(',').any(|required| required == what)
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn root() -> Prerequisite {
    if is_root() { Ok(()) } else { Err("needs root".to_owned()) }
}

/// The controller in a hierarchy of that version.
fn has(controller: &str, version: Version) -> Prerequisite {
    root()?;
    let layout =
        Layout::detect(&cgroupd_tests::place::root()).map_err(|error| error.to_string())?;
    let found = layout.find(controller).map(|index| layout.hierarchies[index].version);
    match found == Some(version) {
        true => Ok(()),
        false => Err(format!("needs {controller} on cgroup {version:?}, it is on {found:?}")),
    }
}
