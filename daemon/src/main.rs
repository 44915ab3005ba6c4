//! The daemon's executable. Everything is in the library, where tests can reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    cgroupd::cli::main()
}
