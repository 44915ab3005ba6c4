//! Descriptors: exactly those a message announces, and none that stays open.

use std::fs::File;
use std::io::IoSlice;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use cgroupd::transport::Limits;
use cgroupd_tests::lingering::slow_to_close;
use libtest_mimic::Trial;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::message::{ERROR, RETURN, Reply, SIGNATURE, Value, ping};
use crate::peer::Peer;
use crate::server::{Server, no_more_files_than, open_files};
use crate::test;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("as_many_descriptors_as_announced", announced),
        test("case_57_253_descriptors_before_authentication", many_before_auth),
        test("case_57_253_descriptors_in_a_message", many_after_auth),
        test("case_57_too_many_descriptors_of_which_one_lingers", too_many_with_a_slow_one),
        test("case_57_a_lingering_one_behind_the_end", a_slow_one_behind_the_end),
        test("case_57_a_lingering_one_with_an_urgent_byte", a_slow_urgent_one),
        test("case_57_a_lingering_one_in_sockets_in_sockets", sockets_in_sockets),
        test("case_57_a_lingering_one_before_the_door", a_slow_one_before_the_door),
        test("descriptors_in_the_handshake", in_the_handshake),
        test("descriptors_without_agreement", without_agreement),
        test("begin_and_a_message_with_descriptors_in_one_segment", behind_begin),
        test("unannounced_descriptors", unannounced),
        test("announced_descriptors_that_do_not_come", missing),
        test("descriptors_with_another_byte_than_the_first", with_a_later_byte),
        test("descriptors_that_pile_up_on_an_unfinished_message", piling_up),
        test("calls_with_and_without_descriptors_in_a_row", in_a_row),
        test("case_57_one_descriptor_that_is_named_very_often", named_often),
    ]
}

/// Plays with a server; afterwards nothing it received is open any more.
fn nothing_stays_open(play: impl FnOnce(&Server)) {
    let server = Server::start();
    server.answers();
    let before = open_files();
    play(&server);
    no_more_files_than(before);
    server.answers();
}

/// A connection that must be ended after `sent` came with `count` descriptors.
fn ended_by(server: &Server, sent: &[u8], count: usize) {
    let mut peer = server.peer();
    peer.send_with(sent, count);
    peer.is_closed();
}

fn answered(peer: &mut Peer, serial: u32) {
    assert_eq!(peer.reply().unwrap(), Reply { kind: RETURN, to: serial });
}

fn announced() {
    nothing_stays_open(|server| {
        let mut peer = server.peer();
        let before = open_files();
        for count in [1, 2, 15, 16] {
            peer.send_with(&ping(count).announcing(count).bytes(), count as usize);
            answered(&mut peer, count);
        }
        // They are closed as soon as the call is answered, not when the peer goes.
        no_more_files_than(before);
        ended_by(server, &ping(1).announcing(17).bytes(), 17);
    });
}

fn many_before_auth() {
    nothing_stays_open(|server| {
        for sent in [b"\0".as_slice(), b"\0AUTH EXTERNAL 30\r\n"] {
            let mut peer = server.connect();
            peer.send_with(sent, 253);
            peer.is_closed();
        }
    });
}

fn many_after_auth() {
    nothing_stays_open(|server| {
        ended_by(server, &ping(1).announcing(253).bytes(), 253);
        ended_by(server, &ping(1).announcing(16).bytes(), 253);
        ended_by(server, &ping(1).bytes(), 253);
    });
}

/// The kernel must not be left to close anything: it would do so on a thread that serves.
fn holds_up_nobody(send: impl Fn(&mut Peer, &OwnedFd)) {
    nothing_stays_open(|server| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut peers = Vec::new();
        // As many as the server has threads; more, and it would not serve their sender at all.
        for _ in 0..2 {
            let mut peer = server.connect();
            let slow = slow_to_close(&listener);
            send(&mut peer, &slow);
            // If the server was faster, this is the one that lingers.
            std::thread::spawn(move || drop(slow));
            peers.push(peer);
        }
        let begun = Instant::now();
        let mut other = server.peer();
        other.ping().expect("in time");
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        // Whoever does not listen goes: then nobody waits any longer.
        drop(listener);
    });
}

