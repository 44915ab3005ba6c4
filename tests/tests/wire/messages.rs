//! Messages that are wrong, odd, or in pieces.

use std::time::Duration;

use libtest_mimic::Trial;

use crate::message::{
    CALL, Draft, ERROR, INTERFACE, MEMBER, PATH, REPLY_SERIAL, RETURN, Reply, SENDER, SIGNAL,
    SIGNATURE, Value, ping,
};
use crate::server::{Server, grows_at_most, limits};
use crate::test;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("case_58_header_claims_127_mib", claims_127_mib),
        test("the_longest_message_and_one_byte_more", longest_message),
        test("protocol_version_2", || refused(|call| call.version = 2)),
        test("serial_0", || refused(|call| call.serial = 0)),
        test("unknown_message_type", || refused(|call| call.kind = 5)),
        test("duplicate_header_fields", duplicate_fields),
        test("header_fields_of_the_wrong_type", wrong_types),
        test("unknown_header_field", || refused(|call| call.fields.push((10, Value::Number(1))))),
        test("a_body_that_is_not_what_its_signature_says", wrong_body),
        test("a_call_without_a_member", || refused(|call| call.fields.truncate(2))),
        test("case_51_forged_signals_and_returns_are_ignored", forged_types),
        test("forged_sender_means_nothing", forged_sender),
        test("big_endian_calls", big_endian),
        test("no_reply_when_none_is_wanted", no_reply),
        test("messages_split_at_every_byte", split_everywhere),
        test("case_61_half_a_message", half_a_message),
        test("a_reply_beyond_the_limit_is_an_error", long_reply),
    ]
}

/// A ping that is spoiled ends its connection; the same ping as it was is answered.
fn refused(spoil: impl Fn(&mut Draft)) {
    let server = Server::start();
    let mut peer = server.peer();
    assert_eq!(peer.call(&ping(1)).unwrap(), Reply { kind: RETURN, to: 1 });
    let mut call = ping(2);
    spoil(&mut call);
    peer.send(&call.bytes());
    peer.is_closed();
    server.answers();
}

/// It ends its connection after a second, and one that is finished before is answered.
fn half_a_message() {
    let server = Server::start();
    let mut slow = server.peer();
    let call = ping(1).bytes();
    let (last, most) = call.split_last().unwrap();
    slow.send(most);
    std::thread::sleep(Duration::from_millis(300));
    slow.send(&[*last]);
    assert_eq!(slow.reply().unwrap(), Reply { kind: RETURN, to: 1 });
    for call in [ping(2), ping(2).of_length(100_000)] {
        let mut peer = server.peer();
        let call = call.bytes();
        peer.send(&call[..call.len() - 1]);
        peer.is_closed();
    }
    server.answers();
}

fn claims_127_mib() {
    let server = Server::start();
    server.answers();
    grows_at_most(4096, || {
        for claim in [4, 12] {
            let mut peers: Vec<_> = (0..8).map(|_| server.peer()).collect();
            for peer in &mut peers {
                let mut header = ping(1).bytes();
                header[claim..claim + 4].copy_from_slice(&(127u32 << 20).to_le_bytes());
                peer.send(&header[..16]);
            }
            peers.iter_mut().for_each(|peer| peer.is_closed());
        }
        // What is allowed, but never sent, costs nothing either.
        let peers: Vec<_> = (0..32)
            .map(|_| {
                let mut peer = server.peer();
                peer.send(&ping(1).of_length(256 << 10).bytes()[..100]);
                peer
            })
            .collect();
        server.answers();
        drop(peers);
    });
}

fn longest_message() {
    let server = Server::start();
    let mut peer = server.peer();
    let most = limits().message_in;
    for (serial, length) in [(1, 2047), (2, 2048), (3, 2049), (4, 5000), (5, most - 1), (6, most)] {
        let call = ping(serial).of_length(length);
        assert_eq!(call.bytes().len(), length);
        assert_eq!(peer.call(&call).unwrap().to, serial);
    }
    peer.send(&ping(7).of_length(most + 1).bytes());
    peer.is_closed();
}

