//! Answers as D-Bus messages. No reply is made for a call that asked for none.

use serde::Serialize;
use zbus::Message;
use zbus::message::Flags;
use zbus::zvariant::DynamicType;

use crate::Error;

/// A fault of the transport or the signature, under the names D-Bus has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    InvalidArgs,
    UnknownMethod,
    UnknownObject,
    UnknownInterface,
    UnknownProperty,
    PropertyReadOnly,
    NameHasNoOwner,
    ServiceUnknown,
    LimitsExceeded,
    Failed,
}

impl Fault {
    fn wire(self) -> &'static str {
        match self {
            Self::InvalidArgs => "org.freedesktop.DBus.Error.InvalidArgs",
            Self::UnknownMethod => "org.freedesktop.DBus.Error.UnknownMethod",
            Self::UnknownObject => "org.freedesktop.DBus.Error.UnknownObject",
            Self::UnknownInterface => "org.freedesktop.DBus.Error.UnknownInterface",
            Self::UnknownProperty => "org.freedesktop.DBus.Error.UnknownProperty",
            Self::PropertyReadOnly => "org.freedesktop.DBus.Error.PropertyReadOnly",
            Self::NameHasNoOwner => "org.freedesktop.DBus.Error.NameHasNoOwner",
            Self::ServiceUnknown => "org.freedesktop.DBus.Error.ServiceUnknown",
            Self::LimitsExceeded => "org.freedesktop.DBus.Error.LimitsExceeded",
            Self::Failed => "org.freedesktop.DBus.Error.Failed",
        }
    }
}

/// What a handler answers: a finished message.
pub(crate) type Reply = zbus::Result<Message>;

/// A method return with `body`.
pub(crate) fn success<B: Serialize + DynamicType>(call: &Message, body: &B) -> Reply {
    Message::method_return(&call.header()).build(body)
}

/// An error the service decided on.
pub(crate) fn failure(call: &Message, error: &Error) -> Reply {
    Message::error(&call.header(), error.name.wire()).build(&(error.to_string(),))
}

/// A fault of the call itself.
pub(crate) fn fault(call: &Message, fault: Fault, text: &str) -> Reply {
    Message::error(&call.header(), fault.wire()).build(&(text,))
}

/// Whether anybody waits for an answer.
pub(crate) fn is_wanted(call: &Message) -> bool {
    !call.primary_header().flags().contains(Flags::NO_REPLY_EXPECTED)
}

/// An answer that is too long, a queue that is full.
pub(crate) fn limits_exceeded(call: &Message, text: &str) -> Reply {
    fault(call, Fault::LimitsExceeded, text)
}

/// A reply of more than `most` bytes becomes an error that says so.
pub(crate) fn within_limit(call: &Message, reply: Message, most: usize) -> Reply {
    let length = reply.data().len();
    if length <= most {
        return Ok(reply);
    }
    let text = format!("the reply has {length} bytes, the limit is {most}: ask for less at once");
    limits_exceeded(call, &text)
}
