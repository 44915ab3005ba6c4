//! What `[[delegate]]` gives to users that it names is made on a thread of its own: it asks the
//! user database, which may be a server elsewhere that does not answer. Neither the start of the
//! daemon, nor a reload, nor its end waits for that thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::Builder;

use super::{Failure, STACK};
use crate::api::Dispatcher;
use crate::cgroup::handle::errno_of;

/// The thread. It lives as long as the process.
#[derive(Debug)]
pub(super) struct Settler(SyncSender<()>);

impl Settler {
    /// Starts it; it waits until it is asked.
    pub(super) fn start(dispatcher: Arc<Dispatcher>) -> Result<Self, Failure> {
        // One request may wait while another is done: it is for the rules as they are then.
        let (ask, asked) = sync_channel(1);
        let work = move || {
            for () in asked {
                let settling = || dispatcher.service().settle_all();
                if catch_unwind(AssertUnwindSafe(settling)).is_err() {
                    tracing::error!("a bug: delegating as configured panicked; calls still do it");
                }
            }
        };
        let thread = Builder::new().name("delegate".to_owned()).stack_size(STACK).spawn(work);
        thread.map_err(|error| Failure::kernel("start a thread")(errno_of(error)))?;
        Ok(Self(ask))
    }

    /// Has the rules in force made.
    pub(super) fn ask(&self) {
        // Full: a request waits already.
        let _ = self.0.try_send(());
    }
}
