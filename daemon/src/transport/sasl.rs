//! The server's side of the handshake, byte by byte: bytes in, answers out. No I/O.
//!
//! Whoever the peer claims to be is accepted and ignored: the kernel has said who it is. So
//! EXTERNAL always succeeds, whatever a client in another user namespace calls itself.

use super::Violation;

/// The most bytes of a handshake, the leading NUL and BEGIN included.
pub const MAX_BYTES: usize = 4096;
/// The most lines of a handshake; the longest client in use sends five.
pub const MAX_LINES: usize = 16;

/// How far a handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All bytes were taken, more must come.
    More,
    /// `BEGIN` ended it.
    Done {
        /// How many of the bytes given last belong to the handshake; messages follow.
        consumed: usize,
        /// Whether both sides agreed to pass descriptors.
        descriptors: bool,
    },
}

/// A handshake under way.
#[derive(Clone, Debug)]
pub struct Handshake {
    guid: String,
    state: State,
    descriptors: bool,
    bytes: usize,
    lines: usize,
    line: Vec<u8>,
}

/// The states of the specification, and the byte before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Nul,
    Auth,
    Data,
    Begin,
    Done,
}

const REJECTED: &[u8] = b"REJECTED EXTERNAL\r\n";
const ERROR: &[u8] = b"ERROR\r\n";

impl Handshake {
    /// A handshake that will say `guid`, 32 hexadecimal digits, to an accepted client.
    pub fn new(guid: String) -> Self {
        Self { guid, state: State::Nul, descriptors: false, bytes: 0, lines: 0, line: Vec::new() }
    }

