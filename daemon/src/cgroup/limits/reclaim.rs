//! Threads for writes that make the kernel reclaim memory, which can take as long as it likes.
//! The caller waits until its deadline; the thread stays until the kernel lets it go, charged
//! to whoever asked, so that nobody else pays for it.

use std::sync::{Arc, mpsc};
use std::time::Instant;

use crate::accounting::{Account, Accounts, Charge, Resource};
use crate::{Error, Result};

/// The threads of one account.
#[derive(Clone, Debug)]
pub struct ReclaimThreads {
    accounts: Arc<Accounts>,
    account: Account,
}

/// The right to have one thread at a time. Lasts as long as the thread.
#[derive(Clone, Debug)]
pub(crate) struct Permit {
    _charge: Arc<Charge>,
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// The deadline passed; the work goes on.
    UnderWay,
    /// There was no thread to do it: nothing happened.
    NoThread,
}

impl ReclaimThreads {
    /// Threads that are charged to this account.
    pub fn of(accounts: &Arc<Accounts>, account: Account) -> Self {
        Self { accounts: Arc::clone(accounts), account }
    }

    /// Charges one thread.
    ///
    /// # Errors
    /// QuotaExceeded.
    pub(crate) fn permit(&self) -> Result<Permit> {
        let charge = self.accounts.charge(self.account, Resource::ReclaimThreads, 1);
        let charge =
            charge.map_err(|full| Error::from(full).hint("wait for the earlier writes to end"))?;
        Ok(Permit { _charge: Arc::new(charge) })
    }
}

impl Permit {
    /// Runs `work` on a thread of its own and waits for it until `deadline`.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::result::Result<T, Unfinished> {
        const STACK: usize = 128 << 10;
        let (sender, result) = mpsc::sync_channel(1);
        let charge = self.clone();
        let thread = std::thread::Builder::new().name("reclaim".into()).stack_size(STACK);
        let started = thread.spawn(move || {
            let outcome = work();
            // Before the answer: whoever has it can count on the thread's place being free.
            drop(charge);
            // Nobody listens any more when the deadline has passed.
            let _ = sender.send(outcome);
        });
        started.map_err(|_| Unfinished::NoThread)?;
        let left = deadline.saturating_duration_since(Instant::now());
        result.recv_timeout(left).map_err(|_| Unfinished::UnderWay)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cgroupd_proto::ErrorName;

    use super::*;
    use crate::accounting::Bounds;
    use crate::transport::Limits;

    #[test]
    fn two_stuck_threads_are_an_accounts_share() {
        let accounts = Accounts::new(Bounds::new(&Limits::default(), 100));
        let of = |uid| ReclaimThreads::of(&accounts, Account::User(uid));
        let mut doors = Vec::new();
        for _ in 0..2 {
            let (open, door) = mpsc::channel::<()>();
            doors.push(open);
            let permit = of(1000).permit().unwrap();
            let soon = Instant::now() + Duration::from_millis(20);
            assert_eq!(permit.run(soon, move || door.recv().is_ok()), Err(Unfinished::UnderWay));
        }
        assert_eq!(of(1000).permit().unwrap_err().name, ErrorName::QuotaExceeded);
        let other = of(2000).permit().unwrap();
        assert_eq!(other.run(Instant::now() + Duration::from_secs(5), || 7), Ok(7));
        drop((other, doors));
        let patience = Instant::now() + Duration::from_secs(5);
        while !accounts.is_empty() {
            assert!(Instant::now() < patience);
            std::thread::yield_now();
        }
        assert!(of(1000).permit().is_ok());
    }
}
