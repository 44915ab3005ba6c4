//! What a peer did that no well-meaning client does. There is one answer to all of it: the
//! connection ends. The texts are for the log, at a bounded rate.

use std::io;

use crate::accounting::Full;

/// Why a peer was disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The handshake starts with something else than a NUL.
    #[error("the first byte of the handshake is not NUL")]
    NoNul,
    /// More lines or bytes than any handshake needs.
    #[error("the handshake is too long")]
    LongHandshake,
    /// BEGIN before anybody was authenticated.
    #[error("BEGIN before OK")]
    EarlyBegin,
    /// Descriptors while the handshake was under way, or without agreeing on them.
    #[error("descriptors came that were not negotiated")]
    EarlyDescriptors,
    /// Neither `l` nor `B`.
    #[error("unknown byte order")]
    ByteOrder,
    /// A type that is not one of the four.
    #[error("unknown message type")]
    Type,
    /// Another major version of the protocol.
    #[error("unknown protocol version")]
    Version,
    /// Serial number 0.
    #[error("the serial number is zero")]
    Serial,
    /// The header claims a message beyond the limit.
    #[error("a message of {0} bytes is longer than the limit")]
    LongMessage(u64),
    /// A long message, for which its account has no bytes left.
    #[error("a long message: {0}")]
    ManyBytes(Full),
    /// A message that was begun and not finished.
    #[error("the rest of a message did not come in time")]
    SlowMessage,
    /// The array of header fields is not what its length says.
    #[error("malformed header fields")]
    Fields,
    /// A field that no version of the protocol has.
    #[error("unknown header field {0}")]
    UnknownField(u8),
    /// A field with a value of another type than the protocol says.
    #[error("header field {0} has the wrong type")]
    FieldType(u8),
    /// A field for the second time.
    #[error("header field {0} comes twice")]
    DuplicateField(u8),
    /// More descriptors than a message may bring.
    #[error("too many descriptors in a message")]
    ManyDescriptors,
    /// Fewer descriptors came than the header announces.
    #[error("a message announces descriptors that did not come")]
    MissingDescriptors,
    /// As many helper processes of the account as there may be wait for a file system that does not
    /// answer, or too much waits to be closed.
    #[error(
        "descriptors of its account cannot be closed: a file system does not answer, or the other \
         end of a socket does not; see the cgroupd-helper processes"
    )]
    StuckDescriptors,
    /// No helper process could receive its descriptors.
    #[error("the helper process for its descriptors failed: {0}")]
    HelperFailed(io::ErrorKind),
    /// Descriptors came that no header announces.
    #[error("descriptors came that no message announces")]
    ExcessDescriptors,
}

impl From<Violation> for io::Error {
    fn from(violation: Violation) -> Self {
        Self::new(io::ErrorKind::InvalidData, violation)
    }
}
