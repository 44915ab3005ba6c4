//! What a message must look like before anything is allocated for it, and before zbus sees it:
//! its fixed header, and the array of its header fields. Names and the body zbus checks.

use super::Violation;

/// The bytes that say how long a message is.
pub const FIXED: usize = 16;

/// The length of the message that starts with these bytes.
///
/// # Errors
/// When they start no message of this protocol, or one longer than `limit`.
pub fn length(first: &[u8; FIXED], limit: usize) -> Result<usize, Violation> {
    let order = Order::of(first[0])?;
    if !(1..=4).contains(&first[1]) {
        return Err(Violation::Type);
    }
    if first[3] != 1 {
        return Err(Violation::Version);
    }
    if order.u32(&first[8..]) == Some(0) {
        return Err(Violation::Serial);
    }
    let number = |bytes| order.u32(bytes).map_or(u64::MAX >> 1, u64::from);
    let (body, fields) = (number(&first[4..]), number(&first[12..]));
    let total = FIXED as u64 + fields.next_multiple_of(8) + body;
    usize::try_from(total).ok().filter(|total| *total <= limit).ok_or(Violation::LongMessage(total))
}

/// Checks the header fields of a whole message, and says how many descriptors it announces.
///
/// # Errors
/// When a field is malformed, unknown, of the wrong type, or comes twice.
pub fn announced_descriptors(message: &[u8]) -> Result<u32, Violation> {
    let order = Order::of(*message.first().ok_or(Violation::Fields)?)?;
    let length = message.get(12..).and_then(|rest| order.u32(rest)).ok_or(Violation::Fields)?;
    let fields = message.get(FIXED..).and_then(|rest| rest.get(..length as usize));
    let mut fields = Fields { order, bytes: fields.ok_or(Violation::Fields)?, at: 0 };
    let (mut seen, mut descriptors) = (0u16, 0);
    while let Some((code, value)) = fields.next()? {
        if seen & 1 << code != 0 {
            return Err(Violation::DuplicateField(code));
        }
        seen |= 1 << code;
        if code == UNIX_FDS {
            descriptors = value;
        }
    }
    Ok(descriptors)
}

const UNIX_FDS: u8 = 9;
/// The type of each field's value, by its code. PATH, INTERFACE, MEMBER, ERROR_NAME,
/// REPLY_SERIAL, DESTINATION, SENDER, SIGNATURE, UNIX_FDS.
const TYPES: [u8; 10] = *b"\0osssussgu";

#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn of(mark: u8) -> Result<Self, Violation> {
        match mark {
            b'l' => Ok(Self::Little),
            b'B' => Ok(Self::Big),
            _ => Err(Violation::ByteOrder),
        }
    }

    fn u32(self, bytes: &[u8]) -> Option<u32> {
        let bytes = *bytes.first_chunk()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        })
    }
}

