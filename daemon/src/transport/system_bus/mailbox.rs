//! The calls of one client that wait while another of its calls runs. What waits is bounded in
//! number, in bytes and in descriptors, so a flood costs its sender alone.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use zbus::Message;

use crate::accounting::{Account, Bounds, Charge, Full};
use crate::transport::Limits;

/// A bounded queue with one reader, in order.
#[derive(Debug)]
pub(super) struct Mailbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug)]
struct Waiting {
    calls: VecDeque<Message>,
    closed: bool,
    /// The bytes of long calls, that which was taken last included.
    bytes: Charge,
    /// Those of the call that was taken last.
    taken: usize,
}

/// Why a call is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("too many calls of this connection wait")]
    Calls,
    #[error("the calls of this connection that wait are too long together")]
    Bytes,
    #[error("the calls of this connection that wait carry too many descriptors")]
    Descriptors,
    #[error(transparent)]
    Account(#[from] Full),
    #[error("the connection has left the bus")]
    Closed,
}

/// The bytes of a call that are charged.
fn charged(call: &Message) -> usize {
    Bounds::charged_bytes(call.data().len())
}

impl Mailbox {
    /// An empty one; `bytes` is a charge of nothing yet.
    pub(super) fn new(bytes: Charge) -> Self {
        let waiting = Waiting { calls: VecDeque::new(), closed: false, bytes, taken: 0 };
        Self { waiting: Mutex::new(waiting), changed: Notify::new() }
    }

    /// Charges what is here to another account.
    pub(super) fn move_to(&self, account: Account) -> Result<(), Full> {
        self.lock().bytes.move_to(account)
    }

    /// Takes a call in, or gives it back with the reason. All calls that wait share the bytes and the
    /// descriptors of a single message.
    pub(super) fn put(&self, call: Message, limits: &Limits) -> Result<(), (Message, Refused)> {
        let mut waiting = self.lock();
        if let Err(refused) = waiting.has_room(&call, limits) {
            return Err((call, refused));
        }
        waiting.calls.push_back(call);
        self.changed.notify_one();
        Ok(())
    }

    /// The next call, when the one before is answered; `None` once closed.
    pub(super) async fn take(&self) -> Option<Message> {
        loop {
            {
                let mut waiting = self.lock();
                let answered = std::mem::take(&mut waiting.taken);
                waiting.bytes.shrink(answered);
                if waiting.closed {
                    return None;
                }
                if let Some(call) = waiting.calls.pop_front() {
                    waiting.taken = charged(&call);
                    return Some(call);
                }
            }
            self.changed.notified().await;
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().calls.is_empty()
    }

    /// Drops what waits and takes no more: the client is gone.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let left = waiting.calls.drain(..).map(|call| charged(&call)).sum();
        waiting.bytes.shrink(left);
        drop(waiting);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Charges the call, if it fits.
    fn has_room(&mut self, call: &Message, limits: &Limits) -> Result<(), Refused> {
        let sum = |size: fn(&Message) -> usize| -> usize {
            self.calls.iter().map(size).sum::<usize>() + size(call)
        };
        if self.closed {
            return Err(Refused::Closed);
        } else if self.calls.len() >= limits.queued_calls {
            return Err(Refused::Calls);
        } else if sum(|call| call.data().len()) > limits.message_in {
            return Err(Refused::Bytes);
        } else if sum(|call| call.data().fds().len()) > limits.descriptors {
            return Err(Refused::Descriptors);
        }
        Ok(self.bytes.grow(charged(call), None)?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use tokio::time::timeout;
    use zbus::Fd;

    use super::*;
    use crate::accounting::{Accounts, Resource};

    const LIMITS: fn() -> Limits =
        || Limits { queued_calls: 3, message_in: 2000, descriptors: 2, ..Limits::default() };

    fn mailbox() -> Mailbox {
        let accounts = Accounts::new(Bounds::new(&Limits::default(), 100));
        Mailbox::new(accounts.empty_charge(Account::User(1000), Resource::Bytes))
    }

    fn call(member: &str, bytes: usize) -> Message {
        let body = (vec![0u8; bytes],);
        Message::method_call("/", member).build(&body).expect("valid")
    }

    fn member(call: &Message) -> String {
        call.header().member().expect("a call has one").to_string()
    }

    #[tokio::test]
    async fn calls_come_out_in_order_until_it_is_closed() {
        let mailbox = mailbox();
        for name in ["A", "B", "C"] {
            mailbox.put(call(name, 1), &LIMITS()).expect("room");
        }
        let (refused, why) = mailbox.put(call("D", 1), &LIMITS()).expect_err("full");
        assert_eq!((member(&refused).as_str(), why), ("D", Refused::Calls));
        assert_eq!(member(&mailbox.take().await.expect("waiting")), "A");
        mailbox.put(call("E", 1), &LIMITS()).expect("room again");
        mailbox.close();
        assert!(mailbox.take().await.is_none());
        mailbox.put(call("F", 1), &LIMITS()).expect_err("closed");
        assert!(mailbox.is_empty());
    }

    #[test]
    fn what_waits_shares_the_bytes_of_one_message() {
        let mailbox = mailbox();
        mailbox.put(call("A", 1000), &LIMITS()).expect("room");
        mailbox.put(call("B", 1000), &LIMITS()).expect_err("too much together");
        mailbox.put(call("C", 100), &LIMITS()).expect("room for a small one");
    }

    #[tokio::test]
    async fn long_calls_are_charged_until_they_are_answered() {
        let limits = Limits { message_in: 1 << 20, ..LIMITS() };
        let accounts = Accounts::new(Bounds::new(&limits, 100));
        let who = Account::User(1000);
        let mailbox = Mailbox::new(accounts.empty_charge(Account::Unidentified, Resource::Bytes));
        for name in ["A", "B"] {
            mailbox.put(call(name, 100 << 10), &limits).expect("room");
        }
        mailbox.move_to(who).expect("room");
        let used = || accounts.used(who, Resource::Bytes) / (100 << 10);
        assert_eq!(used(), 2);
        mailbox.take().await.expect("waiting");
        assert_eq!(used(), 2, "it is being answered");
        mailbox.take().await.expect("waiting");
        assert_eq!(used(), 1);
        mailbox.put(call("C", 100 << 10), &limits).expect("room");
        mailbox.close();
        assert_eq!(used(), 1);
        drop(mailbox);
        assert!(accounts.is_empty());
    }

    #[test]
    fn what_waits_shares_the_descriptors_of_one_message() {
        let file = || OwnedFd::from(std::fs::File::open("/dev/null").expect("exists"));
        let with = |count: usize| {
            let fds: Vec<Fd<'_>> = (0..count).map(|_| Fd::from(file())).collect();
            Message::method_call("/", "M").build(&(fds,)).expect("valid")
        };
        let mailbox = mailbox();
        mailbox.put(with(3), &LIMITS()).expect_err("too many at once");
        mailbox.put(with(2), &LIMITS()).expect("room");
        mailbox.put(with(1), &LIMITS()).expect_err("too many together");
        mailbox.put(with(0), &LIMITS()).expect("needs none");
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken() {
        let mailbox = std::sync::Arc::new(mailbox());
        let reader = tokio::spawn({
            let mailbox = std::sync::Arc::clone(&mailbox);
            async move { mailbox.take().await }
        });
        tokio::task::yield_now().await;
        mailbox.put(call("A", 1), &LIMITS()).expect("room");
        let taken = timeout(Duration::from_secs(5), reader).await.expect("woken");
        assert_eq!(member(&taken.expect("no panic").expect("a call")), "A");
    }
}
