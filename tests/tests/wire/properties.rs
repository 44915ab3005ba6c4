//! Properties of the parsers on bytes nobody thought of.

use cgroupd::transport::{header, sasl};
use libtest_mimic::Trial;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::message::ping;
use crate::server::Server;
use crate::test;

const LIMIT: usize = 256 << 10;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("any_bytes_are_parsed_as_a_header_without_a_panic", any_header),
        test("mutated_headers_are_parsed_without_a_panic", mutated_header),
        test("what_zbus_builds_passes_the_header_check", built_messages),
        test("a_handshake_is_the_same_in_any_pieces", pieces),
        test("mutated_messages_end_at_most_their_own_connection", mutated_messages),
    ]
}

fn check<S: Strategy>(cases: u32, strategy: &S, property: impl Fn(S::Value)) {
    let mut runner =
        TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let result = runner.run(strategy, |value| {
        property(value);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

fn parse(bytes: &[u8]) {
    if let Some(first) = bytes.first_chunk()
        && let Ok(length) = header::length(first, LIMIT)
    {
        assert!((header::FIXED..=LIMIT).contains(&length));
    }
    let _ = header::announced_descriptors(bytes);
}

fn any_header() {
    check(5000, &vec(any::<u8>(), 0..200), |bytes| parse(&bytes));
}

/// A good message in which a few bytes are others.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let bytes = ping(7).announcing(0).of_length(200).bytes();
    let changes = vec((0..bytes.len(), prop_oneof![any::<u8>(), Just(0), Just(255), 1..9u8]), 1..4);
    (changes, any::<bool>()).prop_map(move |(changes, big_endian)| {
        let mut draft = ping(7).announcing(0);
        draft.big_endian = big_endian;
        let mut bytes = draft.of_length(200).bytes();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes
    })
}

fn mutated_header() {
    check(5000, &mutated(), |bytes| parse(&bytes));
}

fn built_messages() {
    let names = ("(/[a-z_]{1,20}){1,4}", "[a-z]{1,9}\\.[A-Za-z]{1,20}", "[A-Za-z]{1,40}");
    check(300, &(names, any::<u32>()), |((path, interface, member), body)| {
        let message = zbus::Message::method_call(path, member)
            .interface(interface)
            .build(&(body, "text"))
            .expect("a valid call");
        let bytes: &[u8] = message.data();
        assert_eq!(header::length(bytes.first_chunk().unwrap(), LIMIT), Ok(bytes.len()));
        assert_eq!(header::announced_descriptors(bytes), Ok(0));
    });
}

fn pieces() {
    let words = prop_oneof![
        Just("AUTH EXTERNAL\r\n"),
        Just("AUTH EXTERNAL 30\r\n"),
        Just("AUTH\r\n"),
        Just("DATA\r\n"),
        Just("NEGOTIATE_UNIX_FD\r\n"),
        Just("CANCEL\r\n"),
        Just("BEGIN\r\n"),
        Just("\r"),
        Just("\n"),
        Just("x"),
    ];
    let lines = vec(words, 0..20).prop_map(|words| format!("\0{}", words.concat()));
    check(1500, &(lines, 1..40usize), |(sent, size)| {
        let (mut whole, mut told) = (sasl::Handshake::new("g".into()), Vec::new());
        let end = whole.feed(sent.as_bytes(), &mut told);
        let (mut pieces, mut told_in_pieces, mut before) =
            (sasl::Handshake::new("g".into()), Vec::new(), 0);
        let mut end_of_pieces = Ok(sasl::Progress::More);
        for piece in sent.as_bytes().chunks(size) {
            end_of_pieces =
                pieces.feed(piece, &mut told_in_pieces).map(|progress| match progress {
                    sasl::Progress::Done { consumed, descriptors } => {
                        sasl::Progress::Done { consumed: consumed + before, descriptors }
                    }
                    more => more,
                });
            if end_of_pieces != Ok(sasl::Progress::More) {
                break;
            }
            before += piece.len();
        }
        assert_eq!((end, told), (end_of_pieces, told_in_pieces));
    });
}

fn mutated_messages() {
    let server = Server::start();
    let mut witness = server.peer();
    check(300, &mutated(), |bytes| {
        let mut peer = server.peer();
        peer.send(&bytes);
        // What is cut short is ended by our going.
        peer.stream.shutdown(std::net::Shutdown::Write).unwrap_or(());
        peer.last_words();
    });
    witness.ping().unwrap();
    server.answers();
}
