//! Becoming a command. Its status is the command's then; where it cannot be, 127 says that it is not
//! there and 126 that it is no program, as a shell does.

use std::{ffi::OsString, io, os::unix::process::CommandExt, process::Command};

use crate::exit::{Exit, Failure, words};

/// Does not come back but with a failure.
pub(super) fn exec(command: &[OsString]) -> Result<Exit, Failure> {
    let error = Command::new(&command[0]).args(&command[1..]).exec();
    let exit = match error.kind() {
        io::ErrorKind::NotFound => Exit::NO_COMMAND,
        _ => Exit::NOT_EXECUTABLE,
    };
    let failure = cannot(&format!("run {}", command[0].display()), &error);
    Err(Failure { exit, ..failure })
}

pub(super) fn cannot(what: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::Other, format!("cannot {what}: {}", words(error)))
}
