//! The sieve between two ends of a socket: one is zbus', the other plays the bus.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};

use zbus::Fd;

use super::*;
use crate::sys::pidfd;
use crate::transport::closing::Closer;

const LONGEST: usize = 1000;

fn ends() -> (UnixStream, UnixStream) {
    let (near, far) = UnixStream::pair().expect("sockets");
    near.set_nonblocking(true).and_then(|()| far.set_nonblocking(true)).expect("sockets");
    (near, far)
}

/// A sieve that is past the handshake, and the bus's end of its connection.
fn pair() -> (Box<dyn ReadHalf>, Socket) {
    let (near, far) = ends();
    let closers = Arc::new(Closers::default());
    (
        sieve(near, &closers, LONGEST).expect("watched").take().0,
        Socket::new(far, closers.of(Account::User(7))).expect("watched"),
    )
}

async fn next(reader: &mut Box<dyn ReadHalf>) -> zbus::Result<Message> {
    reader.receive_message(1, &mut Vec::new(), &mut Vec::new()).await
}

async fn shake(reader: &mut Box<dyn ReadHalf>, bus: &Socket) {
    bus.send(b"OK 0123\r\nAGREE_UNIX_FD\r\n", &[]).await.expect("connected");
    for expected in [&b"OK 0123\r\n"[..], b"AGREE_UNIX_FD\r\n"] {
        let mut line = [0; 100];
        let (length, _) = reader.recvmsg(&mut line).await.expect("a line");
        assert_eq!(&line[..length], expected);
    }
}

fn call(member: &str, bytes: usize) -> Message {
    let call = Message::method_call("/", member).sender(":1.7");
    call.build(&(vec![7u8; bytes],)).expect("valid")
}

fn call_with_descriptor(member: &str) -> Message {
    let own = pidfd::open(std::process::id().cast_signed()).expect("alive");
    Message::method_call("/", member).build(&(Fd::from(own),)).expect("valid")
}

fn descriptors(message: &Message) -> Vec<BorrowedFd<'_>> {
    message.data().fds().iter().map(AsFd::as_fd).collect()
}

fn member(message: &Message) -> String {
    message.header().member().expect("a call has one").to_string()
}

#[tokio::test]
async fn many_messages_in_one_piece_come_out_one_by_one() {
    let (mut reader, bus) = pair();
    shake(&mut reader, &bus).await;
    let names = ["A", "B", "C"];
    let bytes: Vec<u8> = names.iter().flat_map(|name| call(name, 5).data().to_vec()).collect();
    bus.send(&bytes, &[]).await.expect("connected");
    for name in names {
        let message = next(&mut reader).await.expect("valid");
        assert_eq!((member(&message).as_str(), is_cut(&message)), (name, false));
        let (body,): (Vec<u8>,) = message.body().deserialize().expect("whole");
        assert_eq!(body, [7; 5]);
    }
    drop(bus);
    next(&mut reader).await.expect_err("the end");
}

#[tokio::test]
async fn of_a_long_message_only_its_header_is_kept() {
    let (mut reader, bus) = pair();
    shake(&mut reader, &bus).await;
    let sending = tokio::spawn(async move {
        bus.send(call("Long", 4 << 20).data(), &[]).await.expect("taken");
        bus.send(call("Short", 5).data(), &[]).await.expect("taken");
        bus
    });
    let message = next(&mut reader).await.expect("a header");
    assert!(is_cut(&message) && message.data().len() < LONGEST);
    assert_eq!(message.header().sender().expect("set").as_str(), ":1.7");
    let message = next(&mut reader).await.expect("valid");
    assert_eq!((member(&message).as_str(), is_cut(&message)), ("Short", false));
    sending.await.expect("sent");
}

#[tokio::test]
async fn nobody_outside_can_mark_a_message() {
    let (mut reader, bus) = pair();
    shake(&mut reader, &bus).await;
    let mut marked = call("A", 5).data().to_vec();
    marked[FLAGS] |= CUT;
    bus.send(&marked, &[]).await.expect("connected");
    assert!(!is_cut(&next(&mut reader).await.expect("valid")));
}

