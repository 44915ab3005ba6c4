//! Who is being served: a client is a unique name. Each takes a seat and gives it back. The seat is
//! charged to [`Account::Unidentified`] until the client's credentials are known, then to its account.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use zbus::Message;

use super::mailbox::Mailbox;
use crate::accounting::{Account, Accounts, Charge, Full, Resource};
use crate::transport::Limits;

/// The clients of the bus.
#[derive(Debug)]
pub(super) struct Clients {
    limits: watch::Receiver<Limits>,
    accounts: Arc<Accounts>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    mailboxes: HashMap<String, Arc<Mailbox>>,
    seats: usize,
}

/// What became of a call.
#[derive(Debug)]
pub(super) enum Offer {
    /// It waits behind others of the same client.
    Waits,
    /// It is the first of a new client, which somebody must serve now.
    First(Seat),
    /// There is no room for it.
    Refused(Message, String),
}

/// One client's place. It stays taken until the client's last call has ended, also when the
/// client left before that: leaving and coming back frees nothing that is still in use.
#[derive(Debug)]
pub(super) struct Seat {
    clients: Arc<Clients>,
    mailbox: Arc<Mailbox>,
    /// The client's unique name.
    pub(super) name: String,
    charge: Charge,
}

impl Clients {
    pub(super) fn new(limits: watch::Receiver<Limits>, accounts: Arc<Accounts>) -> Self {
        Self { limits, accounts, taken: Mutex::default() }
    }

