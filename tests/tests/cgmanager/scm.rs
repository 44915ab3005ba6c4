//! The forms with a socket: who asks, and for whom, comes as the kernel's credentials.

use std::fs::Permissions;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use cgroupd_tests::client::Client;
use cgroupd_tests::need::{Need, is_translated, patience};
use cgroupd_tests::peer::Map;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    UnixCredentials, recv, recvmsg, sendmsg, setsockopt, socketpair, sockopt,
};
use nix::sys::time::TimeVal;
use serde::Serialize;
use zbus::Fd;
use zbus::zvariant::DynamicType;

use crate::old::{PIDS, call, done, get, key, pids, says};

pub(crate) const TESTS: &[Test] = &tests![
    every_form_on_every_kind_of_socket,
    who_is_passed_on_is_who_asks,
    ids_of_somebody_else_are_refused,
    a_wrong_descriptor_is_told,
    whoever_is_silent_is_left_alone_and_holds_up_nobody,
    case_04_the_daemons_own_byte,
    case_04_a_byte_of_roots,
    case_04_root_of_another_cgroup_namespace,
    case_04_what_was_sent_before_it_was_asked_for,
    what_comes_along_is_closed,
    what_no_method_takes_is_closed,
    no_descriptor_stays,
];
pub(crate) const USER_NS_TESTS: &[Test] = &tests![needs UserNs:
    a_container_asks_through_a_proxy,
    case_04_a_byte_from_outside_of_a_container,
    case_04_whoever_sees_more_than_the_proxy,
    case_04_groups_that_the_proxy_cannot_give,
];

pub(crate) const PROXY_TESTS: &[Test] = &[Test {
    name: "a_proxy_in_a_container_passes_on_its_child",
    needs: &[Need::UserNs, Need::Python],
    run: a_proxy_in_a_container_passes_on_its_child,
}];

/// The other end of a conversation.
pub(crate) struct Talk(OwnedFd);

/// Two sockets.
fn pair(kind: SockType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).expect("two sockets")
}

impl Talk {
    /// Makes the call; `body` puts the descriptor where it belongs.
    pub(crate) fn begin<B: Serialize + DynamicType>(
        client: &Client,
        kind: SockType,
        member: &str,
        body: impl FnOnce(Fd<'static>) -> B,
    ) -> Self {
        Self::over(pair(kind), client, member, body)
    }

    fn over<B: Serialize + DynamicType>(
        (ours, theirs): (OwnedFd, OwnedFd),
        client: &Client,
        member: &str,
        body: impl FnOnce(Fd<'static>) -> B,
    ) -> Self {
        let patience = TimeVal::new(patience(Duration::from_secs(10)).as_secs() as i64, 0);
        setsockopt(&ours, sockopt::ReceiveTimeout, &patience).expect("ours");
        setsockopt(&ours, sockopt::PassCred, &true).expect("ours");
        done(client, member, &body(Fd::from(theirs)));
        Self(ours)
    }

    /// What comes next; empty at the end.
    fn next(&self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most];
        let count = recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::empty()).expect("in time");
        bytes.truncate(count);
        bytes
    }

    /// Waits to be asked, and answers with these credentials or, without, with its own.
    pub(crate) fn pass(&self, credentials: Option<(i32, u32, u32)>) -> &Self {
        let (byte, asks) = self.message();
        assert_eq!(byte, b'1', "it asks");
        assert_eq!((asks.uid(), asks.gid()), (65534, 65534), "in nobody's name");
        let credentials =
            credentials.map(|(pid, uid, gid)| UnixCredentials::from(libc::ucred { pid, uid, gid }));
        let control = credentials.as_ref().map(ControlMessage::ScmCredentials);
        let parts = [IoSlice::new(b"0")];
        let sent =
            sendmsg::<()>(self.0.as_raw_fd(), &parts, control.as_slice(), MsgFlags::empty(), None);
        assert_eq!(sent, Ok(1));
        self
    }

