//! What a client that watches is told.

use std::time::Duration;

use cgroupd_proto::INTERFACE;
use futures_util::StreamExt;
use zbus::{Message, MessageStream};

use crate::client::{Client, Result};

/// An event: its watch, the path, its name and its count.
pub type Told = (u32, String, String, u64);

/// More than the period at which v1's files are looked at.
pub const PATIENCE: Duration = Duration::from_secs(8);

/// Watch.
///
/// # Errors
/// The error reply.
pub fn watch(client: &Client, path: &str, events: &[&str]) -> Result<u32> {
    client.wait(client.manager().watch(path, events, &[]))
}

/// The next event within a time.
pub fn next(client: &Client, stream: &mut MessageStream, within: Duration) -> Option<Told> {
    let timed = async { Ok(tokio::time::timeout(within, next_in(stream)).await.ok().flatten()) };
    client.wait(timed).ok().flatten()
}

/// The next event; `None` when the connection ends.
pub async fn next_in(stream: &mut MessageStream) -> Option<Told> {
    loop {
        if let Some(told) = event(&stream.next().await?.ok()?) {
            return Some(told);
        }
    }
}

/// What a message tells, if it is an event.
pub fn event(message: &Message) -> Option<Told> {
    let header = message.header();
    let ours = header.interface().is_some_and(|interface| interface == INTERFACE);
    let named = header.member().is_some_and(|member| member == "Event");
    (ours && named).then(|| message.body().deserialize().expect("the contract's arguments"))
}
