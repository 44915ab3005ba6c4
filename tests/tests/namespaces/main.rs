//! Who a caller is, and what exists for it, in real namespaces: user, pid and cgroup, alone and
//! together, of ordinary users, of containers, and of root.

mod classes;
mod connection;
mod moving;
mod numbers;
mod ownership;
mod reading;
mod scope;
mod settings;

use std::process::ExitCode;

use cgroupd_tests::suite;

fn main() -> ExitCode {
    let tests = [
        connection::TESTS,
        classes::TESTS,
        classes::USER_NS_TESTS,
        scope::TESTS,
        scope::USER_NS_TESTS,
        moving::TESTS,
        moving::V1_TESTS,
        numbers::TESTS,
        settings::TESTS,
        ownership::TESTS,
        reading::TESTS,
    ];
    suite::main("namespaces", tests.concat())
}