    pub(crate) fn own(&self) -> &Self {
        self.pass(None)
    }

    pub(crate) fn byte(&self) -> char {
        let byte = self.next(1);
        assert_eq!(byte.len(), 1, "a result");
        char::from(byte[0])
    }

    fn number(&self) -> i32 {
        i32::from_ne_bytes(*self.next(4).first_chunk().expect("four bytes"))
    }

    /// The text up to its NUL.
    fn text(&self) -> String {
        let mut bytes = self.next(4096);
        assert_eq!(bytes.pop(), Some(0), "a NUL at the end");
        String::from_utf8(bytes).expect("text")
    }

    fn items(&self) -> (i32, String) {
        let (count, length) = (self.number(), self.number());
        let text = if count == 0 { Vec::new() } else { self.next(1 << 16) };
        assert_eq!(text.len(), length as usize);
        (count, String::from_utf8(text).expect("text"))
    }

    /// As many processes as were announced; that one is -1 for a failure.
    fn processes(&self) -> Vec<i32> {
        match self.number() {
            -1 => vec![-1],
            count => (0..count).map(|_| self.process()).collect(),
        }
    }

    fn process(&self) -> i32 {
        let (byte, credentials) = self.message();
        assert_eq!(byte, b'p');
        credentials.pid()
    }

    fn message(&self) -> (u8, UnixCredentials) {
        let (mut byte, mut space) = ([0], nix::cmsg_space!(UnixCredentials));
        let mut parts = [IoSliceMut::new(&mut byte)];
        let fd = self.0.as_raw_fd();
        let message = recvmsg::<()>(fd, &mut parts, Some(&mut space), MsgFlags::empty());
        let message = message.expect("in time");
        let credentials = message.cmsgs().expect("whole").find_map(|control| match control {
            ControlMessageOwned::ScmCredentials(credentials) => Some(credentials),
            _ => None,
        });
        (byte[0], credentials.expect("credentials"))
    }
}

fn every_form_on_every_kind_of_socket(world: &World) {
    for (kind, a) in
        [(SockType::Datagram, "d"), (SockType::Stream, "s"), (SockType::SeqPacket, "q")]
    {
        every_form(world, kind, a);
    }
}

