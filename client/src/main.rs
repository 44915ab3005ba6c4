//! cgctl, the command line of cgroupd.
//!
//! One process, one connection, usually one call: nothing is started that is not needed for it.
#![forbid(unsafe_code)]

mod address;
mod cgm;
mod cli;
mod commands;
mod connect;
mod doctor;
mod exit;
mod ids;
mod limits;
mod output;
#[cfg(test)]
mod peer;
mod request;
mod session;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    address::Address,
    cli::{Cli, Command},
    exit::{Exit, Failure},
    output::{Output, report},
    session::Session,
};

fn main() -> ExitCode {
    if cgm::started_as_cgm() {
        return cgm::main();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error),
    };
    let runs = match &cli.command {
        Command::Run { .. } | Command::Become { .. } => true,
        Command::Enter { command, .. } => !command.is_empty(),
        _ => false,
    };
    let exit = run(cli).unwrap_or_else(|failure| {
        report(&failure);
        match failure.exit {
            Exit::Command(_) => failure.exit,
            // Any other status would be taken for the command's.
            _ if runs => Exit::NOT_RUN,
            exit => exit,
        }
    });
    exit.into()
}

/// Prints what is wrong, or the help that was asked for. The status of `run` is its command's: one of
/// ours must not be taken for that.
fn misunderstood(error: &clap::Error) -> ExitCode {
    // There is nobody to tell when it cannot be printed.
    let _ = error.print();
    let word = cli::command_word(std::env::args_os().skip(1));
    let runs = word.is_some_and(|word| word == "run" || word == "enter" && has_command());
    match error.use_stderr() {
        true if runs => Exit::NOT_RUN.into(),
        true => Exit::Usage.into(),
        false => Exit::Ok.into(),
    }
}

/// Whether a command follows, as `enter` takes it.
fn has_command() -> bool {
    std::env::args_os().any(|word| word == "--")
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let address = Address::choose(cli.address)?;
    let mut session = Session::new(address, cli.timeout, Output::new(cli.json, cli.quiet));
    let result = commands::run(cli.command, &mut session);
    // What was printed before a failure counts, too, and comes before it.
    let flushed = session.output.flush();
    let exit = result?;
    flushed?;
    Ok(exit)
}