    /// What clients are charged to.
    pub(super) fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.lock().seats
    }

    /// Puts a call into its sender's queue.
    pub(super) fn offer(self: &Arc<Self>, name: &str, call: Message) -> Offer {
        let limits = *self.limits.borrow();
        let mut taken = self.lock();
        if let Some(mailbox) = taken.mailboxes.get(name) {
            return match mailbox.put(call, &limits) {
                Ok(()) => Offer::Waits,
                Err((call, why)) => Offer::Refused(call, why.to_string()),
            };
        }
        let charge = match self.accounts.charge(Account::Unidentified, Resource::Clients, 1) {
            Ok(charge) => charge,
            Err(full) => return Offer::Refused(call, full.to_string()),
        };
        let bytes = self.accounts.empty_charge(Account::Unidentified, Resource::Bytes);
        let mailbox = Arc::new(Mailbox::new(bytes));
        if let Err((call, why)) = mailbox.put(call, &limits) {
            return Offer::Refused(call, why.to_string());
        }
        taken.mailboxes.insert(name.to_owned(), Arc::clone(&mailbox));
        taken.seats += 1;
        Offer::First(Seat { clients: Arc::clone(self), mailbox, name: name.to_owned(), charge })
    }

    /// Forgets a name that has left the bus.
    pub(super) fn leave(&self, name: &str) {
        if let Some(mailbox) = self.lock().mailboxes.remove(name) {
            mailbox.close();
        }
    }

    /// Forgets everybody: unique names mean nothing on the next bus.
    pub(super) fn leave_all(&self) {
        for (_, mailbox) in self.lock().mailboxes.drain() {
            mailbox.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn remove(&mut self, seat: &Seat) {
        if self.mailboxes.get(&seat.name).is_some_and(|at| Arc::ptr_eq(at, &seat.mailbox)) {
            self.mailboxes.remove(&seat.name);
        }
    }
}

impl Seat {
    /// Charges the seat to its client's account, once that is known.
    pub(super) fn charge(&mut self, account: Account) -> Result<(), Full> {
        self.charge.move_to(account)?;
        self.mailbox.move_to(account)
    }

    /// The client's next call; `None` once it has left or said nothing for `idle`, if that is
    /// bounded.
    pub(super) async fn next(&self, idle: Option<Duration>) -> Option<Message> {
        let Some(idle) = idle else { return self.mailbox.take().await };
        loop {
            match timeout(idle, self.mailbox.take()).await {
                Ok(call) => return call,
                Err(_) if self.retire() => return None,
                Err(_) => {}
            }
        }
    }

    /// Closes the mailbox unless a call came in meanwhile; none is lost in between, because
    /// offers hold the same lock.
    fn retire(&self) -> bool {
        let mut taken = self.clients.lock();
        let idle = self.mailbox.is_empty();
        if idle {
            taken.remove(self);
        }
        idle
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.clients.lock();
        taken.remove(self);
        taken.seats -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::Bounds;

    fn clients(connections: usize, connections_per_key: usize) -> Arc<Clients> {
        let limits =
            Limits { connections, connections_per_key, queued_calls: 2, ..Limits::default() };
        with_limits(limits)
    }

    fn with_limits(limits: Limits) -> Arc<Clients> {
        let accounts = Accounts::new(Bounds::new(&limits, 100));
        Arc::new(Clients::new(watch::channel(limits).1, accounts))
    }

    fn call() -> Message {
        Message::method_call("/", "M").build(&()).expect("valid")
    }

    fn seat(clients: &Arc<Clients>, name: &str) -> Seat {
        match clients.offer(name, call()) {
            Offer::First(seat) => seat,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[tokio::test]
    async fn one_client_overflowing_leaves_another_alone() {
        let clients = clients(100, 10);
        let one = seat(&clients, ":1.1");
        assert!(matches!(clients.offer(":1.1", call()), Offer::Waits));
        assert!(matches!(clients.offer(":1.1", call()), Offer::Refused(..)));
        let _two = seat(&clients, ":1.2");
        assert!(one.next(Some(Duration::ZERO)).await.is_some());
        assert!(matches!(clients.offer(":1.1", call()), Offer::Waits));
        assert_eq!(clients.count(), 2);
    }

    #[tokio::test]
    async fn who_leaves_is_forgotten_and_its_calls_with_it() {
        let clients = clients(100, 10);
        let mut gone = seat(&clients, ":1.1");
        gone.charge(Account::User(1000)).expect("room");
        clients.leave(":1.1");
        assert!(gone.next(Some(Duration::from_secs(60))).await.is_none());
        assert_eq!(clients.count(), 1, "its last call may still run");
        drop(gone);
        assert_eq!(clients.count(), 0);
    }

    #[tokio::test]
    async fn who_says_nothing_is_forgotten() {
        let clients = clients(100, 10);
        let idle = seat(&clients, ":1.1");
        assert!(idle.next(Some(Duration::ZERO)).await.is_some());
        assert!(idle.next(Some(Duration::ZERO)).await.is_none());
        let back = seat(&clients, ":1.1");
        drop(idle);
        assert!(matches!(clients.offer(":1.1", call()), Offer::Waits), "the new seat stays");
        drop(back);
        assert_eq!(clients.count(), 0);
    }

    #[test]
    fn one_account_has_its_share_and_no_more() {
        let clients = clients(100, 2);
        let mut seats: Vec<Seat> = (0..3).map(|n| seat(&clients, &format!(":1.{n}"))).collect();
        assert!(seats[0].charge(Account::User(1000)).is_ok());
        assert!(seats[1].charge(Account::User(1000)).is_ok());
        assert!(seats[2].charge(Account::User(1000)).is_err());
        assert!(seats[2].charge(Account::User(1001)).is_ok());
        seats.remove(0);
        assert!(seat(&clients, ":1.9").charge(Account::User(1000)).is_ok());
    }

    #[test]
    fn the_unidentified_do_not_fill_everything_and_root_gets_in() {
        let clients = clients(4, 100);
        let first = seat(&clients, ":1.0");
        assert!(matches!(clients.offer(":1.1", call()), Offer::Refused(..)), "a quarter");
        drop(first);
        let _seats: Vec<Seat> = (0..4)
            .map(|n| {
                let mut seat = seat(&clients, &format!(":1.{n}"));
                seat.charge(Account::User(1000 + n)).expect("room");
                seat
            })
            .collect();
        let mut fifth = seat(&clients, ":1.5");
        assert!(fifth.charge(Account::User(1000)).is_err());
        assert!(fifth.charge(Account::HostRoot).is_ok());
    }

    #[test]
    fn a_message_over_the_limit_takes_no_seat() {
        let limits = Limits { message_in: 32, ..Limits::default() };
        let clients = with_limits(limits);
        assert!(matches!(clients.offer(":1.1", call()), Offer::Refused(..)));
        assert_eq!(clients.count(), 0);
    }
}
