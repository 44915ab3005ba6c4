//! D-Bus messages put together by hand, so that they may be wrong.

/// A method call, or whatever the fields make of it.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) big_endian: bool,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) version: u8,
    pub(crate) serial: u32,
    pub(crate) fields: Vec<(u8, Value)>,
    pub(crate) body: Vec<u8>,
}

/// The value of a header field.
#[derive(Clone)]
pub(crate) enum Value {
    Path(&'static str),
    Text(&'static str),
    Signature(&'static str),
    Number(u32),
}

pub(crate) const PATH: u8 = 1;
pub(crate) const INTERFACE: u8 = 2;
pub(crate) const MEMBER: u8 = 3;
pub(crate) const REPLY_SERIAL: u8 = 5;
pub(crate) const SENDER: u8 = 7;
pub(crate) const SIGNATURE: u8 = 8;
pub(crate) const UNIX_FDS: u8 = 9;

pub(crate) const CALL: u8 = 1;
pub(crate) const RETURN: u8 = 2;
pub(crate) const ERROR: u8 = 3;
pub(crate) const SIGNAL: u8 = 4;

/// `org.freedesktop.DBus.Peer.Ping`.
pub(crate) fn ping(serial: u32) -> Draft {
    let fields = vec![
        (PATH, Value::Path("/org/cgroupd1")),
        (INTERFACE, Value::Text("org.freedesktop.DBus.Peer")),
        (MEMBER, Value::Text("Ping")),
    ];
    Draft { big_endian: false, kind: CALL, flags: 0, version: 1, serial, fields, body: Vec::new() }
}

impl Draft {
    #[must_use]
    pub(crate) fn field(mut self, code: u8, value: Value) -> Self {
        self.fields.push((code, value));
        self
    }

    /// Announces descriptors.
    #[must_use]
    pub(crate) fn announcing(self, count: u32) -> Self {
        self.field(UNIX_FDS, Value::Number(count))
    }

    /// Adds an array of bytes, so that the whole message is `length` bytes long.
    #[must_use]
    pub(crate) fn of_length(self, length: usize) -> Self {
        let mut draft = self.field(SIGNATURE, Value::Signature("ay"));
        let array = length - draft.bytes().len() - 4;
        draft.body = draft.number(array as u32).to_vec();
        draft.body.resize(array + 4, 7);
        draft
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        for (code, value) in &self.fields {
            fields.resize(fields.len().next_multiple_of(8), 0);
            fields.push(*code);
            self.value(value, &mut fields);
        }
        let order = if self.big_endian { b'B' } else { b'l' };
        let mut bytes = vec![order, self.kind, self.flags, self.version];
        bytes.extend(self.number(self.body.len() as u32));
        bytes.extend(self.number(self.serial));
        bytes.extend(self.number(fields.len() as u32));
        bytes.extend(fields);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(&self.body);
        bytes
    }

    fn value(&self, value: &Value, out: &mut Vec<u8>) {
        let (kind, text) = match value {
            Value::Path(text) => (b'o', *text),
            Value::Text(text) => (b's', *text),
            Value::Signature(text) => (b'g', *text),
            Value::Number(_) => (b'u', ""),
        };
        out.extend([1, kind, 0]);
        match value {
            Value::Number(number) => return out.extend(self.number(*number)),
            Value::Signature(text) => out.push(text.len() as u8),
            _ => out.extend(self.number(text.len() as u32)),
        }
        out.extend(text.as_bytes());
        out.push(0);
    }

    fn number(&self, number: u32) -> [u8; 4] {
        if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }
}

/// What a reply says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) kind: u8,
    pub(crate) to: u32,
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let number = bytes[at..at + 4].try_into().expect("four bytes");
    if bytes[0] == b'B' { u32::from_be_bytes(number) } else { u32::from_le_bytes(number) }
}

/// Where the body of a message begins, by its first 16 bytes.
pub(crate) fn body(first: &[u8]) -> usize {
    16 + (number(first, 12) as usize).next_multiple_of(8)
}

/// The length of a message, by its first 16 bytes.
pub(crate) fn length(first: &[u8]) -> usize {
    body(first) + number(first, 4) as usize
}

/// Reads a reply's type and whom it answers.
pub(crate) fn read(bytes: &[u8]) -> Reply {
    let end = 16 + number(bytes, 12) as usize;
    let (mut at, mut to) = (16usize, 0);
    while at < end {
        let (code, kind) = (bytes[at], bytes[at + 2]);
        if code == REPLY_SERIAL {
            to = number(bytes, at + 4);
        }
        at += match kind {
            b'u' => 8,
            b'g' => 6 + usize::from(bytes[at + 4]),
            _ => 9 + number(bytes, at + 4) as usize,
        };
        at = at.next_multiple_of(8);
    }
    Reply { kind: bytes[1], to }
}
