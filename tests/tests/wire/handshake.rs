//! Hostile and odd handshakes.

use std::io::Write;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use crate::message::{RETURN, Reply, ping};
use crate::server::Server;
use crate::test;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("a_newline_as_the_first_byte", newline_first),
        test("case_03_any_claim_is_accepted", any_claim),
        test("an_unfinished_handshake_is_closed_in_time", unfinished),
        test("a_handshake_that_trickles_is_closed_in_time", trickling),
        test("a_handshake_byte_by_byte", byte_by_byte),
        test("a_handshake_longer_than_4_kib_or_16_lines", too_long),
        test("begin_before_authentication", early_begin),
        test("everything_in_one_write", one_write),
        test("many_messages_behind_begin", messages_behind_begin),
    ]
}

fn newline_first() {
    let server = Server::start();
    let mut peer = server.connect();
    peer.send(b"\n");
    peer.is_closed();
    server.answers();
}

fn any_claim() {
    let server = Server::start();
    for claim in ["30", "", "34323934393637323935", "not hexadecimal", "313030303030"] {
        let mut peer = server.connect();
        peer.send(format!("\0AUTH EXTERNAL {claim}\r\n").as_bytes());
        if claim.is_empty() {
            assert_eq!(peer.line().unwrap(), "DATA\r\n");
            peer.send(b"DATA 30\r\n");
        }
        assert!(peer.line().unwrap().starts_with("OK "), "{claim:?}");
        peer.send(b"BEGIN\r\n");
        peer.ping().unwrap();
    }
}

fn unfinished() {
    let server = Server::start();
    let start = Instant::now();
    let sent = [b"".as_slice(), b"\0", b"\0AUTH EXTERNAL 30", b"\0AUTH EXTERNAL 30\r\n"];
    let mut peers = sent.map(|sent| {
        let mut peer = server.connect();
        peer.send(sent);
        peer
    });
    for peer in &mut peers {
        peer.last_words();
        let took = start.elapsed();
        assert!(took > Duration::from_millis(900) && took < Duration::from_secs(3), "{took:?}");
    }
}

fn trickling() {
    let server = Server::start();
    let mut peer = server.connect();
    let start = Instant::now();
    peer.send(b"\0");
    while peer.stream.write_all(b"A").is_ok() {
        assert!(start.elapsed() < Duration::from_secs(3), "the handshake has no end");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(start.elapsed() > Duration::from_millis(900));
    peer.last_words();
}

fn byte_by_byte() {
    let server = Server::start();
    let mut peer = server.connect();
    let mut sent = b"\0AUTH\r\nAUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n".to_vec();
    sent.extend(ping(9).bytes());
    for byte in sent {
        peer.send(&[byte]);
        std::thread::sleep(Duration::from_micros(200));
    }
    for start in ["REJECTED EXTERNAL\r\n", "DATA\r\n", "OK ", "AGREE_UNIX_FD\r\n"] {
        assert!(peer.line().unwrap().starts_with(start), "{start}");
    }
    assert_eq!(peer.reply().unwrap(), Reply { kind: RETURN, to: 9 });
}

fn too_long() {
    let server = Server::start();
    let long_line = [b"\0AUTH EXTERNAL ".as_slice(), &[b'3'; 1 << 20]].concat();
    let long_lines =
        [b"\0".as_slice(), &[b"AUTH", [b' '; 500].as_slice(), b"\r\n"].concat().repeat(9)];
    let many_lines = [b"\0".as_slice(), &b"AUTH\r\n".repeat(17)];
    for sent in [long_line, long_lines.concat(), many_lines.concat()] {
        let mut peer = server.connect();
        let start = Instant::now();
        peer.send(&sent);
        peer.last_words();
        assert!(start.elapsed() < Duration::from_millis(900), "only the deadline ended it");
    }
    let mut fits = server.connect();
    fits.send(&[b"\0".as_slice(), &b"AUTH\r\n".repeat(14)].concat());
    fits.send(b"AUTH EXTERNAL 30\r\nBEGIN\r\n");
    (0..15).for_each(|_| drop(fits.line().unwrap()));
    fits.ping().unwrap();
}

fn early_begin() {
    let server = Server::start();
    for sent in [b"\0BEGIN\r\n".as_slice(), b"\0AUTH EXTERNAL\r\nBEGIN\r\n"] {
        let mut peer = server.connect();
        peer.send(&[sent, &ping(1).bytes()].concat());
        peer.is_closed();
    }
}

fn one_write() {
    let server = Server::start();
    let mut peer = server.connect();
    let auth = b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";
    peer.send(&[auth.as_slice(), &ping(5).bytes()].concat());
    for start in ["DATA\r\n", "OK ", "AGREE_UNIX_FD\r\n"] {
        assert!(peer.line().unwrap().starts_with(start));
    }
    assert_eq!(peer.reply().unwrap(), Reply { kind: RETURN, to: 5 });
    peer.ping().unwrap();
}

fn messages_behind_begin() {
    let server = Server::start();
    let mut peer = server.connect();
    let calls: Vec<u8> = (1..=100).flat_map(|serial| ping(serial).bytes()).collect();
    peer.send(&[b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n".as_slice(), &calls].concat());
    peer.line().unwrap();
    for serial in 1..=100 {
        assert_eq!(peer.reply().unwrap(), Reply { kind: RETURN, to: serial });
    }
}