fn every_form(world: &World, kind: SockType, a: &str) {
    let b = format!("{a}/b");
    let ask = |member: &str| Talk::begin(&world.root, kind, member, |fd| (PIDS, a.to_owned(), fd));
    let ask_b = |member: &str| Talk::begin(&world.root, kind, member, |fd| (PIDS, b.clone(), fd));
    assert_eq!(ask("CreateScm").own().byte(), '1');
    assert_eq!(ask("CreateScm").own().byte(), '2');
    assert_eq!(ask_b("CreateScm").own().byte(), '1');
    let set = |value: &'static str| {
        Talk::begin(&world.root, kind, "SetValueScm", |fd| (PIDS, a.to_owned(), key(), value, fd))
    };
    assert_eq!(set("12").own().byte(), '1');
    assert_eq!(set("rubbish").own().byte(), '0');
    let value = |key: &'static str| {
        Talk::begin(&world.root, kind, "GetValueScm", |fd| (PIDS, a.to_owned(), key, fd))
    };
    assert_eq!(value(key()).own().text(), "12");
    assert_eq!(value("nosuch").own().next(64), b"", "nothing when it fails");
    let chmod =
        Talk::begin(&world.root, kind, "ChmodScm", |fd| (PIDS, a.to_owned(), "", 0o775, fd));
    assert_eq!(chmod.own().byte(), '1');
    assert_eq!(
        ask("ChownScm").own().pass(Some((std::process::id() as i32, 1000, 1001))).byte(),
        '1'
    );
    assert_eq!(world.cgroups.owner(pids(), a, "").2 & 0o7777, 0o775);
    assert_eq!(world.cgroups.owner(pids(), a, "").0, 1000);

    let sleeper = Sleeper::start(0);
    let victim = Some((sleeper.pid(), 0, 0));
    assert_eq!(ask_b("MovePidScm").own().pass(victim).byte(), '1');
    assert_eq!(ask_b("GetTasksScm").own().processes(), [sleeper.pid()]);
    assert_eq!(ask("GetTasksScm").own().processes(), [0; 0]);
    assert_eq!(ask("GetTasksRecursiveScm").own().processes(), [sleeper.pid()]);
    let missing = Talk::begin(&world.root, kind, "GetTasksScm", |fd| (PIDS, "nowhere", fd));
    assert_eq!(missing.own().number(), -1);
    let cgroup = |member| Talk::begin(&world.root, kind, member, |fd| (PIDS, fd));
    assert_eq!(cgroup("GetPidCgroupScm").own().pass(victim).text(), b);
    assert_eq!(cgroup("GetPidCgroupAbsScm").own().pass(victim).text(), format!("/{b}"));
    let own = Some((std::process::id() as i32, 0, 0));
    assert_eq!(ask_b("MovePidAbsScm").pass(own).pass(victim).byte(), '1');
    assert_eq!(cgroup("GetPidCgroupScm").pass(own).pass(victim).text(), b);

    assert_eq!(ask("ListChildrenScm").own().items(), (1, "b\0".to_owned()));
    assert_eq!(ask_b("ListChildrenScm").own().items(), (0, String::new()));
    let (count, keys) = ask("ListKeysScm").own().items();
    assert_eq!(keys.lines().count(), count as usize * 4);
    assert!(keys.contains(&format!("{}\n0\n0\n33188\n", key())), "{keys}");

    let remove = |recursive: i32| {
        Talk::begin(&world.root, kind, "RemoveScm", |fd| (PIDS, a.to_owned(), recursive, fd))
    };
    assert_eq!(remove(1).own().byte(), '0', "a process is in it");
    assert_eq!(ask_b("RemoveOnEmptyScm").own().byte(), '1');
    drop(sleeper);
    let end = Instant::now() + patience(Duration::from_secs(10));
    while !world.cgroups.is_nowhere(&b) {
        assert!(Instant::now() < end, "{b} stays");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(ask("PruneScm").own().byte(), '1');
    assert!(world.cgroups.is_nowhere(a));
    assert_eq!(remove(1).own().byte(), '1', "it was not there");
    assert_eq!(ask("CreateScm").own().byte(), '1');
    assert_eq!(remove(1).own().byte(), '2');
}

fn who_is_passed_on_is_who_asks(world: &World) {
    world.cgroups.make_for("u", 1000);
    let user = world.user_in(1000, "u");
    let ask =
        |member: &str| Talk::begin(&world.root, SockType::Datagram, member, |fd| (PIDS, "a", fd));
    let own = Some((user.peer.pid(), 1000, 1000));
    assert_eq!(ask("CreateScm").pass(own).byte(), '1');
    assert_eq!(world.cgroups.owner(pids(), "u/a", key()).0, 1000, "in its own cgroup");
    let (roots, users) = (Sleeper::start(0), Sleeper::start(1000));
    world.cgroups.put("u", users.pid());
    assert_eq!(ask("MovePidScm").pass(own).pass(Some((roots.pid(), 0, 0))).byte(), '0');
    assert_eq!(ask("MovePidScm").pass(own).pass(Some((users.pid(), 0, 0))).byte(), '1');
    assert_eq!(ask("ChownScm").pass(own).pass(Some((users.pid(), 1001, 1001))).byte(), '0');
}