/// One that does not fit any more.
fn too_many_with_a_slow_one() {
    let null = File::open("/dev/null").expect("/dev/null");
    holds_up_nobody(|peer, slow| {
        let mut descriptors = vec![null.as_raw_fd(); 24];
        descriptors.push(slow.as_raw_fd());
        peer.send_all(b"\0", &descriptors);
    });
}

/// One that is not received, because the message before it ends the connection.
fn a_slow_one_behind_the_end() {
    let null = File::open("/dev/null").expect("/dev/null");
    holds_up_nobody(|peer, slow| {
        peer.send_all(b"\n", &[null.as_raw_fd()]);
        peer.send_all(b"x", &[slow.as_raw_fd()]);
    });
}

/// One in a socket, in a socket, and so on, in front of a connection's end: so deep that kernels before
/// 6.10 let nobody pass that connection on.
fn sockets_in_sockets() {
    let null = File::open("/dev/null").expect("/dev/null");
    holds_up_nobody(|peer, slow| {
        let mut inner = slow.try_clone().expect("descriptors are left");
        let mut others: Vec<OwnedFd> = Vec::new();
        for _ in 0..4 {
            let (near, far) = UnixStream::pair().expect("sockets");
            let rights = [inner.as_raw_fd()];
            let rights = [ControlMessage::ScmRights(&rights)];
            let (near_end, bytes) = (near.as_raw_fd(), [IoSlice::new(b"x")]);
            sendmsg::<()>(near_end, &bytes, &rights, MsgFlags::empty(), None).expect("sent");
            others.extend([std::mem::replace(&mut inner, far.into()), near.into()]);
        }
        peer.send_all(b"\n", &[null.as_raw_fd()]);
        peer.send_all(b"x", &[inner.as_raw_fd()]);
        std::thread::spawn(move || drop((inner, others)));
    });
}

/// One with an urgent byte, which other bytes overtake.
fn a_slow_urgent_one() {
    holds_up_nobody(|peer, slow| {
        let rights = [slow.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&rights)];
        let stream = peer.stream.as_raw_fd();
        let sent = sendmsg::<()>(stream, &[IoSlice::new(b"x")], &rights, MsgFlags::MSG_OOB, None);
        // Kernels before 5.15, and some that are built without it, know no such bytes here.
        assert!(matches!(sent, Ok(1) | Err(Errno::EOPNOTSUPP)), "{sent:?}");
        peer.send(b"\0");
    });
}

/// One in front of a full house: the door must not wait for it.
fn a_slow_one_before_the_door() {
    let few = Limits { connections_per_key: 3, half_open_per_key: 3, ..Limits::default() };
    let server = Server::with(few);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut held: Vec<Peer> = (0..3).map(|_| server.peer()).collect();
    held.iter_mut().for_each(|peer| peer.ping().expect("it is let in"));
    for _ in 0..12 {
        let slow = slow_to_close(&listener);
        // Sometimes it is sent before the door looks.
        server.connect().send_all(b"x", &[slow.as_raw_fd()]);
        std::thread::spawn(move || drop(slow));
    }
    let begun = Instant::now();
    drop(held);
    while Peer::connect(&server.path).and_then(|mut peer| peer.authenticate()).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(4), "nobody is let in");
    }
}

fn in_the_handshake() {
    nothing_stays_open(|server| {
        let whole = b"\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";
        for sent in [b"\0".as_slice(), whole] {
            let mut peer = server.connect();
            peer.send_with(sent, 1);
            peer.last_words();
        }
    });
}

