//! Calls to the bus driver, `org.freedesktop.DBus`, and what counts as its own word.
//!
//! zbus matches replies by serial number alone; the bus stamps the sender on every message, so
//! a reply is believed only when that sender is the driver.

use serde::Serialize;
use zbus::fdo::ConnectionCredentials;
use zbus::message::Header;
use zbus::zvariant::DynamicType;
use zbus::{Connection, Error, Message, Result};

/// The driver's name on every bus.
pub(super) const NAME: &str = "org.freedesktop.DBus";
const PATH: &str = "/org/freedesktop/DBus";

/// Only that a name has lost its owner is of interest, of which connections ending is a part.
const ENDED: &str = "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',\
                     interface='org.freedesktop.DBus',member='NameOwnerChanged',arg2=''";

/// Whether the bus itself sent the message.
pub(super) fn is_sender(header: &Header<'_>) -> bool {
    header.sender().is_some_and(|sender| sender.as_str() == NAME)
}

/// Asks for the signals that [`ended`] understands.
pub(super) async fn watch_endings(bus: &Connection) -> Result<()> {
    call(bus, "AddMatch", &(ENDED,)).await.map(drop)
}

/// The name that ended, when `message` is the driver's signal that one did.
pub(super) fn ended(message: &Message) -> Option<String> {
    let header = message.header();
    let member = header.member().is_some_and(|member| member.as_str() == "NameOwnerChanged");
    if !is_sender(&header) || !member {
        return None;
    }
    let body = message.body();
    let (name, _, new) = body.deserialize::<(&str, &str, &str)>().ok()?;
    new.is_empty().then(|| name.to_owned())
}

/// Claims a name without replacing, being replaced, or waiting in line: whether it is ours.
pub(super) async fn claim(bus: &Connection, name: &str) -> Result<bool> {
    const DO_NOT_QUEUE: u32 = 4;
    const PRIMARY_OWNER: u32 = 1;
    const ALREADY_OWNER: u32 = 4;
    let reply = call(bus, "RequestName", &(name, DO_NOT_QUEUE)).await?;
    let answer: u32 = reply.body().deserialize()?;
    Ok(answer == PRIMARY_OWNER || answer == ALREADY_OWNER)
}

/// What the bus knows of whoever owns a unique name.
pub(super) async fn credentials(bus: &Connection, name: &str) -> Result<ConnectionCredentials> {
    call(bus, "GetConnectionCredentials", &(name,)).await?.body().deserialize()
}

/// The process number of the bus, by its own account.
pub(super) async fn own_pid(bus: &Connection) -> Result<u32> {
    call(bus, "GetConnectionUnixProcessID", &(NAME,)).await?.body().deserialize()
}

/// Whether a unique name is still connected.
pub(super) async fn is_connected(bus: &Connection, name: &str) -> Result<bool> {
    call(bus, "NameHasOwner", &(name,)).await?.body().deserialize()
}

/// A reply from anybody else answers nothing: it is an error, and the caller asks again or
/// refuses.
async fn call<B>(bus: &Connection, member: &str, body: &B) -> Result<Message>
where
    B: Serialize + DynamicType,
{
    let reply = bus.call_method(Some(NAME), PATH, Some(NAME), member, body).await?;
    match is_sender(&reply.header()) {
        true => Ok(reply),
        false => Err(Error::InvalidReply),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use zbus::Guid;
    use zbus::MessageStream;
    use zbus::connection::Builder;
    use zbus::connection::socket::Channel;

    use super::*;

    fn signal(sender: &str, body: &(&str, &str, &str)) -> Message {
        let signal = Message::signal(PATH, NAME, "NameOwnerChanged").sender(sender);
        signal.build(body).expect("valid")
    }

    #[test]
    fn only_the_bus_says_who_left() {
        let gone = (":1.7", ":1.7", "");
        assert_eq!(ended(&signal(NAME, &gone)), Some(":1.7".to_owned()));
        assert_eq!(ended(&signal(":1.66", &gone)), None);
        assert_eq!(ended(&signal(NAME, &(":1.7", "", ":1.7"))), None, "that one came");
    }

    /// A connection whose other end answers every call as `sender`.
    async fn answered_by(sender: &'static str) -> Connection {
        let (near, far) = Channel::pair();
        let guid = Guid::generate();
        let (near, far) = tokio::try_join!(
            Builder::authenticated_socket(near, guid.clone()).p2p().build(),
            Builder::authenticated_socket(far, guid).p2p().build(),
        )
        .expect("both ends are ours");
        let mut calls = MessageStream::from(&far);
        tokio::spawn(async move {
            while let Some(Ok(call)) = calls.next().await {
                let reply = Message::method_return(&call.header()).sender(sender);
                far.send(&reply.build(&true).expect("valid")).await.expect("connected");
            }
        });
        near
    }

    #[tokio::test]
    async fn a_reply_counts_only_from_the_bus() {
        let honest = answered_by(NAME).await;
        assert_eq!(is_connected(&honest, ":1.7").await, Ok(true));
        let forged = answered_by(":1.66").await;
        assert_eq!(is_connected(&forged, ":1.7").await, Err(Error::InvalidReply));
    }
}