fn ids_of_somebody_else_are_refused(world: &World) {
    world.cgroups.make_for("u", 1000);
    let user = world.user_in(1000, "u");
    for (uid, gid, result) in [(0, 0, '0'), (0, 1000, '0'), (1000, 0, '0'), (1000, 1000, '1')] {
        let talk = Talk::begin(&world.root, SockType::Datagram, "CreateScm", |fd| (PIDS, "a", fd));
        assert_eq!(talk.pass(Some((user.peer.pid(), uid, gid))).byte(), result, "{uid} {gid}");
    }
}

fn a_container_asks_through_a_proxy(world: &World) {
    let mut container = world.container("box", 500_000);
    let child = container.peer.sleeper(0);
    let own = Some((container.peer.pid(), 500_000, 500_000));
    let ask =
        |member: &str| Talk::begin(&world.root, SockType::Datagram, member, |fd| (PIDS, "a", fd));
    assert_eq!(ask("CreateScm").pass(own).byte(), '1');
    assert_eq!(ask("MovePidScm").pass(own).pass(Some((child.outside, 0, 0))).byte(), '1');
    assert!(world.cgroups.procs(pids(), "box/a").contains(&child.outside));
    assert_eq!(ask("GetTasksScm").pass(own).processes(), [child.outside], "in our namespace");
    assert_eq!(ask("ChownScm").pass(own).pass(Some((1, 500_007, 500_007))).byte(), '1');
    assert_eq!(ask("ChownScm").pass(own).pass(Some((1, 7, 7))).byte(), '0', "not of its ids");
    assert_eq!(world.cgroups.owner(pids(), "box/a", "").0, 500_007);
    let outsider = Sleeper::start(0);
    assert_eq!(ask("MovePidScm").pass(own).pass(Some((outsider.pid(), 0, 0))).byte(), '0');
    // The proxy's own cgroup is not what the container may see.
    let escape =
        Talk::begin(&world.root, SockType::Datagram, "MovePidAbsScm", |fd| (PIDS, "/", fd));
    assert_eq!(escape.pass(own).pass(Some((child.outside, 0, 0))).byte(), '0');
    assert!(world.cgroups.procs(pids(), "box/a").contains(&child.outside));
}

/// The kernel translates what crosses the namespaces, both ways.
fn a_proxy_in_a_container_passes_on_its_child(world: &World) {
    let mut container = world.container("box", 500_000);
    let socket = world.daemon.socket();
    let socket = socket.to_str().expect("text");
    let script = include_str!("proxy.py");
    let done = container.peer.run(&["python3", "-c", script, socket, PIDS]);
    let expected = "create 1\nagain 2\nmove 1\ncgroup a\nabsolute /a\ntasks True\nback 1\n";
    assert_eq!(done.text, expected);
    assert!(!world.cgroups.is_nowhere("box/a"));
}

fn create_a(fd: Fd<'static>) -> (&'static str, &'static str, Fd<'static>) {
    (PIDS, "a", fd)
}

/// Both ends go to the daemon: what it asks with on the one it reads on the other.
fn case_04_the_daemons_own_byte(world: &World) {
    world.cgroups.make_for("u", 1000);
    let user = world.user_in(1000, "u");
    for kind in [SockType::Datagram, SockType::Stream, SockType::SeqPacket] {
        let (one, other) = pair(kind);
        done(&user, "CreateScm", &create_a(Fd::from(one)));
        done(&user, "CreateScm", &create_a(Fd::from(other)));
        std::thread::sleep(Duration::from_millis(300));
    }
    for hierarchy in cgroupd_tests::hierarchies::all() {
        let of_root = world.cgroups.dir(hierarchy, "a").exists();
        assert!(!of_root, "root has asked for it in {}", hierarchy.label);
    }
    // Who it reads is the user, whatever that is worth.
    if world.cgroups.dir(pids(), "u/a").exists() {
        assert_eq!(world.cgroups.owner(pids(), "u/a", "").0, 1000);
    }
}

