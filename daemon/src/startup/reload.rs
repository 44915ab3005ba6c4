//! Reading the configuration again, on a thread of its own: the name of the socket's group may have
//! to be looked up, and the user database may not answer. Signals are taken meanwhile.

use std::future::pending;
use std::thread::Builder;

use tokio::sync::oneshot::{self, Receiver};

use super::STACK;
use crate::cli::Cli;
use crate::config::{self, Groups, Loaded, Problems};

/// A configuration that is being read, if any.
#[derive(Debug, Default)]
pub(super) struct Reload {
    reading: Option<Receiver<Result<Loaded, Problems>>>,
    /// Whether it was asked for again meanwhile: the files may have changed.
    again: bool,
}

/// Why there is no other configuration.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    /// Mistakes in it.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// No thread, or a bug of ours.
    #[error("the configuration could not be read: {0}")]
    Thread(String),
}

impl Reload {
    /// Begins to read, or remembers to do so again.
    pub(super) fn ask(&mut self, cli: &Cli) {
        if self.reading.is_some() {
            self.again = true;
            return;
        }
        let (sources, overrides) = (cli.sources(), cli.overrides());
        let (tell, told) = oneshot::channel();
        let read = move || {
            let _ = tell.send(config::load(&sources, &overrides, Groups::Later));
        };
        // Without a thread the sender is dropped, which `done` answers.
        if let Err(error) = Builder::new().name("reload".to_owned()).stack_size(STACK).spawn(read) {
            tracing::error!("cannot start a thread: {error}");
        }
        self.reading = Some(told);
    }

    /// Waits for what is being read; for ever when nothing is.
    pub(super) async fn done(&mut self) -> Result<Loaded, ReloadError> {
        let Some(reading) = &mut self.reading else { return pending().await };
        let told = reading.await;
        self.reading = None;
        Ok(told.map_err(|_| ReloadError::Thread("its thread ended".to_owned()))??)
    }

    /// Whether to read once more.
    pub(super) fn is_outdated(&mut self) -> bool {
        std::mem::take(&mut self.again)
    }
}
