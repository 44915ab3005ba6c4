//! What a command said, on both of its streams, and how it ended.

use std::process::{Command, Stdio};

/// A command that has ended.
#[derive(Debug)]
pub struct Said {
    /// Its exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output, then standard error, without blanks around them.
    pub text: String,
}

impl Said {
    /// Runs a command to its end, without standard input.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn of(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        let text = String::from_utf8_lossy(&said).trim().to_owned();
        Self { code: output.status.code(), text }
    }
}
