//! The main function of a suite: what runs, with which prerequisites, on a world of its own.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use crate::need::{self, Need};
use crate::world::World;
use crate::{peer, sweep};

/// A test: its name, what it needs beyond root, and what it does.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    /// Its name; it begins with the number of its attack case, if it has one.
    pub name: &'static str,
    /// What it needs beyond root.
    pub needs: &'static [Need],
    /// What it does.
    pub run: fn(&World),
}

/// Lists functions as tests: `tests![one, two]`, or `tests![needs UserNs: three, four]`.
#[macro_export]
macro_rules! tests {
    (needs $need:ident: $($test:ident),+ $(,)?) => {
        [$($crate::suite::Test {
            name: stringify!($test),
            needs: &[$crate::need::Need::$need],
            run: $test,
        }),+]
    };
    ($($test:ident),+ $(,)?) => {
        [$($crate::suite::Test { name: stringify!($test), needs: &[], run: $test }),+]
    };
}

/// Runs a suite. Each test gets a daemon of its own, which must still end cleanly afterwards.
pub fn main(suite: &'static str, tests: impl IntoIterator<Item = Test>) -> ExitCode {
    main_with(suite, tests, Vec::new)
}

/// As [`main`], with tests that make their own worlds. They are asked for late: what looks for
/// prerequisites starts processes, which a peer must not.
pub fn main_with(
    suite: &'static str,
    tests: impl IntoIterator<Item = Test>,
    more: impl FnOnce() -> Vec<Trial>,
) -> ExitCode {
    main_configured((suite, ""), tests, more)
}

/// As [`main_with`], where the daemons have the text of a configuration file.
pub fn main_configured(
    (suite, configuration): (&'static str, &'static str),
    tests: impl IntoIterator<Item = Test>,
    more: impl FnOnce() -> Vec<Trial>,
) -> ExitCode {
    if let Some(code) = peer::run_if_asked() {
        return code;
    }
    let arguments = Arguments::from_args();
    if !arguments.list {
        sweep::leftovers();
    }
    let trials = tests.into_iter().map(|test| trial((suite, configuration), test));
    let trials = trials.chain(more()).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial((suite, configuration): (&'static str, &'static str), test: Test) -> Trial {
    let needs: Vec<Need> = [&[Need::Root], test.needs].concat();
    need::trial(test.name, &needs, move || {
        let world = World::configured(suite, configuration);
        (test.run)(&world);
        world.finish();
    })
}
