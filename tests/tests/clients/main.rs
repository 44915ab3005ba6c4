//! The command-line clients people have: cgctl from end to end, and those of three D-Bus
//! libraries on the private socket.

mod cgctl;
mod doctor;
mod enter;
mod ids;
mod run;
mod tools;
mod watch;

use std::process::{Command, ExitCode, Stdio};

use cgroupd_tests::suite;

fn main() -> ExitCode {
    let tests = [cgctl::TESTS, watch::TESTS, ids::TESTS, tools::TESTS, tools::USER_NS_TESTS];
    let more = [run::TESTS, enter::TESTS, doctor::TESTS, doctor::USER_NS_TESTS];
    suite::main_with("clients", [tests.concat(), more.concat()].concat(), watch::trials)
}

/// What a command did.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    /// Its exit status.
    pub(crate) status: Option<i32>,
    /// Its standard output.
    pub(crate) out: String,
    /// Its standard error.
    pub(crate) err: String,
}

/// Runs a command to its end, without the variables of whoever runs the tests.
pub(crate) fn run(mut command: Command) -> Done {
    command.stdin(Stdio::null()).env("LC_ALL", "C").env_remove("CGROUPD_ADDRESS");
    let output = command.output().expect("it is installed");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Done { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}
