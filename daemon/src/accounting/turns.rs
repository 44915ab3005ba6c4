//! Calls, conversations and handshakes: a caller whose account has as many as it may waits until one of
//! them ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Account, Accounts, Bounds, Charge, Group, Resource};

/// The turns of one resource. Their number is that of the start: later bounds do not change it.
#[derive(Debug)]
pub struct Turns {
    accounts: Arc<Accounts>,
    resource: Resource,
    bounds: Bounds,
    groups: Mutex<HashMap<Group, Arc<Semaphore>>>,
}

/// The right to run, given back when dropped.
#[derive(Debug)]
pub struct Turn {
    _permits: Vec<OwnedSemaphorePermit>,
    _charge: Charge,
}

impl Turns {
    /// Groups that are remembered before idle ones are dropped.
    const SWEEP_AT: usize = 256;

    /// Nobody has a turn yet.
    pub fn new(accounts: &Arc<Accounts>, resource: Resource) -> Self {
        let bounds = accounts.bounds();
        Self { accounts: Arc::clone(accounts), resource, bounds, groups: Mutex::default() }
    }

    /// Waits for a turn: among the account's own first, then in larger groups, so that nobody holds
    /// more places in a common queue than it may have turns. `None` when there are no more turns.
    pub async fn turn(&self, account: Account) -> Option<Turn> {
        let mut permits = Vec::with_capacity(4);
        for group in account.groups() {
            permits.push(self.semaphore(group).acquire_owned().await.ok()?);
        }
        // The permits are the bound; later bounds are for later starts.
        let charge = self.accounts.charge_unchecked(account, self.resource, 1);
        Some(Turn { _permits: permits, _charge: charge })
    }

    /// Waits until nobody has a turn.
    pub async fn end(&self) {
        for group in [Group::Others, Group::Account(Account::HostRoot)] {
            let _ = self.all_of(group).await;
        }
    }

    /// The same, and from then on there are no more: whoever waits for one gets none.
    pub async fn close(&self) {
        for group in [Group::Others, Group::Account(Account::HostRoot)] {
            let last = self.all_of(group).await;
            self.semaphore(group).close();
            drop(last);
        }
    }

    /// Each turn belongs to host root or counts among all others.
    async fn all_of(&self, group: Group) -> Option<OwnedSemaphorePermit> {
        let most = u32::try_from(self.most(group)).unwrap_or(u32::MAX);
        self.semaphore(group).acquire_many_owned(most).await.ok()
    }

    fn most(&self, group: Group) -> usize {
        self.bounds.row(self.resource).of(group).min(Semaphore::MAX_PERMITS)
    }

    fn semaphore(&self, group: Group) -> Arc<Semaphore> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if groups.len() > Self::SWEEP_AT {
            groups.retain(|group, semaphore| {
                Arc::strong_count(semaphore) > 1
                    || matches!(group, Group::Others | Group::Account(Account::HostRoot))
            });
        }
        let new = || Arc::new(Semaphore::new(self.most(group)));
        Arc::clone(groups.entry(group).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::transport::Limits;

    const ALICE: Account = Account::User(1000);
    const SOON: Duration = Duration::from_millis(20);

    fn calls() -> Arc<Turns> {
        let bounds = Bounds::new(&Limits::default(), 100);
        Arc::new(Turns::new(&Accounts::new(bounds), Resource::Calls))
    }

    #[tokio::test]
    async fn whoever_comes_too_soon_waits_and_others_do_not() {
        let calls = calls();
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(calls.turn(ALICE).await.expect("there is room"));
        }
        assert!(timeout(SOON, calls.turn(ALICE)).await.is_err());
        assert!(calls.turn(Account::User(1001)).await.is_some());
        held.pop();
        assert!(calls.turn(ALICE).await.is_some());
    }

    #[tokio::test]
    async fn case_66_host_root_does_not_wait_for_all_others() {
        let calls = calls();
        let mut held = Vec::new();
        for uid in 1000..1012 {
            for _ in 0..8 {
                held.push(calls.turn(Account::User(uid)).await.expect("there is room"));
            }
        }
        assert!(timeout(SOON, calls.turn(Account::User(1))).await.is_err());
        assert!(timeout(SOON, calls.turn(Account::HostRoot)).await.is_ok());
    }

    #[tokio::test]
    async fn whoever_waits_at_the_end_gets_no_turn() {
        let calls = calls();
        let under_way = calls.turn(ALICE).await.expect("there is room");
        let end = tokio::spawn({
            let calls = Arc::clone(&calls);
            async move { calls.close().await }
        });
        while calls.semaphore(Group::Others).available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(!end.is_finished(), "one is under way");
        let (late, ()) = tokio::join!(calls.turn(Account::User(1)), async { drop(under_way) });
        assert!(late.is_none());
        end.await.expect("it ends");
        assert!(calls.turn(Account::HostRoot).await.is_none());
    }

    #[tokio::test]
    async fn idle_accounts_are_forgotten() {
        let calls = calls();
        for uid in 1..2000 {
            assert!(calls.turn(Account::User(uid)).await.is_some());
        }
        assert!(calls.groups.lock().expect("no panic").len() <= Turns::SWEEP_AT + 2);
    }
}
