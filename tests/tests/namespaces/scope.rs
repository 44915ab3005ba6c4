//! What exists for a caller: its scope, in each hierarchy, and where its relative paths start.

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies::{self, Hierarchy};
use cgroupd_tests::need::skip;
use cgroupd_tests::peer::{ALICE, Map, OTHER_RANGE, Peer, RANGE};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Caller, World};

pub(crate) const TESTS: &[Test] = &tests![
    case_04_a_container_without_a_user_namespace,
    case_05a_a_cgroup_namespace_in_one_hierarchy_only,
    case_05a_a_process_moved_out_of_its_cgroup_namespace,
    case_05b_a_host_users_number_in_a_container,
    a_users_home_is_its_topmost_cgroup,
    homes_that_differ_make_relative_paths_ambiguous,
    without_a_cgroup_of_its_own,
];

pub(crate) const USER_NS_TESTS: &[Test] = &tests![needs UserNs:
    case_04_a_container_with_all_namespaces,
    case_05a_a_user_namespace_around_a_container,
    case_05a_a_user_namespace_around_a_user,
    case_05b_two_containers_with_the_same_ids,
    case_05b_two_containers_with_their_own_ids,
];

/// The labels of the hierarchies in which WhoAmI says that the caller has a scope.
fn scopes(caller: &Caller) -> Vec<String> {
    let said = caller.who_am_i().unwrap();
    let mut found: Vec<String> =
        said.keys().filter_map(|key| key.strip_prefix("scope.").map(str::to_owned)).collect();
    found.sort();
    found
}

fn implied() -> Vec<String> {
    let mut labels: Vec<String> = hierarchies::implied().map(|h| h.label.clone()).collect();
    labels.sort();
    labels
}

/// What is at `/` for the caller is `own`, and nothing of `others` exists for it.
fn sees_only(world: &World, caller: &Caller, own: &str, others: &[&str]) {
    assert_eq!(scopes(caller), implied());
    for path in ["mine/relative", "/mine/absolute"] {
        caller.create(path).unwrap();
        assert!(world.cgroups.is_everywhere(&format!("{own}/{path}")), "{path}");
    }
    assert_eq!(caller.list("/").unwrap(), ["/mine", "/mine/absolute", "/mine/relative"]);
    let rows = caller.cgroup_of(0, &["caller"]).unwrap();
    assert!(rows.len() == implied().len() && rows.values().all(|path| path == "/"), "{rows:?}");
    unchanged(&world.cgroups, || {
        let top = world.cgroups.path();
        let outside =
            others.iter().flat_map(|other| [format!("/{other}"), format!("{top}/{other}")]);
        for path in outside.chain([format!("/{own}"), top.clone()]) {
            refused(caller.list(&path), ErrorName::NotFound);
            refused(caller.files(&path), ErrorName::NotFound);
            refused(caller.processes(&path, &[]), ErrorName::NotFound);
            refused(caller.remove(&path, &["recursive"]), ErrorName::NotFound);
            refused(caller.attach(&path, &[], &["caller"]), ErrorName::NotFound);
        }
        refused(caller.remove("/", &["recursive"]), ErrorName::Denied);
    });
    caller.remove("/mine", &["recursive"]).unwrap();
}

fn case_04_a_container_without_a_user_namespace(world: &World) {
    world.cgroups.make("box");
    world.cgroups.make("other");
    let mut peer = world.peer_in("box");
    peer.cgroup_ns();
    peer.pid_ns();
    let caller = world.calls(peer);
    assert_eq!(caller.class(), "user", "uid 0 is not host root there");
    sees_only(world, &caller, "box", &["other"]);
}

fn case_04_a_container_with_all_namespaces(world: &World) {
    world.cgroups.make("other");
    let caller = world.container("box", RANGE);
    sees_only(world, &caller, "box", &["other"]);
}

fn case_05a_a_user_namespace_around_a_container(world: &World) {
    world.cgroups.make("box");
    world.cgroups.make("other");
    let mut peer = world.peer_in("box");
    peer.cgroup_ns();
    peer.pid_ns();
    peer.user_ns(Map::Own);
    let caller = world.calls(peer);
    assert_eq!(caller.class(), "namespace-root");
    sees_only(world, &caller, "box", &["other"]);
}

/// A user's second cgroup is not on its branch, and is lost once it is not the host's user.
fn case_05a_a_user_namespace_around_a_user(world: &World) {
    world.cgroups.make_for("home", ALICE);
    world.cgroups.make_for("other", ALICE);
    let outside = world.user_in(ALICE, "home");
    outside.create("/other/a").unwrap();
    outside.remove("/other/a", &[]).unwrap();
    let mut peer = world.peer_in("home");
    peer.ids(ALICE, ALICE, &[]);
    peer.user_ns(Map::Own);
    sees_only(world, &world.calls(peer), "home", &["other"]);
}

