//! cgroup v2 as the only layout: controllers along the way, the rule that keeps processes out of
//! inner cgroups, the way into what is delegated, its refusals, and its limits. And what v2 says beside v1.

mod controllers;
mod enter;
mod evacuate;
mod limits;
mod refusals;

use std::process::ExitCode;

use cgroupd_tests::hierarchies::{self, Hierarchy};
use cgroupd_tests::suite;
use cgroupd_tests::world::World;

fn main() -> ExitCode {
    let tests = [
        controllers::TESTS,
        enter::TESTS,
        evacuate::TESTS,
        refusals::TESTS,
        refusals::HYBRID_TESTS,
        limits::TESTS,
        limits::DISK_TESTS,
    ];
    suite::main("unified", tests.concat())
}

fn v2() -> &'static Hierarchy {
    hierarchies::v2().expect("it is needed")
}

/// Enables controllers for the children of `path`, as its owner would.
fn enable(world: &World, path: &str, line: &str) {
    world.cgroups.write(v2(), path, "cgroup.subtree_control", line);
}

fn words(world: &World, path: &str, file: &str) -> Vec<String> {
    world.cgroups.read(v2(), path, file).split_whitespace().map(str::to_owned).collect()
}