#[tokio::test]
async fn a_header_that_zbus_rejects_is_dropped_with_its_descriptors() {
    let (mut reader, bus) = pair();
    shake(&mut reader, &bus).await;
    let odd = call_with_descriptor("Odd");
    let mut bytes = odd.data().to_vec();
    // PATH, the first field, becomes one that does not exist.
    assert_eq!(bytes[FIXED], 1);
    bytes[FIXED] = 42;
    bus.send(&bytes, &descriptors(&odd)).await.expect("connected");
    let plain = call_with_descriptor("Plain");
    bus.send(plain.data(), &descriptors(&plain)).await.expect("connected");
    let message = next(&mut reader).await.expect("valid");
    assert_eq!((member(&message).as_str(), message.data().fds().len()), ("Plain", 1));
}

#[tokio::test]
async fn descriptors_come_with_their_own_message() {
    let (mut reader, bus) = pair();
    shake(&mut reader, &bus).await;
    for round in 0..20 {
        let with = call_with_descriptor("With");
        bus.send(call("Before", round).data(), &[]).await.expect("connected");
        bus.send(with.data(), &descriptors(&with)).await.expect("connected");
        bus.send(call("After", round).data(), &[]).await.expect("connected");
    }
    for _ in 0..20 {
        for (name, count) in [("Before", 0), ("With", 1), ("After", 0)] {
            let message = next(&mut reader).await.expect("valid");
            assert_eq!((member(&message).as_str(), message.data().fds().len()), (name, count));
        }
    }
}

#[tokio::test]
async fn a_closer_that_is_stuck_ends_the_connection_and_the_next_has_no_descriptors() {
    let closers = Arc::new(Closers::default());
    let (near, far) = ends();
    let (mut reader, _) = sieve(near, &closers, LONGEST).expect("watched").take();
    assert!(reader.can_pass_unix_fd());
    let slow = give_slow_descriptors(&closers.of(STRANGERS));
    let bus = Socket::new(far, closers.of(Account::User(7))).expect("watched");
    bus.send(b"OK 0123\r\n", &[]).await.expect("connected");
    reader.recvmsg(&mut [0; 16]).await.expect_err("ended");

    let (near, far) = ends();
    let (mut reader, writer) = sieve(near, &closers, LONGEST).expect("watched").take();
    assert!(!reader.can_pass_unix_fd() && !writer.can_pass_unix_fd());
    let bus = Socket::new(far, closers.of(Account::User(7))).expect("watched");
    bus.send(b"OK 0123\r\n", &[]).await.expect("connected");
    bus.send(call("A", 5).data(), &[]).await.expect("connected");
    let (length, _) = reader.recvmsg(&mut [0; 100]).await.expect("a line");
    assert_eq!(length, 9);
    assert_eq!(member(&next(&mut reader).await.expect("valid")), "A");
    drop(slow);
}

/// Closing a TCP socket that lingers waits until its peer has read everything, or is gone.
fn give_slow_descriptors(closer: &Closer) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut slow = TcpStream::connect(listener.local_addr().expect("bound")).expect("listens");
    let (peer, _) = listener.accept().expect("a connection");
    let linger = libc::linger { l_onoff: 1, l_linger: 30 };
    setsockopt(&slow, sockopt::Linger, &linger).expect("a socket");
    slow.set_nonblocking(true).expect("a socket");
    // Full once is not full for good: the kernel moves what is there to the other end.
    for _ in 0..4 {
        while slow.write(&[0; 4096]).is_ok() {}
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    closer.keep_pidfd(slow.into()).expect("a stand-in");
    let wait_too = || {
        let file = std::fs::File::open("/dev/null").expect("exists");
        closer.keep_pidfd(file.into()).expect("a stand-in");
    };
    while !closer.is_stuck() {
        wait_too();
    }
    // The slow one itself may have been among those that wait; it is the first to leave them.
    wait_too();
    peer
}