fn without_agreement() {
    nothing_stays_open(|server| {
        let call = ping(1).announcing(1).bytes();
        let mut peer = server.connect();
        peer.send(b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n");
        peer.line().unwrap();
        peer.send_with(&call, 1);
        peer.is_closed();
        let mut peer = server.connect();
        peer.send_with(&[b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n".as_slice(), &call].concat(), 1);
        peer.last_words();
    });
}

fn behind_begin() {
    nothing_stays_open(|server| {
        let auth = b"\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\n".as_slice();
        let first = ping(1).announcing(2).bytes();
        let mut all_at_once = server.connect();
        all_at_once.send_with(&[auth, b"BEGIN\r\n", &first].concat(), 2);
        let mut begin_apart = server.connect();
        begin_apart.send(auth);
        begin_apart.send_with(&[b"BEGIN\r\n".as_slice(), &first].concat(), 2);
        for peer in [&mut all_at_once, &mut begin_apart] {
            peer.line().unwrap();
            peer.line().unwrap();
            answered(peer, 1);
            peer.ping().unwrap();
        }
    });
}

fn unannounced() {
    nothing_stays_open(|server| {
        ended_by(server, &ping(1).bytes(), 1);
        ended_by(server, &ping(1).announcing(1).bytes(), 2);
        // Not even for the next message, which announces one and brings none.
        let mut peer = server.peer();
        peer.send_with(&ping(1).bytes(), 1);
        peer.send(&ping(2).announcing(1).bytes());
        peer.is_closed();
    });
}

fn missing() {
    nothing_stays_open(|server| {
        ended_by(server, &ping(1).announcing(3).bytes(), 2);
        let mut peer = server.peer();
        peer.send(&ping(1).announcing(1).bytes());
        peer.is_closed();
        let mut peer = server.peer();
        peer.send(&ping(1).announcing(u32::MAX).bytes());
        peer.is_closed();
    });
}

fn with_a_later_byte() {
    nothing_stays_open(|server| {
        let mut peer = server.peer();
        let call = ping(1).announcing(2).bytes();
        for at in [1, 15, 16, 17, call.len() - 1] {
            peer.send(&call[..at]);
            peer.send_with(&call[at..], 2);
            answered(&mut peer, 1);
        }
        // A client that sends two messages at once, the second with descriptors.
        peer.send_with(&[ping(1).bytes(), call].concat(), 2);
        answered(&mut peer, 1);
        answered(&mut peer, 1);
    });
}

fn piling_up() {
    nothing_stays_open(|server| {
        let mut peer = server.peer();
        // What tests before this one opened may still be on its way to be closed.
        let before = open_files();
        for byte in &ping(1).announcing(16).bytes()[..8] {
            peer.send_with(&[*byte], 16);
            std::thread::sleep(Duration::from_millis(1));
            let more = open_files().saturating_sub(before);
            assert!(more < 100, "{more} files were opened");
        }
        peer.is_closed();
    });
}

fn in_a_row() {
    nothing_stays_open(|server| {
        let mut peer = server.peer();
        for serial in 1..=50 {
            let count = serial % 3;
            let call = if count == 0 { ping(serial) } else { ping(serial).announcing(count) };
            match count {
                0 => peer.send(&call.bytes()),
                _ => peer.send_with(&call.bytes(), count as usize),
            }
        }
        (1..=50).for_each(|serial| answered(&mut peer, serial));
    });
}

/// `Attach` of the same descriptor, 40,000 times: copies of it would leave none for others.
fn named_often() {
    const NAMED: u32 = 40_000;
    nothing_stays_open(|server| {
        let mut attach = ping(1).announcing(1).field(SIGNATURE, Value::Signature("sahas"));
        attach.fields[1].1 = Value::Text("org.cgroupd1.Manager");
        attach.fields[2].1 = Value::Text("Attach");
        let mut body = [&1u32.to_le_bytes()[..], b"a\0\0\0"].concat();
        body.extend((4 * NAMED).to_le_bytes());
        body.resize(body.len() + 4 * NAMED as usize, 0);
        body.extend(0u32.to_le_bytes());
        attach.body = body;
        let mut peer = server.peer();
        peer.send_with(&attach.bytes(), 1);
        let (reply, body) = peer.reply_with_body().unwrap();
        assert_eq!(reply, Reply { kind: ERROR, to: 1 });
        let text = String::from_utf8_lossy(&body);
        assert!(text.contains("40000 descriptors are named and 1 came"), "{text}");
    });
}