    /// Takes the next bytes, in pieces of any size, and appends the answers to `out`.
    ///
    /// # Errors
    /// When the peer must be disconnected; what is in `out` then need not be sent.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Progress, Violation> {
        for (index, byte) in bytes.iter().enumerate() {
            self.byte(*byte, out)?;
            if self.state == State::Done {
                let descriptors = self.descriptors;
                return Ok(Progress::Done { consumed: index + 1, descriptors });
            }
        }
        Ok(Progress::More)
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), Violation> {
        self.bytes += 1;
        if self.bytes > MAX_BYTES {
            return Err(Violation::LongHandshake);
        }
        if self.state == State::Nul {
            self.state = State::Auth;
            return if byte == 0 { Ok(()) } else { Err(Violation::NoNul) };
        }
        self.line.push(byte);
        if !self.line.ends_with(b"\r\n") {
            return Ok(());
        }
        self.lines += 1;
        if self.lines > MAX_LINES {
            return Err(Violation::LongHandshake);
        }
        let line = std::mem::take(&mut self.line);
        self.command(&line[..line.len() - 2], out)?;
        self.line = line;
        self.line.clear();
        Ok(())
    }

    /// One line, without its end. Where the specification lets the server choose between an
    /// ERROR and ending the connection, it says ERROR: the number of lines is bounded anyway.
    fn command(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<(), Violation> {
        let (word, rest) = split_word(line);
        match (self.state, word) {
            (State::Auth, b"AUTH") => self.auth(rest, out),
            (State::Auth, b"ERROR") => self.reject(out),
            (State::Data, b"DATA") => self.accept(out),
            (State::Data | State::Begin, b"CANCEL" | b"ERROR") => self.reject(out),
            (State::Begin, b"NEGOTIATE_UNIX_FD") => {
                self.descriptors = true;
                out.extend_from_slice(b"AGREE_UNIX_FD\r\n");
            }
            (State::Begin, b"BEGIN") => self.state = State::Done,
            (_, b"BEGIN") => return Err(Violation::EarlyBegin),
            _ => out.extend_from_slice(ERROR),
        }
        Ok(())
    }

    fn auth(&mut self, rest: &[u8], out: &mut Vec<u8>) {
        match split_word(rest) {
            // Asked for the claim, sd-bus answers with none; others put it behind the mechanism.
            (b"EXTERNAL", b"") => {
                self.state = State::Data;
                out.extend_from_slice(b"DATA\r\n");
            }
            (b"EXTERNAL", _claim) => self.accept(out),
            _ => self.reject(out),
        }
    }

    fn accept(&mut self, out: &mut Vec<u8>) {
        self.state = State::Begin;
        out.extend_from_slice(b"OK ");
        out.extend_from_slice(self.guid.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    fn reject(&mut self, out: &mut Vec<u8>) {
        self.state = State::Auth;
        self.descriptors = false;
        out.extend_from_slice(REJECTED);
    }
}

fn split_word(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|byte| *byte == b' ') {
        Some(blank) => (&line[..blank], &line[blank + 1..]),
        None => (line, b""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: &str = "0123456789abcdef0123456789abcdef";

    /// What a client sends, what it is told, and whether it may pass descriptors in the end.
    fn play(sent: &[u8]) -> (Result<Progress, Violation>, String) {
        let mut out = Vec::new();
        let end = Handshake::new(GUID.to_owned()).feed(sent, &mut out);
        (end, String::from_utf8(out).unwrap().replace(GUID, "GUID"))
    }

    fn done(sent: &[u8], descriptors: bool) -> Result<Progress, Violation> {
        Ok(Progress::Done { consumed: sent.len(), descriptors })
    }

    #[test]
    fn handshakes_of_clients_in_use() {
        let agreed = "OK GUID\r\nAGREE_UNIX_FD\r\n";
        let table: &[(&str, &[u8], String, bool)] = &[
            (
                "sd-bus",
                b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n",
                format!("DATA\r\n{agreed}"),
                true,
            ),
            (
                "libdbus",
                b"\0AUTH EXTERNAL 31303030\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n",
                agreed.to_owned(),
                true,
            ),
            (
                "GDBus",
                b"\0AUTH\r\nAUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n",
                format!("REJECTED EXTERNAL\r\n{agreed}"),
                true,
            ),
            (
                "godbus without descriptors",
                b"\0AUTH\r\nAUTH EXTERNAL 30\r\nBEGIN\r\n",
                "REJECTED EXTERNAL\r\nOK GUID\r\n".to_owned(),
                false,
            ),
        ];
        for (name, sent, told, descriptors) in table {
            assert_eq!(play(sent), (done(sent, *descriptors), told.clone()), "{name}");
        }
    }

    #[test]
    fn any_claim_is_accepted() {
        for claim in ["30", "", " ", "34323934393637323935", "zz", "\u{7f}", "30 30"] {
            let sent = format!("\0AUTH EXTERNAL {claim}\r\n");
            let (end, told) = play(sent.as_bytes());
            assert_eq!(end, Ok(Progress::More));
            let asked = claim.is_empty();
            assert_eq!(told, if asked { "DATA\r\n" } else { "OK GUID\r\n" }, "{claim:?}");
        }
    }

    #[test]
    fn what_the_specification_says_of_each_state() {
        let table: &[(&[u8], &str)] = &[
            (b"\0AUTH ANONYMOUS\r\n", "REJECTED EXTERNAL\r\n"),
            (b"\0AUTH DBUS_COOKIE_SHA1 30\r\n", "REJECTED EXTERNAL\r\n"),
            (b"\0ERROR\r\n", "REJECTED EXTERNAL\r\n"),
            (b"\0CANCEL\r\n", "ERROR\r\n"),
            (b"\0DATA\r\n", "ERROR\r\n"),
            (b"\0NEGOTIATE_UNIX_FD\r\n", "ERROR\r\n"),
            (b"\0\r\n", "ERROR\r\n"),
            (b"\0auth EXTERNAL 30\r\n", "ERROR\r\n"),
            (b"\0AUTH\tEXTERNAL\r\n", "ERROR\r\n"),
            (b"\0AUTH EXTERNAL\r\nDATA 30\r\n", "DATA\r\nOK GUID\r\n"),
            (b"\0AUTH EXTERNAL\r\nCANCEL\r\n", "DATA\r\nREJECTED EXTERNAL\r\n"),
            (b"\0AUTH EXTERNAL\r\nAUTH EXTERNAL 30\r\n", "DATA\r\nERROR\r\n"),
            (b"\0AUTH EXTERNAL 30\r\nCANCEL\r\n", "OK GUID\r\nREJECTED EXTERNAL\r\n"),
            (b"\0AUTH EXTERNAL 30\r\nDATA\r\n", "OK GUID\r\nERROR\r\n"),
            // A line ends with both, and with nothing else.
            (b"\0AUTH\nAUTH\r", ""),
        ];
        for (sent, told) in table {
            let name = String::from_utf8_lossy(sent);
            assert_eq!(play(sent), (Ok(Progress::More), (*told).to_owned()), "{name}");
        }
    }

    #[test]
    fn an_agreement_ends_with_the_authentication() {
        let sent =
            b"\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nCANCEL\r\nAUTH EXTERNAL 30\r\nBEGIN\r\n";
        assert_eq!(play(sent).0, done(sent, false));
    }

    #[test]
    fn what_ends_the_connection() {
        let long_line = [b"\0AUTH EXTERNAL ", [b'3'; MAX_BYTES].as_slice()].concat();
        let many_lines = [b"\0".as_slice(), &b"X\r\n".repeat(MAX_LINES + 1)].concat();
        let table: &[(&[u8], Violation)] = &[
            (b"\n", Violation::NoNul),
            (b"AUTH EXTERNAL 30\r\n", Violation::NoNul),
            (b"\0BEGIN\r\n", Violation::EarlyBegin),
            (b"\0AUTH EXTERNAL\r\nBEGIN\r\n", Violation::EarlyBegin),
            (&long_line, Violation::LongHandshake),
            (&many_lines, Violation::LongHandshake),
        ];
        for (sent, violation) in table {
            assert_eq!(play(sent).0, Err(*violation), "{}", String::from_utf8_lossy(sent));
        }
        let just_fits = [b"\0".as_slice(), &b"X\r\n".repeat(MAX_LINES)].concat();
        assert_eq!(play(&just_fits).0, Ok(Progress::More));
    }

    #[test]
    fn messages_after_begin_are_left_alone() {
        let auth = b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n";
        let sent = [auth.as_slice(), b"l\x01\0\x01\r\n"].concat();
        assert_eq!(play(&sent).0, done(auth, false));
    }
}