/// Whoever called is not root, though root has written a byte.
fn case_04_a_byte_of_roots(world: &World) {
    world.cgroups.make_for("u", 1000);
    let user = world.user_in(1000, "u");
    let ask = || Talk::begin(&user, SockType::Datagram, "CreateScm", create_a);
    assert_eq!(ask().own().byte(), '0');
    assert!(world.cgroups.is_nowhere("a") && world.cgroups.is_nowhere("u/a"));
    let other = Sleeper::start(1001);
    assert_eq!(ask().pass(Some((other.pid(), 1001, 1001))).byte(), '0');
    assert_eq!(ask().pass(Some((user.peer.pid(), 1000, 1000))).byte(), '1');
    assert!(world.daemon.log().contains("rule=\"proxy\""), "{}", world.daemon.log());
    let root = Talk::begin(&world.root, SockType::Datagram, "CreateScm", create_a);
    assert_eq!(root.pass(Some((world.daemon.pid(), 0, 0))).byte(), '0', "not the daemon");
}

fn case_04_a_byte_from_outside_of_a_container(world: &World) {
    let mut container = world.container("box", 500_000);
    let inside = container.peer.sleeper(0);
    let ask = || Talk::begin(&container, SockType::Datagram, "CreateScm", create_a);
    assert_eq!(ask().own().byte(), '0', "host root");
    let outside = Sleeper::start(500_000);
    assert_eq!(ask().pass(Some((outside.pid(), 500_000, 500_000))).byte(), '0');
    assert!(world.cgroups.is_nowhere("a") && world.cgroups.is_nowhere("box/a"));
    assert_eq!(ask().pass(Some((inside.outside, 500_000, 500_000))).byte(), '1');
    assert!(world.cgroups.dir(pids(), "box/a").exists());
}

/// It is confined to its cgroup, and so is whoever it speaks for.
fn case_04_root_of_another_cgroup_namespace(world: &World) {
    world.cgroups.make("box");
    let mut peer = world.peer_in("box");
    peer.cgroup_ns();
    let mut confined = world.calls(peer);
    let own = confined.peer.sleeper(1000);
    let ask = || Talk::begin(&confined, SockType::Datagram, "CreateScm", create_a);
    let (inside, outside) = (Sleeper::start(0), Sleeper::start(0));
    world.cgroups.put("box", inside.pid());
    assert_eq!(ask().pass(Some((outside.pid(), 0, 0))).byte(), '0');
    assert!(world.cgroups.is_nowhere("a") && world.cgroups.is_nowhere("box/a"));
    assert_eq!(ask().pass(Some((confined.peer.pid(), 0, 0))).byte(), '1');
    assert_eq!(ask().pass(Some((inside.pid(), 0, 0))).byte(), '0', "it could be host root");
    let user = Sleeper::start(1000);
    world.cgroups.put("box", user.pid());
    let tasks = |pid| {
        let talk = Talk::begin(&confined, SockType::Datagram, "GetTasksScm", |fd| (PIDS, "", fd));
        talk.pass(Some((pid, 1000, 1000))).processes()
    };
    assert_eq!(tasks(user.pid()), [-1], "it is not confined as the proxy is");
    assert!(tasks(own.outside).contains(&own.outside));
}

/// Where it is says nothing: it entered the cgroup without the namespace.
fn case_04_whoever_sees_more_than_the_proxy(world: &World) {
    world.cgroups.make_for("box", 500_000);
    world.cgroups.make_for("box/inner", 500_000);
    let mut peer = world.peer_in("box/inner");
    peer.user_ns(Map::Range(500_000));
    let before = peer.sleeper(0);
    peer.cgroup_ns();
    let after = peer.sleeper(0);
    let proxy = world.calls(peer);
    let ask = |proxy, pid| {
        let talk = Talk::begin(proxy, SockType::Datagram, "CreateScm", create_a);
        talk.pass(Some((pid, 500_000, 500_000))).byte()
    };
    assert_eq!(ask(&proxy, before.outside), '0', "it sees all of the box");
    assert!(world.cgroups.is_nowhere("box/inner/a"));
    assert_eq!(ask(&proxy, after.outside), '1');
    assert_eq!(ask(&world.root, before.outside), '2', "there is nothing more for root");
}

