//! Half a message whose sender is gone, and whose end of the connection came with it: the daemon
//! then has both ends, and sees the end of neither.

use std::io::{IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use cgroupd_proto::{INTERFACE, OBJECT_PATH};
use cgroupd_tests::need::patience;
use cgroupd_tests::peer::{ALICE, OTHER_RANGE, Peer, RANGE};
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use zbus::Message;

pub(crate) const TESTS: &[Test] = &tests![
    case_61_half_a_message_of_users_that_are_gone,
    case_61_half_a_message_before_the_handshake_is_done,
    case_61_half_a_message_of_somebody_who_stays,
];
pub(crate) const USER_NS_TESTS: &[Test] =
    &tests![needs UserNs: case_61_half_a_message_of_a_container_that_is_gone];

const HANDSHAKE: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";
/// Its answer: DATA, OK and a number of 32 digits, AGREE_UNIX_FD.
const ANSWER: usize = 6 + 3 + 32 + 2 + 15;
/// As many as one account may have.
const CONNECTIONS: usize = 64;
/// Within which the places must be free again; the rest of a message has twice as long.
const FREED: Duration = Duration::from_secs(5);

/// The first bytes of a call with a descriptor.
fn half() -> Vec<u8> {
    let call = Message::method_call(OBJECT_PATH, "Attach").interface(INTERFACE);
    call.build(&("/a",)).unwrap().data()[..40].to_vec()
}

/// A connection that is kept by no process once `stream` is dropped and its maker has ended.
fn send_own_end(mut stream: UnixStream, handshake: &[u8]) {
    stream.write_all(handshake).unwrap();
    if handshake == HANDSHAKE {
        stream.read_exact(&mut [0; ANSWER]).unwrap();
    }
    let own = [stream.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&own)];
    let bytes = half();
    let sent =
        sendmsg::<()>(own[0], &[IoSlice::new(&bytes)], &rights, MsgFlags::MSG_NOSIGNAL, None);
    assert_eq!(sent, Ok(bytes.len()));
}

fn fill(world: &World, peer: &mut Peer, handshake: &[u8]) {
    fill_beside(world, peer, handshake, 0);
}

/// Where the account has so many other connections.
fn fill_beside(world: &World, peer: &mut Peer, handshake: &[u8], others: usize) {
    for _ in others..CONNECTIONS {
        send_own_end(peer.stream(&world.daemon.socket()), handshake);
    }
    peer.let_go();
}

/// Waits until a caller of an account that had no place left is served.
fn is_served_again(world: &World, peer: &mut Peer) {
    let end = Instant::now() + patience(FREED);
    loop {
        match peer.try_connect(&world.daemon) {
            Ok(client) => break assert!(client.who_am_i().is_ok()),
            Err(error) => assert!(Instant::now() < end, "its places stay taken: {error}"),
        }
    }
}

fn user(uid: u32) -> Peer {
    let mut peer = Peer::start();
    peer.ids(uid, uid, &[]);
    peer
}

/// So many users that all places of all others are taken.
fn case_61_half_a_message_of_users_that_are_gone(world: &World) {
    let users = 1024 / CONNECTIONS as u32;
    for uid in ALICE..ALICE + users {
        fill(world, &mut user(uid), HANDSHAKE);
    }
    is_served_again(world, &mut user(ALICE + users));
    is_served_again(world, &mut user(ALICE));
}

fn case_61_half_a_message_before_the_handshake_is_done(world: &World) {
    // The account has few handshakes at a time: those beyond wait, unread.
    fill(world, &mut user(ALICE), b"\0AUTH EXTERNAL\r\n");
    is_served_again(world, &mut user(ALICE));
}

/// The twin: who lives has the time that the configuration gives, and all places of its own.
fn case_61_half_a_message_of_somebody_who_stays(world: &World) {
    let mut alice = user(ALICE);
    let mut stream = alice.stream(&world.daemon.socket());
    stream.write_all(HANDSHAKE).unwrap();
    stream.read_exact(&mut [0; ANSWER]).unwrap();
    let call = Message::method_call(OBJECT_PATH, "WhoAmI").interface(INTERFACE);
    let call = call.build(&()).unwrap();
    let (first, rest) = call.data().split_at(40);
    stream.write_all(first).unwrap();
    let others: Vec<_> = (1..CONNECTIONS).map(|_| alice.stream(&world.daemon.socket())).collect();
    std::thread::sleep(Duration::from_secs(1));
    stream.write_all(rest).unwrap();
    let mut answer = [0; 16];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[1], 2, "a reply");
    drop(others);
}

fn case_61_half_a_message_of_a_container_that_is_gone(world: &World) {
    let mut gone = world.container("/one", RANGE);
    fill_beside(world, &mut gone.peer, HANDSHAKE, 1);
    drop(gone);
    let other = world.container("/other", OTHER_RANGE);
    assert!(other.who_am_i().is_ok());
}