/// Walks an `a(yv)`. It starts at a multiple of 8, so offsets in it align as in the message.
struct Fields<'a> {
    order: Order,
    bytes: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    /// The next field's code, and its value where that is a number.
    fn next(&mut self) -> Result<Option<(u8, u32)>, Violation> {
        self.at = self.at.next_multiple_of(8);
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let [code, 1, kind, 0] = *self.take(4)? else { return Err(Violation::Fields) };
        match TYPES.get(usize::from(code)) {
            None | Some(0) => return Err(Violation::UnknownField(code)),
            Some(expected) if *expected != kind => return Err(Violation::FieldType(code)),
            Some(_) => {}
        }
        let number = match kind {
            b'u' => self.u32()?,
            b'g' => {
                let length = self.take(1)?[0];
                self.text(length.into())?;
                0
            }
            _ => {
                let length = self.u32()?;
                self.text(length as usize)?;
                0
            }
        };
        Ok(Some((code, number)))
    }

    fn u32(&mut self) -> Result<u32, Violation> {
        let order = self.order;
        order.u32(self.take(4)?).ok_or(Violation::Fields)
    }

    /// Bytes and the NUL behind them.
    fn text(&mut self, length: usize) -> Result<(), Violation> {
        let bytes = self.take(length.checked_add(1).ok_or(Violation::Fields)?)?;
        if bytes.last() == Some(&0) { Ok(()) } else { Err(Violation::Fields) }
    }

    fn take(&mut self, length: usize) -> Result<&[u8], Violation> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..length));
        self.at = self.at.saturating_add(length);
        taken.ok_or(Violation::Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1000;
    const GOOD: [u8; FIXED] = [b'l', 1, 0, 1, 4, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0];

    #[test]
    fn fixed_headers() {
        assert_eq!(length(&GOOD, LIMIT), Ok(16 + 16 + 4));
        let big = [b'B', 1, 0, 1, 0, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 9];
        assert_eq!(length(&big, LIMIT), Ok(16 + 16 + 4));
        let table = [
            (0, b'\n', Violation::ByteOrder),
            (0, b'L', Violation::ByteOrder),
            (1, 0, Violation::Type),
            (1, 5, Violation::Type),
            (3, 0, Violation::Version),
            (3, 2, Violation::Version),
            (8, 0, Violation::Serial),
            (5, 4, Violation::LongMessage(16 + 16 + 4 + 1024)),
            (13, 4, Violation::LongMessage(16 + 16 + 4 + 1024)),
            (7, 0xff, Violation::LongMessage(16 + 16 + 4 + (0xff << 24))),
        ];
        for (at, byte, violation) in table {
            let mut header = GOOD;
            header[at] = byte;
            assert_eq!(length(&header, LIMIT), Err(violation), "byte {at} is {byte}");
        }
        assert_eq!(length(&GOOD, 36), Ok(36));
        assert_eq!(length(&GOOD, 35), Err(Violation::LongMessage(36)));
    }

    /// A message whose header fields are these bytes.
    fn message(fields: &[u8]) -> Vec<u8> {
        let mut message = GOOD.to_vec();
        message[12] = fields.len() as u8;
        message.extend_from_slice(fields);
        message
    }

    #[test]
    fn header_fields() {
        let fds = [9, 1, b'u', 0, 2, 0, 0, 0];
        let member = [3, 1, b's', 0, 1, 0, 0, 0, b'P', 0];
        let signature = [8, 1, b'g', 0, 1, b'h', 0];
        type Row<'a> = (&'a str, &'a [&'a [u8]], Result<u32, Violation>);
        let table: &[Row<'_>] = &[
            ("none", &[], Ok(0)),
            ("count", &[&fds], Ok(2)),
            ("member, padding, count", &[&member, &[0; 6], &fds], Ok(2)),
            ("count, signature", &[&fds, &signature], Ok(2)),
            ("count twice", &[&fds, &fds], Err(Violation::DuplicateField(9))),
            ("count is a string", &[&[9, 1, b's', 0]], Err(Violation::FieldType(9))),
            ("code 0", &[&[0, 1, b'u', 0]], Err(Violation::UnknownField(0))),
            ("code 10", &[&[10, 1, b'u', 0]], Err(Violation::UnknownField(10))),
            ("code 255", &[&[255, 1, b'u', 0]], Err(Violation::UnknownField(255))),
            ("two types", &[&[9, 2, b'u', b'u', 0]], Err(Violation::Fields)),
            ("cut short", &[&fds[..7]], Err(Violation::Fields)),
            ("no NUL", &[&[3, 1, b's', 0, 1, 0, 0, 0, b'P', 1]], Err(Violation::Fields)),
            ("text too long", &[&[3, 1, b's', 0, 255, 255, 255, 255]], Err(Violation::Fields)),
        ];
        for (name, fields, verdict) in table {
            assert_eq!(announced_descriptors(&message(&fields.concat())), *verdict, "{name}");
        }
    }

    #[test]
    fn fields_beyond_the_message() {
        let mut cut = message(&[9, 1, b'u', 0, 2, 0, 0, 0]);
        cut.truncate(FIXED + 7);
        assert_eq!(announced_descriptors(&cut), Err(Violation::Fields));
        assert_eq!(announced_descriptors(&cut[..14]), Err(Violation::Fields));
        assert_eq!(announced_descriptors(&[]), Err(Violation::Fields));
    }
}