/// A group of the host's that a process has kept is no right of the container's root.
fn case_04_groups_that_the_proxy_cannot_give(world: &World) {
    const GROUP: u32 = 2000;
    let proxy = world.container("box", 500_000);
    world.cgroups.make("box/shared");
    let shared = world.cgroups.dir(pids(), "box/shared");
    std::os::unix::fs::chown(&shared, Some(0), Some(GROUP)).expect("ours");
    std::fs::set_permissions(&shared, Permissions::from_mode(0o775)).expect("ours");
    let mut member = world.peer_in("box");
    member.ids(0, 0, &[GROUP]);
    member.join_user_ns(proxy.peer.pid());
    member.ids_but_groups(0, 0);
    let ask = |proxy| {
        let body = |fd| (PIDS, "shared/a", fd);
        let talk = Talk::begin(proxy, SockType::Datagram, "CreateScm", body);
        talk.pass(Some((member.pid(), 500_000, 500_000))).byte()
    };
    assert_eq!(ask(&proxy), '0');
    assert!(world.cgroups.is_nowhere("box/shared/a"));
    assert_eq!(ask(&world.root), '1', "the kernel lets the group do it");
}

fn case_04_what_was_sent_before_it_was_asked_for(world: &World) {
    let (ours, theirs) = pair(SockType::SeqPacket);
    assert_eq!(
        sendmsg::<()>(ours.as_raw_fd(), &[IoSlice::new(b"0")], &[], MsgFlags::empty(), None),
        Ok(1)
    );
    let talk = Talk::over((ours, theirs), &world.root, "CreateScm", create_a);
    assert_eq!(talk.next(1), b"1");
    assert_eq!(talk.next(1), b"", "nothing that counts has come");
    assert!(world.cgroups.is_nowhere("a"));
    let twin = Talk::begin(&world.root, SockType::Datagram, "CreateScm", create_a);
    assert_eq!(twin.own().byte(), '1');
}