fn duplicate_fields() {
    let extra = [
        (PATH, Value::Path("/other")),
        (INTERFACE, Value::Text("org.cgroupd1.Manager")),
        (MEMBER, Value::Text("Other")),
    ];
    for (code, value) in extra {
        refused(|call| call.fields.push((code, value.clone())));
        refused(|call| call.fields.insert(0, (code, value.clone())));
    }
}

fn wrong_types() {
    let wrong = [
        (PATH, Value::Text("/org/cgroupd1")),
        (MEMBER, Value::Number(1)),
        (SENDER, Value::Signature("s")),
        (SIGNATURE, Value::Text("s")),
        (REPLY_SERIAL, Value::Text("1")),
    ];
    for (code, value) in wrong {
        refused(|call| {
            call.fields.retain(|(other, _)| *other != code);
            call.fields.push((code, value.clone()));
        });
    }
}

fn wrong_body() {
    refused(|call| call.body = vec![1, 2, 3, 4]);
    refused(|call| {
        call.fields.push((SIGNATURE, Value::Signature("s")));
        call.body = vec![255, 0, 0, 0, b'a', 0];
    });
    refused(|call| {
        call.fields.push((SIGNATURE, Value::Signature("b")));
        call.body = vec![2, 0, 0, 0];
    });
}

fn forged_types() {
    let server = Server::start();
    let mut peer = server.peer();
    for kind in [SIGNAL, RETURN, ERROR] {
        let mut forged = ping(1).field(REPLY_SERIAL, Value::Number(1));
        forged.kind = kind;
        forged.fields.push((4, Value::Text("org.example.Error")));
        peer.send(&forged.bytes());
    }
    assert_eq!(peer.call(&ping(2)).unwrap(), Reply { kind: RETURN, to: 2 });
}

fn forged_sender() {
    let server = Server::start();
    let (mut peer, mut other) = (server.peer(), server.peer());
    for (serial, sender) in [(1, ":1.1"), (2, ":1.4294967295"), (3, ":0.0")] {
        let forged = ping(serial).field(SENDER, Value::Text(sender));
        assert_eq!(peer.call(&forged).unwrap(), Reply { kind: RETURN, to: serial });
    }
    // Nothing of it went to anybody else.
    other.ping().unwrap();
}

fn big_endian() {
    let server = Server::start();
    let mut peer = server.peer();
    for serial in [1, 2, 1 << 24] {
        let mut call = ping(serial);
        call.big_endian = true;
        assert_eq!(peer.call(&call).unwrap(), Reply { kind: RETURN, to: serial });
        assert_eq!(peer.call(&call.of_length(3000)).unwrap().to, serial);
    }
}

fn no_reply() {
    let server = Server::start();
    let mut peer = server.peer();
    let mut call = ping(1);
    call.flags = 1;
    assert_eq!(call.kind, CALL);
    peer.send(&call.bytes());
    assert_eq!(peer.call(&ping(2)).unwrap(), Reply { kind: RETURN, to: 2 });
}

fn split_everywhere() {
    let server = Server::start();
    let mut peer = server.peer();
    let both = [ping(1).bytes(), ping(2).bytes()].concat();
    for at in 1..both.len() {
        peer.send(&both[..at]);
        std::thread::sleep(Duration::from_micros(300));
        peer.send(&both[at..]);
        for serial in 1..=2 {
            assert_eq!(peer.reply().unwrap(), Reply { kind: RETURN, to: serial }, "split at {at}");
        }
    }
}

fn long_reply() {
    let server = Server::with(cgroupd::transport::Limits { message_out: 40, ..limits() });
    let mut peer = server.peer();
    let mut call = ping(1);
    assert_eq!(peer.call(&call).unwrap().kind, RETURN);
    call.fields[1].1 = Value::Text("org.freedesktop.DBus");
    call.fields[2].1 = Value::Text("ListNames");
    assert_eq!(peer.call(&call).unwrap(), Reply { kind: ERROR, to: 1 });
}
