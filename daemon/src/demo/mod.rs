//! `cgroupd demo`: the story of cgmanager, told over D-Bus on this machine's own hierarchies.
//!
//! A service of its own, on a private socket in a temporary directory, below a managed root of
//! its own; then its clients: host root first, then a container of an unprivileged uid.

mod helpers;
mod host;
mod inside;
mod place;
mod say;
mod stage;

use std::process::ExitCode;

use place::Place;
use say::Result;
use stage::Stage;
use tokio::signal::unix::{SignalKind, signal};

use crate::startup;

/// The processes of the play run this same executable under these names.
pub(crate) const INSIDE: &str = "demo-inside";
/// A process that allocates memory until it is stopped.
pub(crate) const EATER: &str = "demo-eater";
/// The client in the container.
pub(crate) const GUEST: &str = "demo-guest";
/// The whole play, started again in a scope of systemd's that is delegated to it.
pub(crate) const SCOPE: &str = "demo-scope";

/// Plays the story; 0 when everything went as told.
pub fn run() -> ExitCode {
    begin(|| match place::find()? {
        Place::Below(above) => play(&above),
        Place::NewScope => place::enter_scope(),
    })
}

/// Plays the story in the scope that [`run`] has asked for, and nowhere else.
pub fn run_in_scope() -> ExitCode {
    begin(|| play(&place::own_unit()?))
}

fn begin(play: impl FnOnce() -> Result<()>) -> ExitCode {
    match startup::require_root() {
        Ok(()) => finish(play()),
        Err(failure) => failure.report(),
    }
}

/// Plays a part in a process of its own: `demo-inside`, `demo-guest` or `demo-eater`.
pub fn part(name: &str, argument: &str) -> ExitCode {
    finish(match name {
        EATER => helpers::eat(argument),
        INSIDE => inside::enter(argument),
        GUEST => inside::play(argument),
        other => Err(format!("there is no part called {other}").into()),
    })
}

fn finish(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cgroupd demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn play(above: &str) -> Result<()> {
    let stage = Stage::set(above)?;
    let story = async {
        host::play(&stage).await?;
        inside::invite(&stage).await
    };
    let result = stage.runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            biased;
            _ = interrupt.recv() => Err("interrupted".into()),
            _ = terminate.recv() => Err("interrupted".into()),
            ended = story => ended,
        }
    });
    let cleared = stage.clear();
    // What went wrong first is told, not that something was left behind because of it.
    result?;
    cleared?;
    say::text("\nEverything was removed again. The same over your own bus: README.md, Use it.");
    Ok(())
}