fn settles_at(world: &World, before: usize) {
    let end = Instant::now() + patience(Duration::from_secs(15));
    while world.daemon.open_files().len() > before {
        assert!(
            Instant::now() < end,
            "{} descriptors, {before} before",
            world.daemon.open_files().len()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Descriptors, and the pidfds that the kernel attaches since Linux 6.5.
fn what_comes_along_is_closed(world: &World) {
    // What the daemon opens once it has opened by then.
    let first = Talk::begin(&world.root, SockType::Datagram, "GetTasksScm", |fd| (PIDS, "", fd));
    assert!(first.own().number() >= 0);
    drop(first);
    std::thread::sleep(Duration::from_millis(200));
    let before = world.daemon.open_files().len();
    let file = std::fs::File::open("/etc/hostname").expect("it is there");
    let many = [file.as_raw_fd(); 253];
    for _ in 0..5 {
        let talk =
            Talk::over(pair(SockType::SeqPacket), &world.root, "GetTasksScm", |fd| (PIDS, "", fd));
        assert_eq!(talk.next(1), b"1");
        let control = [ControlMessage::ScmRights(&many)];
        let parts = [IoSlice::new(b"0")];
        let sent = sendmsg::<()>(talk.0.as_raw_fd(), &parts, &control, MsgFlags::empty(), None);
        assert_eq!(sent, Ok(1));
        assert_eq!(talk.next(4), b"", "it ends");
    }
    settles_at(world, before);
}

/// A socket that a plain method brings, or an unknown one.
fn what_no_method_takes_is_closed(world: &World) {
    let before = world.daemon.open_files().len();
    for member in ["Ping", "Nonesuch", "CreateScm"] {
        let (one, other) = pair(SockType::Stream);
        let body = (Fd::from(one), Fd::from(other));
        call(&world.root, member, &body).expect_err("it takes no such arguments");
    }
    settles_at(world, before);
}

fn a_wrong_descriptor_is_told(world: &World) {
    let not_a_socket = "Failed to set passcred: Socket operation on non-socket";
    let file = OwnedFd::from(std::fs::File::open("/etc/hostname").expect("it is there"));
    says(&world.root, "CreateScm", &(PIDS, "a", Fd::from(file)), not_a_socket);
    let (pipe, _) = std::io::pipe().expect("a pipe");
    says(&world.root, "CreateScm", &(PIDS, "a", Fd::from(OwnedFd::from(pipe))), not_a_socket);
    let listener = UnixListener::bind(world.daemon.dir().join("listens")).expect("ours");
    let wrong = "Failed to set passcred: Invalid argument";
    says(&world.root, "CreateScm", &(PIDS, "a", Fd::from(OwnedFd::from(listener))), wrong);
    assert!(call(&world.root, "CreateScm", &(PIDS, "a")).is_err(), "none at all");
    assert!(world.cgroups.is_nowhere("a"));
    let talk = Talk::begin(&world.root, SockType::Stream, "CreateScm", |fd| (PIDS, "a", fd));
    assert_eq!(talk.own().byte(), '1');
}

fn whoever_is_silent_is_left_alone_and_holds_up_nobody(world: &World) {
    let begun = Instant::now();
    let ask = || Talk::begin(&world.root, SockType::Stream, "MovePidScm", |fd| (PIDS, "a", fd));
    let (silent, half) = (ask(), ask());
    half.own();
    assert_eq!(half.next(1), b"1", "it asks again");
    done(&world.root, "Ping", &1);
    assert_eq!(get::<i32>(&world.root, "Create", &(PIDS, "a")), -1);
    assert!(begun.elapsed() < patience(Duration::from_millis(1500)), "nobody has waited");
    assert_eq!(silent.next(1), b"1");
    for talk in [silent, half] {
        assert_eq!(talk.next(1), b"", "it ends");
    }
    assert!(begun.elapsed() >= Duration::from_secs(2));
}

/// Whoever goes, asks with something else than a socket, or passes on somebody it is not, or nobody.
fn no_descriptor_stays(world: &World) {
    let times = if is_translated() { 100 } else { 10_000 };
    assert_eq!(get::<i32>(&world.root, "Create", &(PIDS, "a")), -1);
    let before = world.daemon.open_files().len();
    let file = std::fs::File::open("/etc/hostname").expect("it is there");
    let (pipe, _writer) = std::io::pipe().expect("a pipe");
    let listener = UnixListener::bind(world.daemon.dir().join("listens")).expect("ours");
    let ask = || Talk::begin(&world.root, SockType::SeqPacket, "GetTasksScm", |fd| (PIDS, "a", fd));
    let own = std::process::id() as i32;
    for _ in 0..times {
        drop(ask());
        for wrong in [file.as_fd(), pipe.as_fd(), listener.as_fd()] {
            call(&world.root, "GetTasksScm", &(PIDS, "a", Fd::from(wrong))).expect_err("unfit");
        }
        assert_eq!(ask().pass(Some((own, 1, 1))).number(), -1, "not its ids");
        let empty = ask();
        assert_eq!(empty.next(1), b"1");
        assert_eq!(sendmsg::<()>(empty.0.as_raw_fd(), &[], &[], MsgFlags::empty(), None), Ok(0));
        assert_eq!(empty.next(1), b"", "it ends");
    }
    for _ in 0..if is_translated() { 1 } else { 3 } {
        let silent: Vec<Talk> = (0..8).map(|_| ask()).collect();
        for talk in silent {
            assert_eq!((talk.next(1), talk.next(1)), (b"1".to_vec(), Vec::new()), "it ends");
        }
    }
    settles_at(world, before);
}
