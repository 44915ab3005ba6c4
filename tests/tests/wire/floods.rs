//! Peers that send or hold more than they should: memory stays flat, others stay fast.

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use cgroupd_tests::need::patience;
use libtest_mimic::Trial;

use crate::message::{RETURN, Reply, ping};
use crate::peer::Peer;
use crate::server::{Server, grows_at_most, no_more_files_than, open_files};
use crate::test;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("case_54_pipelined_calls_in_flat_memory", pipelined),
        test("case_54_large_pipelined_calls_in_flat_memory", large),
        test("case_55_a_peer_that_never_reads_is_disconnected", never_reads),
        test("idle_connections_are_small", idle),
    ]
}

fn pipelined() {
    // Without optimization a call takes ten times as long, and a fifth shows as much.
    const CALLS: u32 = if cfg!(debug_assertions) { 20_000 } else { 100_000 };
    let server = Server::start();
    let mut peer = server.peer();
    let mut sender = peer.stream.try_clone().unwrap();
    let calls = ping(1).bytes().repeat(1000);
    grows_at_most(8192, || {
        std::thread::scope(|threads| {
            threads.spawn(move || {
                (0..CALLS / 1000).for_each(|_| sender.write_all(&calls).unwrap());
            });
            for _ in 0..CALLS {
                assert_eq!(peer.reply().unwrap(), Reply { kind: RETURN, to: 1 });
            }
        });
    });
    peer.ping().unwrap();
}

/// Sends as long as the server takes it, without reading.
fn fill(peer: &mut Peer, bytes: &[u8]) {
    peer.stream.set_nonblocking(true).unwrap();
    let mut idle = 0;
    while idle < 20 {
        match peer.stream.write(bytes) {
            Ok(_) => idle = 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                idle += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(_) => return,
        }
    }
}

fn large() {
    let server = Server::start();
    server.answers();
    let call = ping(1).of_length(256 << 10).bytes();
    // One message of each is in the daemon, whatever waits outside.
    grows_at_most(16 * (2 * 256 + 256), || {
        let mut peers: Vec<_> = (0..16).map(|_| server.peer()).collect();
        std::thread::scope(|threads| {
            for peer in &mut peers {
                threads.spawn(|| fill(peer, &call));
            }
        });
    });
    server.answers();
}

fn never_reads() {
    let server = Server::start();
    let mut honest = server.peer();
    honest.ping().unwrap();
    let before = open_files();
    let calls = ping(1).bytes().repeat(100);
    grows_at_most(8192, || {
        let mut peers: Vec<_> = (0..16).map(|_| server.peer()).collect();
        peers.iter_mut().for_each(|peer| fill(peer, &calls));
        let mut waits: Vec<_> = (0..200)
            .map(|_| {
                let start = Instant::now();
                honest.ping().unwrap();
                start.elapsed()
            })
            .collect();
        waits.sort();
        assert!(waits[197] < patience(Duration::from_millis(50)), "p99 {:?}", waits[197]);
        // Past the deadline each gets what fitted into its socket, and then the end.
        std::thread::sleep(Duration::from_millis(1200));
        for peer in &mut peers {
            peer.stream.set_nonblocking(false).unwrap();
            assert!(!peer.last_words().is_empty());
        }
    });
    no_more_files_than(before);
    honest.ping().unwrap();
}

fn idle() {
    let server = Server::with(cgroupd::transport::Limits {
        connections_per_key: 2000,
        connections: 2000,
        handshake_seconds: 5,
        ..crate::server::limits()
    });
    server.answers();
    let connect = || {
        let mut peer = server.peer();
        peer.ping().unwrap();
        peer
    };
    // The allocator's own reserves are filled first.
    let mut peers: Vec<_> = (0..200).map(|_| connect()).collect();
    let before = crate::server::resident();
    peers.extend((0..500).map(|_| connect()));
    let each = (crate::server::resident() - before) * 1024 / 500;
    assert!(each < 16 << 10, "{each} bytes a connection");
}
