//! A host where systemd is pid 1, with what `packaging/install.sh` puts there: the units, the
//! executables, the bus policy. The tests install and remove services, so they run only where
//! they are asked for: on a machine that may be changed, such as a guest.

mod delegation;
mod demo;
mod host;
mod hybrid;
mod survival;
mod units;

use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use cgroupd_tests::need::{Need, trial};
use cgroupd_tests::peer;
use host::Host;
use libtest_mimic::{Arguments, Trial};

/// systemd with cgroup2 alone.
const UNIFIED: &[Need] = &[Need::Root, Need::Systemd, Need::Unified];
/// systemd with v1 controllers.
const V1: &[Need] = &[Need::Root, Need::Systemd, Need::V1];

fn main() -> ExitCode {
    if let Some(code) = peer::run_if_asked() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    // There is one service of that name.
    arguments.test_threads = Some(1);
    let tests = [
        test("the units are as systemd wants them", units::are_well_formed),
        test("they start, and serve both sockets", units::start_and_serve),
        test("the socket's directory outlasts a stop", units::the_directory_outlasts_a_stop),
        test("one command makes the whole tree smaller", units::the_tree_can_be_limited),
        test("survives daemon-reload", survival::of_a_reload),
        test("survives daemon-reexec", survival::of_a_reexecution),
        test("survives a restart of the daemon", survival::of_a_restart),
        test("survives a SIGKILL of the daemon", survival::of_a_kill),
        test("survives a stop of the daemon", survival::of_a_stop),
        test("survives the death of the holder", survival::of_the_holders_death),
        test("a restart of the tree restarts the daemon", survival::a_new_tree),
        test("20 the holder is never moved", delegation::the_holder_is_never_moved),
        test("40 the tree of systemd is refused", delegation::what_is_systemds_is_refused),
        test("40 a unit without Delegate= is refused", delegation::an_undelegated_unit_is_refused),
        test("40 units of another manager are refused", delegation::an_inner_unit_is_refused),
        test("only a delegated unit is held", delegation::only_a_delegated_unit_is_held),
        test("the demo plays in the tree", demo::plays_where_the_daemon_would_be),
        test("the demo plays in a delegated unit of its own", demo::plays_in_its_own_unit),
        test("the demo plays in a scope of its own", demo::plays_in_a_scope),
        test("the demo says what it lacks", demo::says_what_it_lacks),
    ];
    let v1 = trial("its own hierarchies are left alone beside v1", V1, || {
        with_host(hybrid::its_own_hierarchies_are_left_alone);
    });
    let conclusion = libtest_mimic::run(&arguments, tests.into_iter().chain([v1]).collect());
    *HOST.lock().unwrap_or_else(PoisonError::into_inner) = None;
    conclusion.exit_code()
}

/// Installed when a test first needs it, and removed after the last.
static HOST: Mutex<Option<Host>> = Mutex::new(None);

fn test(name: &str, run: fn(&Host)) -> Trial {
    trial(name, UNIFIED, move || with_host(run))
}

fn with_host(run: fn(&Host)) {
    let mut host = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    let host = host.get_or_insert_with(Host::install);
    host.start_anew();
    run(host);
}
