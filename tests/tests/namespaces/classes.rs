//! Host root, the root of a user namespace, or a user.

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::{denied, refused};
use cgroupd_tests::peer::{ALICE, Map, Peer, RANGE};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Caller, World};

pub(crate) const TESTS: &[Test] = &tests![
    case_05_root_with_every_namespace_of_the_host,
    case_05_root_in_a_pid_namespace,
    case_05_root_in_a_cgroup_namespace,
    case_05_root_without_the_capability,
];

pub(crate) const USER_NS_TESTS: &[Test] = &tests![needs UserNs:
    case_05_root_in_a_user_namespace,
    case_09_one_id_of_an_ordinary_user,
    case_09_a_range_of_ids,
    case_09_one_inside_the_other,
    case_09_no_ids_at_all,
    case_09_an_ordinary_id_of_a_range,
];

/// What WhoAmI says of class and uid.
fn said(caller: &Caller) -> (String, String) {
    let answer = caller.who_am_i().unwrap();
    (answer["class"].clone(), answer["uid"].clone())
}

fn pair(class: &str, uid: u32) -> (String, String) {
    (class.to_owned(), uid.to_string())
}

/// A root process in the cgroup `own`, beside one called `other`.
fn root_in_own(world: &World) -> Peer {
    world.cgroups.make("own");
    world.cgroups.make("other");
    world.peer_in("own")
}

/// It makes cgroups in `own` and nowhere else.
fn is_confined(world: &World, caller: &Caller) {
    assert_eq!(said(caller), pair("user", 0));
    caller.create("/mine").unwrap();
    assert!(world.cgroups.is_everywhere("own/mine") && world.cgroups.is_nowhere("mine"));
    unchanged(&world.cgroups, || {
        refused(caller.create("/../other/theirs"), ErrorName::InvalidPath);
        refused(caller.remove("/own", &[]), ErrorName::NotFound);
        refused(caller.remove("/other", &[]), ErrorName::NotFound);
        denied(caller.remove("/", &["recursive"]));
    });
    assert_eq!(caller.list("/").unwrap(), ["/mine"]);
}

fn case_05_root_with_every_namespace_of_the_host(world: &World) {
    let peer = root_in_own(world);
    let caller = world.calls(peer);
    assert_eq!(said(&caller), pair("host-root", 0));
    caller.create("/other/theirs").unwrap();
    assert!(world.cgroups.is_everywhere("other/theirs"));
}

fn case_05_root_in_a_pid_namespace(world: &World) {
    let mut peer = root_in_own(world);
    peer.pid_ns();
    is_confined(world, &world.calls(peer));
}

fn case_05_root_in_a_cgroup_namespace(world: &World) {
    let mut peer = root_in_own(world);
    peer.cgroup_ns();
    is_confined(world, &world.calls(peer));
}

fn case_05_root_without_the_capability(world: &World) {
    let mut peer = root_in_own(world);
    peer.drop_sys_admin();
    is_confined(world, &world.calls(peer));
}

/// `unshare -Ur` as root is still the kernel's uid 0, and is confined like a container.
fn case_05_root_in_a_user_namespace(world: &World) {
    let mut peer = root_in_own(world);
    peer.user_ns(Map::Own);
    let caller = world.calls(peer);
    assert_eq!(said(&caller), pair("namespace-root", 0));
    caller.create("/mine").unwrap();
    assert!(world.cgroups.is_everywhere("own/mine"));
    unchanged(&world.cgroups, || refused(caller.remove("/other", &[]), ErrorName::NotFound));
}

fn case_09_one_id_of_an_ordinary_user(world: &World) {
    world.cgroups.make_for("home", ALICE);
    let mut peer = world.peer_in("home");
    peer.ids(ALICE, ALICE, &[]);
    peer.user_ns(Map::Own);
    let caller = world.calls(peer);
    assert_eq!(said(&caller), pair("namespace-root", 0));
    caller.create("/a").unwrap();
    let (uid, gid, _) = world.cgroups.owner(first(), "home/a", "");
    assert_eq!((uid, gid), (ALICE, ALICE), "what it makes is the host user's");
}

fn first() -> &'static cgroupd_tests::hierarchies::Hierarchy {
    cgroupd_tests::hierarchies::implied().next().expect("some hierarchy")
}

fn case_09_a_range_of_ids(world: &World) {
    let caller = world.container("box", RANGE);
    assert_eq!(said(&caller), pair("namespace-root", 0));
    caller.create("/a").unwrap();
    let (uid, gid, _) = world.cgroups.owner(first(), "box/a", "");
    assert_eq!((uid, gid), (RANGE, RANGE));
}

/// A namespace in a namespace: its ids are some of the outer one's.
fn case_09_one_inside_the_other(world: &World) {
    world.cgroups.make_for("box", RANGE);
    let mut peer = world.peer_in("box");
    peer.user_ns(Map::Range(RANGE));
    peer.ids(1000, 1000, &[]);
    peer.user_ns(Map::Own);
    let caller = world.calls(peer);
    assert_eq!(said(&caller), pair("namespace-root", 0));
    unchanged(&world.cgroups, || {
        refused(caller.create("/a"), ErrorName::Denied);
    });
    world.cgroups.give("box", RANGE + 1000, RANGE + 1000);
    caller.create("/a").unwrap();
    assert_eq!(world.cgroups.owner(first(), "box/a", "").0, RANGE + 1000);
}

/// A namespace that maps nobody gives nobody rights; who the process is stays what it was.
fn case_09_no_ids_at_all(world: &World) {
    world.cgroups.make_for("home", ALICE);
    let mut peer = world.peer_in("home");
    peer.ids(ALICE, ALICE, &[]);
    peer.user_ns(Map::Nothing);
    let caller = world.calls(peer);
    assert_eq!(said(&caller), pair("user", 65_534), "the overflow id");
    caller.create("/a").unwrap();
    assert_eq!(world.cgroups.owner(first(), "home/a", "").0, ALICE);
    world.cgroups.make_for("other", ALICE);
    unchanged(&world.cgroups, || refused(caller.list("/other"), ErrorName::NotFound));
}

fn case_09_an_ordinary_id_of_a_range(world: &World) {
    world.cgroups.make_for("box", RANGE + 1000);
    let mut peer = world.peer_in("box");
    peer.user_ns(Map::Range(RANGE));
    peer.cgroup_ns();
    peer.ids(1000, 1000, &[]);
    let caller = world.calls(peer);
    assert_eq!(said(&caller), pair("user", 1000));
    caller.create("/a").unwrap();
    unchanged(&world.cgroups, || {
        refused(caller.chown("/a", 1001, 1001, &[]), ErrorName::Denied);
    });
    assert_eq!(world.cgroups.owner(first(), "box/a", "").0, RANGE + 1000);
}
