//! How many connections there may be, and what becomes of those beyond.

use std::io::{ErrorKind, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use cgroupd::transport::Limits;
use cgroupd_tests::need::patience;
use libtest_mimic::Trial;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::time::{ClockId, clock_gettime};

use crate::message::ping;
use crate::peer::{Peer, first_answer_as};
use crate::server::{Server, limits, no_more_files_than, open_files};
use crate::{root, test, test_with};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("case_52_connections_of_one_account_are_capped", capped),
        test_with("case_52_another_uid_connects_at_once", "root", root, another_uid),
        test("a_burst_of_honest_handshakes_is_served", burst),
        test("silent_handshakes_delay_their_own_account_until_their_deadline", silent),
        test("a_closed_connection_makes_room", makes_room),
        test("peers_that_come_and_go_leave_nothing", come_and_go),
        test("no_descriptors_left", no_descriptors),
    ]
}

/// How many of these connections the server keeps, once it has looked at all.
fn kept(peers: &mut [Peer]) -> usize {
    std::thread::sleep(patience(Duration::from_millis(100)));
    let open = |peer: &mut Peer| {
        peer.stream.set_nonblocking(true).expect("set_nonblocking");
        let read = peer.stream.read(&mut [0]);
        read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    peers.iter_mut().filter_map(|peer| open(peer).then_some(())).count()
}

fn capped() {
    let server = Server::with(Limits { handshake_seconds: 5, ..limits() });
    let mut peers: Vec<_> = (0..300).map(|_| server.connect()).collect();
    assert_eq!(kept(&mut peers), limits().connections_per_key);
    drop(peers);
    let mut authenticated: Vec<_> = (0..64).map(|_| server.peer()).collect();
    assert_eq!(kept(&mut authenticated), 64);
    server.connect().last_words();
}

fn another_uid() {
    const NOBODY: u32 = 65534;
    let server = Server::with(Limits { handshake_seconds: 5, ..limits() });
    let alone = first_answer_as(NOBODY, &server.path);
    let path = server.path.clone();
    let flood = std::thread::spawn(move || {
        // 300 half-open ones, and thousands more that come and are turned away.
        (0..3000).filter_map(|_| Peer::connect(&path).ok()).collect::<Vec<_>>().len()
    });
    for _ in 0..3 {
        let waited = first_answer_as(NOBODY, &server.path);
        assert!(waited < patience(Duration::from_millis(100)), "{waited:?}, alone {alone:?}");
    }
    assert_eq!(flood.join().unwrap(), 3000);
}

fn burst() {
    let server = Server::start();
    std::thread::scope(|threads| {
        let peers: Vec<_> = (0..60).map(|_| threads.spawn(|| server.peer().ping())).collect();
        for peer in peers {
            peer.join().unwrap().unwrap();
        }
    });
}

fn silent() {
    let server = Server::start();
    let _silent: Vec<_> = (0..8).map(|_| server.connect()).collect();
    std::thread::sleep(Duration::from_millis(500));
    let waited = server.answers();
    assert!(waited > Duration::from_millis(200) && waited < Duration::from_secs(1), "{waited:?}");
}

fn makes_room() {
    let server = Server::with(Limits { connections_per_key: 2, ..limits() });
    let (mut first, second) = (server.peer(), server.peer());
    first.ping().unwrap();
    server.connect().last_words();
    drop(second);
    let start = Instant::now();
    while server.connect().authenticate().is_err() {
        assert!(start.elapsed() < Duration::from_secs(2), "the place was not freed");
    }
    first.ping().unwrap();
}

fn come_and_go() {
    let server = Server::start();
    server.answers();
    let before = open_files();
    for round in 0..300 {
        let mut peer = server.connect();
        match round % 4 {
            0 => peer.send(b"\0AUTH"),
            1 => peer.authenticate().unwrap_or(()),
            2 => {
                peer.authenticate().unwrap();
                peer.send(&ping(1).bytes()[..20]);
            }
            _ => {
                peer.authenticate().unwrap();
                peer.send(&ping(1).bytes().repeat(50));
            }
        }
    }
    no_more_files_than(before);
    server.answers();
}

/// Puts the soft limit on open files back when dropped.
struct FewFiles(u64, u64);

impl FewFiles {
    /// Leaves `room` numbers free, above all that are in use.
    fn with_room(room: u64) -> (Self, Vec<OwnedFd>) {
        let open = || std::fs::File::open("/dev/null").expect("/dev/null");
        let highest = std::fs::read_dir("/proc/self/fd")
            .expect("/proc")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let highest = highest.max().expect("open files");
        let mut holes: Vec<OwnedFd> = Vec::new();
        while holes.last().is_none_or(|file| file.as_raw_fd() <= highest) {
            holes.push(open().into());
        }
        let used = holes.last().map_or(0, AsRawFd::as_raw_fd) as u64 + 1;
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("getrlimit");
        setrlimit(Resource::RLIMIT_NOFILE, used + room, hard).expect("setrlimit");
        (Self(soft, hard), holes)
    }
}

impl Drop for FewFiles {
    fn drop(&mut self) {
        setrlimit(Resource::RLIMIT_NOFILE, self.0, self.1).expect("setrlimit");
    }
}

fn no_descriptors() {
    let server = Server::start();
    let (mut old, mut greedy) = (server.peer(), server.peer());
    old.ping().unwrap();
    greedy.ping().unwrap();
    let before = open_files();
    let new = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).unwrap();
    let address = UnixAddr::new(&server.path).unwrap();

    let (few, holes) = FewFiles::with_room(0);
    connect(new.as_raw_fd(), &address).unwrap();
    let cpu = || Duration::from(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap());
    let start = cpu();
    std::thread::sleep(Duration::from_millis(300));
    assert!(cpu() - start < Duration::from_millis(100), "accept spins: {:?}", cpu() - start);
    old.ping().unwrap();
    drop(few);

    let mut new = Peer::from(UnixStream::from(new));
    new.authenticate().unwrap();
    new.ping().unwrap();
    drop((new, holes));

    // Half of the descriptors find room: the kernel cuts the rest, and none may stay.
    let file = std::fs::File::open("/dev/null").unwrap();
    let (few, holes) = FewFiles::with_room(8);
    greedy.send_copies(&ping(1).announcing(16).bytes(), &file, 16);
    greedy.is_closed();
    old.ping().unwrap();
    drop((few, holes, file, greedy));
    no_more_files_than(before);
}
