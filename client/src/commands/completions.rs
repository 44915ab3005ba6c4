//! `cgctl completions`: what a shell needs to complete the command line.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{cli::Cli, exit::Failure, session::Session};

pub(super) fn run(session: &mut Session, shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cgctl", &mut script);
    Ok(session.output.raw(&script)?)
}
