//! Who may have how many connections. What one account takes, no other misses; and whatever
//! everybody else takes, host root still gets in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, watch};

use super::Limits;
use crate::caller::Caller;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Account {
    pub(crate) key: u32,
    pub(crate) root: bool,
}

impl Account {
    pub(crate) fn of(caller: &Caller) -> Self {
        Self { key: caller.key, root: caller.key == 0 }
    }
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("this account has {0} connections, which is its limit")]
    Account(usize),
    #[error("there are {0} connections, which is the limit")]
    All(usize),
}

/// The connections of all sockets that share it.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: watch::Receiver<Limits>,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    connections: usize,
    accounts: HashMap<Account, Open>,
}

#[derive(Debug)]
struct Open {
    connections: usize,
    handshakes: Arc<Semaphore>,
}

/// A place among the connections, until dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    account: Account,
    /// The handshakes this account may have under way; those beyond wait here for their turn,
    /// unread, while their time runs: a burst of honest clients is served, a silent one goes.
    pub(crate) handshakes: Arc<Semaphore>,
}

impl Admission {
    pub(crate) fn new(limits: watch::Receiver<Limits>) -> Arc<Self> {
        Arc::new(Self { limits, books: Mutex::default() })
    }

    pub(crate) fn admit(self: &Arc<Self>, account: Account) -> Result<Place, Full> {
        let limits = *self.limits.borrow();
        let share = if account.root { Limits::ROOT_SHARE } else { 0 };
        let mut books = self.books();
        if books.connections >= limits.connections + share {
            return Err(Full::All(books.connections));
        }
        let taken = books.accounts.get(&account).map_or(0, |open| open.connections);
        if taken >= limits.connections_per_key {
            return Err(Full::Account(taken));
        }
        books.connections += 1;
        let handshakes = || Arc::new(Semaphore::new(limits.half_open_per_key));
        let open = books
            .accounts
            .entry(account)
            .or_insert_with(|| Open { connections: 0, handshakes: handshakes() });
        open.connections += 1;
        let handshakes = Arc::clone(&open.handshakes);
        Ok(Place { admission: Arc::clone(self), account, handshakes })
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut books = self.admission.books();
        books.connections -= 1;
        if let Some(open) = books.accounts.get_mut(&self.account) {
            open.connections -= 1;
            if open.connections == 0 {
                books.accounts.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(per_account: usize, in_all: usize) -> Arc<Admission> {
        let limits =
            Limits { connections_per_key: per_account, connections: in_all, ..Limits::default() };
        Admission::new(watch::channel(limits).1)
    }

    const USER: Account = Account { key: 1000, root: false };
    const ROOT: Account = Account { key: 0, root: true };
    const ROOTS_CONTAINERS: Account = Account { key: u32::MAX, root: false };

    #[test]
    fn an_account_has_its_limit_and_others_do_not_notice() {
        let admission = admission(2, 100);
        let places = [admission.admit(USER).unwrap(), admission.admit(USER).unwrap()];
        assert_eq!(admission.admit(USER).unwrap_err(), Full::Account(2));
        assert!(admission.admit(ROOT).is_ok());
        drop(places);
        assert!(admission.admit(USER).is_ok());
        assert!(admission.books().accounts.is_empty());
        assert_eq!(admission.books().connections, 0);
    }

    #[test]
    fn root_has_a_share_that_its_containers_do_not_have() {
        let admission = admission(1000, 3);
        let _others: Vec<_> = (0..3).map(|_| admission.admit(ROOTS_CONTAINERS).unwrap()).collect();
        assert_eq!(admission.admit(ROOTS_CONTAINERS).unwrap_err(), Full::All(3));
        assert_eq!(admission.admit(USER).unwrap_err(), Full::All(3));
        let root: Vec<_> =
            (0..Limits::ROOT_SHARE).map(|_| admission.admit(ROOT).unwrap()).collect();
        assert_eq!(admission.admit(ROOT).unwrap_err(), Full::All(3 + root.len()));
    }
}