/// What `unshare -C` gives a process that is in the root of the other hierarchies.
fn case_05a_a_cgroup_namespace_in_one_hierarchy_only(world: &World) {
    let all: Vec<&Hierarchy> = hierarchies::implied().collect();
    let [one, .., other] = all[..] else {
        return skip("hierarchies", "there is one hierarchy only");
    };
    world.cgroups.make("box");
    let mut peer = Peer::start();
    world.cgroups.put_in(one, "box", peer.pid());
    peer.cgroup_ns();
    let caller = world.calls(peer);
    assert_eq!(scopes(&caller), std::slice::from_ref(&one.label));
    caller.create("/a").unwrap();
    assert_eq!(world.cgroups.places("box/a"), [one.label.as_str()]);
    let name = other.controllers.first().unwrap_or(&other.label).as_str();
    unchanged(&world.cgroups, || {
        refused(caller.create_with("/b", &[name], &[]), ErrorName::NotFound);
        refused(caller.create_with("/box/b", &[name], &[]), ErrorName::NotFound);
    });
    world.root.create_with("/b", &[name], &[]).unwrap();
}

/// The namespace's root stays what it was, wherever the process is.
fn case_05a_a_process_moved_out_of_its_cgroup_namespace(world: &World) {
    world.cgroups.make("box");
    world.cgroups.make("other");
    let mut peer = world.peer_in("box");
    peer.cgroup_ns();
    world.cgroups.put("other", peer.pid());
    let caller = world.calls(peer);
    caller.create("/a").unwrap();
    assert!(world.cgroups.is_everywhere("box/a"));
    unchanged(&world.cgroups, || {
        refused(caller.list("/other"), ErrorName::NotFound);
        let text = refused(caller.attach("/a", &[], &["caller"]), ErrorName::Denied);
        assert!(!text.contains("other"), "{text}");
        assert_eq!(caller.cgroup_of(0, &["caller"]).unwrap().len(), 0);
    });
    world.cgroups.put("box", caller.peer.pid());
    caller.attach("/a", &[], &["caller"]).unwrap();
}

/// The kernel's uid is that of a host user whose cgroups it must not reach.
fn case_05b_a_host_users_number_in_a_container(world: &World) {
    world.cgroups.make_for("home", ALICE);
    world.cgroups.make_for("box", ALICE);
    let host = world.user(ALICE);
    host.create("/home/a").unwrap();
    host.remove("/home/a", &[]).unwrap();
    let mut peer = world.peer_in("box");
    peer.pid_ns();
    peer.ids(ALICE, ALICE, &[]);
    sees_only(world, &world.calls(peer), "box", &["home"]);
}

/// Both share the host's cgroup namespace: only their place tells them apart.
fn case_05b_two_containers_with_the_same_ids(world: &World) {
    let boxes = ["one", "two"].map(|name| {
        world.cgroups.make_for(name, RANGE);
        let mut peer = world.peer_in(name);
        peer.user_ns(Map::Range(RANGE));
        world.calls(peer)
    });
    sees_only(world, &boxes[0], "one", &["two"]);
    sees_only(world, &boxes[1], "two", &["one"]);
}

fn case_05b_two_containers_with_their_own_ids(world: &World) {
    let one = world.container("one", RANGE);
    let two = world.container("two", OTHER_RANGE);
    sees_only(world, &one, "one", &["two"]);
    sees_only(world, &two, "two", &["one"]);
}

fn a_users_home_is_its_topmost_cgroup(world: &World) {
    world.cgroups.make("users");
    world.cgroups.make_for("users/alice", ALICE);
    world.cgroups.make_for("users/alice/session", ALICE);
    let alice = world.user_in(ALICE, "users/alice/session");
    assert_eq!(alice.create("a").unwrap().0, "/users/alice/a");
    assert!(world.cgroups.is_everywhere("users/alice/a"));
    let said = alice.who_am_i().unwrap();
    for label in implied() {
        assert_eq!(said[&format!("home.{label}")], "/users/alice");
    }
}

fn homes_that_differ_make_relative_paths_ambiguous(world: &World) {
    let all: Vec<&Hierarchy> = hierarchies::implied().collect();
    let [one, .., other] = all[..] else {
        return skip("hierarchies", "there is one hierarchy only");
    };
    world.cgroups.make_for("first", ALICE);
    world.cgroups.make_for("last", ALICE);
    let mut peer = Peer::start();
    world.cgroups.put("first", peer.pid());
    world.cgroups.put_in(other, "last", peer.pid());
    peer.ids(ALICE, ALICE, &[]);
    let alice = world.calls(peer);
    unchanged(&world.cgroups, || {
        let text = refused(alice.create("a"), ErrorName::InvalidPath);
        assert!(text.contains("/first") && text.contains("/last"), "{text}");
    });
    alice.create("/first/a").unwrap();
    let name = one.controllers.first().unwrap_or(&one.label).as_str();
    alice.create_with("b", &[name], &[]).unwrap();
    assert_eq!(world.cgroups.places("first/b"), [one.label.as_str()]);
}

/// Uid 0 in a user namespace, in the managed root of no hierarchy.
fn without_a_cgroup_of_its_own(world: &World) {
    let mut peer = Peer::start();
    peer.pid_ns();
    let caller = world.calls(peer);
    assert_eq!(scopes(&caller), [""; 0]);
    assert!(caller.who_am_i().unwrap().contains_key("refused-because"));
    unchanged(&world.cgroups, || {
        refused(caller.create("/a"), ErrorName::NotFound);
        refused(caller.list("/"), ErrorName::NotFound);
        assert_eq!(caller.cgroup_of(0, &["caller"]).unwrap().len(), 0);
    });
}
