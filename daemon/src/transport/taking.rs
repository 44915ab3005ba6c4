//! Receiving descriptors. A look at a connection says that some came along with bytes; then a helper
//! process of the account's takes these bytes off, and hands over the pidfds, so that nothing else
//! that a peer sends is ever open in the daemon. A helper that has anything else to close is not asked
//! again, and killed soon; one that cannot be killed stays charged to its account, which may have few.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::{Instant, sleep, timeout};

use super::Violation;
use super::helpers::{Came, Helper};
use crate::accounting::{Account, Accounts, Resource};
use crate::helper::Request;

/// How long closing copies may take of what was handed over: a moment.
const COPIES: Duration = Duration::from_secs(1);
/// How long closing anything else may take until the process is killed.
const OTHERS: Duration = Duration::from_millis(10);
/// How long to wait for one of an account's processes to end, when there are as many as may be.
const CROWDED: Duration = Duration::from_millis(1500);
/// Between looks whether one has ended.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a process is kept without being asked anything.
const IDLE: Duration = Duration::from_secs(2);

/// The processes that take descriptors, one for an account that sends some.
#[derive(Debug)]
pub(crate) struct Takers {
    accounts: Arc<Accounts>,
    slots: Mutex<HashMap<Account, Slot>>,
}

/// One account's process, and how often it was asked.
type Slot = Arc<AsyncMutex<(Option<Helper>, u64)>>;

impl Takers {
    pub(crate) fn new(accounts: &Arc<Accounts>) -> Self {
        Self { accounts: Arc::clone(accounts), slots: Mutex::default() }
    }

    /// Whether so many processes of an account hang that it gets no other. One more is left, for
    /// the connections of the account to be closed.
    pub(crate) fn is_stuck(&self, account: Account) -> bool {
        self.accounts.check(account, Resource::Helpers, 2).is_err()
    }

    /// Takes bytes, and what came along, off a connection of this account. It must not be cancelled:
    /// the next request would read this one's answer.
    ///
    /// # Errors
    /// [`Violation::StuckDescriptors`], [`Violation::HelperFailed`].
    pub(super) async fn take(
        self: Arc<Self>,
        account: Account,
        connection: impl AsFd,
        request: Request,
    ) -> io::Result<Came> {
        self.try_take(account, connection, request).await.map_err(|error| match error.get_ref() {
            Some(violation) if violation.is::<Violation>() => error,
            _ => Violation::HelperFailed(error.kind()).into(),
        })
    }

    async fn try_take(
        self: Arc<Self>,
        account: Account,
        connection: impl AsFd,
        request: Request,
    ) -> io::Result<Came> {
        let slot = self.slot(account);
        let mut held = Arc::clone(&slot).lock_owned().await;
        if held.0.is_none() {
            self.wait_for_room(account).await?;
            held.0 = Some(Helper::start(&self.accounts, account)?);
            tokio::spawn(Arc::clone(&self).end_when_idle(account, slot));
        }
        held.1 += 1;
        let Some(helper) = &held.0 else { return Err(Violation::StuckDescriptors.into()) };
        let came = helper.take(connection.as_fd(), request).await;
        match &came {
            Ok(came) if came.is_all() => drop(tokio::spawn(wait_until_closed(held))),
            Ok(_) => drop(held.0.take().map(end_soon).map(tokio::spawn)),
            Err(_) => held.0 = None,
        }
        came
    }

    /// Waits until the account may have another process: those that are killed need a moment.
    async fn wait_for_room(&self, account: Account) -> Result<(), Violation> {
        let end = Instant::now() + CROWDED;
        while self.is_stuck(account) {
            if Instant::now() > end {
                return Err(Violation::StuckDescriptors);
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    fn slot(&self, account: Account) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(account).or_default())
    }

    /// Ends the process once it has not been asked for a while.
    async fn end_when_idle(self: Arc<Self>, account: Account, slot: Slot) {
        let mut asked = 0;
        loop {
            sleep(IDLE).await;
            let mut held = slot.lock().await;
            if held.1 == asked || held.0.is_none() {
                held.0 = None;
                break;
            }
            asked = held.1;
        }
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever holds the slot already will start a new process in it, so then it stays.
        let is_unused = slots
            .get(&account)
            .is_some_and(|known| Arc::ptr_eq(known, &slot) && Arc::strong_count(&slot) == 2);
        if is_unused {
            slots.remove(&account);
        }
    }
}

/// Holds the process until its copies of what it has handed over are closed, which waits for nobody.
async fn wait_until_closed(mut held: OwnedMutexGuard<(Option<Helper>, u64)>) {
    let Some(helper) = &held.0 else { return };
    if !matches!(timeout(COPIES, helper.closed()).await, Ok(Ok(()))) {
        held.0 = None;
    }
}

/// Gives a process 10 ms to close what may wait for somebody, then kills it by dropping it: an exiting
/// process closes the same, and does not wait for SO_LINGER.
async fn end_soon(helper: Helper) {
    // Dropped after that, it is killed.
    let _ = timeout(OTHERS, helper.closed()).await;
}
