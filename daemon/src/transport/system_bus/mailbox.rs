//! The calls of one client that wait while another of its calls runs. What waits is bounded in
//! number, in bytes and in descriptors, so a flood costs its sender alone.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use zbus::Message;

use crate::transport::Limits;

/// A bounded queue with one reader, in order.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    calls: VecDeque<Message>,
    closed: bool,
}

impl Mailbox {
    /// Takes a call in, or gives it back when it is one too many. All calls that wait share the
    /// bytes and the descriptors of a single message.
    pub(super) fn put(&self, call: Message, limits: &Limits) -> Result<(), Message> {
        let mut waiting = self.lock();
        let sum = |size: fn(&Message) -> usize| -> usize {
            waiting.calls.iter().map(size).sum::<usize>() + size(&call)
        };
        let fits = waiting.calls.len() < limits.queued_calls
            && sum(|call| call.data().len()) <= limits.message_in
            && sum(|call| call.data().fds().len()) <= limits.descriptors;
        if waiting.closed || !fits {
            return Err(call);
        }
        waiting.calls.push_back(call);
        self.changed.notify_one();
        Ok(())
    }

    /// The next call; `None` once closed.
    pub(super) async fn take(&self) -> Option<Message> {
        loop {
            {
                let mut waiting = self.lock();
                if waiting.closed {
                    return None;
                }
                if let Some(call) = waiting.calls.pop_front() {
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
        *self.lock() = Waiting { calls: VecDeque::new(), closed: true };
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use tokio::time::timeout;
    use zbus::Fd;

    use super::*;

    const LIMITS: fn() -> Limits =
        || Limits { queued_calls: 3, message_in: 2000, descriptors: 2, ..Limits::default() };

    fn call(member: &str, bytes: usize) -> Message {
        let body = (vec![0u8; bytes],);
        Message::method_call("/", member).build(&body).expect("valid")
    }

    fn member(call: &Message) -> String {
        call.header().member().expect("a call has one").to_string()
    }

    #[tokio::test]
    async fn calls_come_out_in_order_until_it_is_closed() {
        let mailbox = Mailbox::default();
        for name in ["A", "B", "C"] {
            mailbox.put(call(name, 1), &LIMITS()).expect("room");
        }
        let refused = mailbox.put(call("D", 1), &LIMITS()).expect_err("full");
        assert_eq!(member(&refused), "D");
        assert_eq!(member(&mailbox.take().await.expect("waiting")), "A");
        mailbox.put(call("E", 1), &LIMITS()).expect("room again");
        mailbox.close();
        assert!(mailbox.take().await.is_none());
        mailbox.put(call("F", 1), &LIMITS()).expect_err("closed");
        assert!(mailbox.is_empty());
    }

    #[test]
    fn what_waits_shares_the_bytes_of_one_message() {
        let mailbox = Mailbox::default();
        mailbox.put(call("A", 1000), &LIMITS()).expect("room");
        mailbox.put(call("B", 1000), &LIMITS()).expect_err("too much together");
        mailbox.put(call("C", 100), &LIMITS()).expect("room for a small one");
    }

    #[test]
    fn what_waits_shares_the_descriptors_of_one_message() {
        let file = || OwnedFd::from(std::fs::File::open("/dev/null").expect("exists"));
        let with = |count: usize| {
            let fds: Vec<Fd<'_>> = (0..count).map(|_| Fd::from(file())).collect();
            Message::method_call("/", "M").build(&(fds,)).expect("valid")
        };
        let mailbox = Mailbox::default();
        mailbox.put(with(3), &LIMITS()).expect_err("too many at once");
        mailbox.put(with(2), &LIMITS()).expect("room");
        mailbox.put(with(1), &LIMITS()).expect_err("too many together");
        mailbox.put(with(0), &LIMITS()).expect("needs none");
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken() {
        let mailbox = std::sync::Arc::new(Mailbox::default());
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
