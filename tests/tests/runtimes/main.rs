//! Container runtimes as they are, on a host without systemd and with cgroup v2 alone: rootless
//! podman with crun and runc, both of them nested, LXC, and podman with the CDI file. The tests write
//! to `/etc` and use the hierarchy's root, so they run only where they are asked for: in a guest.

mod lxc;
mod machine;
mod nested;
mod podman;
mod users;

use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use cgroupd_tests::need::{Need, trial};
use cgroupd_tests::peer;
use libtest_mimic::{Arguments, Trial};
use machine::Machine;

const NEEDS: &[Need] = &[Need::Root, Need::Runtimes, Need::Unified];

fn main() -> ExitCode {
    if let Some(code) = peer::run_if_asked() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    // There is one machine, and what a test finds is what the one before it has left.
    arguments.test_threads = Some(1);
    let tests = [
        test("without a delegation podman limits nothing", podman::without_a_delegation),
        test("runc limits without a flag", podman::runc_limits),
        test("crun limits below a parent", podman::crun_limits),
        test("a pod is limited", podman::a_pod_is_limited),
        test("a delegation goes away under a container", podman::a_delegation_goes_away),
        test("nested crun limits", nested::crun_limits),
        test("nested runc limits", nested::runc_limits),
        test("a container of LXC", lxc::a_container),
        test("a container of podman with the CDI file", podman::with_the_cdi_file),
        test("users who appear later", users::who_appear_later),
        test("of two rules the first counts", users::of_two_rules_the_first_counts),
    ];
    let conclusion = libtest_mimic::run(&arguments, tests.into());
    *MACHINE.lock().unwrap_or_else(PoisonError::into_inner) = None;
    conclusion.exit_code()
}

/// Set up when a test first needs it.
static MACHINE: Mutex<Option<Machine>> = Mutex::new(None);

fn test(name: &str, run: fn(&Machine)) -> Trial {
    trial(name, NEEDS, move || {
        let mut machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        run(machine.get_or_insert_with(Machine::set_up));
    })
}
