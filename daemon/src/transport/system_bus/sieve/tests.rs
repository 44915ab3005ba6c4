//! The sieve between two ends of a socket: one is zbus', the other plays the bus.

use super::*;

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
