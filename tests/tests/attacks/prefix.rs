//! `/x2` begins with `/x`, and is another cgroup.

use cgroupd_proto::{ErrorName, METHODS};
use cgroupd_tests::client::refused;
use cgroupd_tests::peer::{ALICE, Map, RANGE};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;

use crate::settings::writable;
use crate::table::{About, call};

pub(crate) const TESTS: &[Test] = &tests![case_11_a_home_is_no_prefix];

pub(crate) const USER_NS_TESTS: &[Test] = &tests![needs UserNs:
    case_11_prefix_is_not_scope_in_every_method,
    case_11_a_victim_beside_the_scope,
];

/// Its own cgroup is `/x`; root reaches both, whatever the path is called.
fn case_11_prefix_is_not_scope_in_every_method(world: &World) {
    let caller = world.container("x", RANGE);
    world.cgroups.make_for("x2", RANGE);
    caller.create("/x2-inside").unwrap();
    let (_, file, value) = writable();
    let limit = ("pids.max", "77");
    let about = |path| About { path, pid: 1, setting: (file, value), limit };
    let methods = || METHODS.iter().filter(|method| method.input.first() == Some(&("path", "s")));
    let longer = format!("{}2", world.cgroups.path());
    for path in ["/x2", "/x", "x2", &longer] {
        unchanged(&world.cgroups, || {
            for method in
                methods().filter(|method| !["Create", "Delegate"].contains(&method.member))
            {
                let answer = call(&caller, method.member, &about(path));
                refused(answer.map(drop), ErrorName::NotFound);
            }
        });
        // What is missing is made: within the scope, as everything.
        caller.create(path).unwrap();
        let inside = format!("x/{path}");
        assert!(world.cgroups.is_everywhere(&inside), "{inside}");
        caller.remove(path, &["recursive"]).unwrap();
    }
    assert!(world.cgroups.is_everywhere("x2"));
    for method in methods().filter(|method| !method.changes) {
        call(&caller, method.member, &about("/x2-inside")).unwrap();
    }
}

/// The victim is of the same namespace and user, and lives next door.
fn case_11_a_victim_beside_the_scope(world: &World) {
    world.cgroups.make_for("x", RANGE);
    world.cgroups.make_for("x2", RANGE);
    let mut peer = world.peer_in("x");
    peer.user_ns(Map::Range(RANGE));
    let mut caller = world.calls(peer);
    caller.create("/a").unwrap();
    let pid = caller.peer.sleeper(500).outside;
    world.cgroups.put("x2", pid);
    unchanged(&world.cgroups, || {
        refused(caller.move_pid("/a", pid), ErrorName::Denied);
        refused(caller.cgroup_of(pid.cast_unsigned(), &[]), ErrorName::NoSuchProcess);
    });
    world.cgroups.put("x", pid);
    caller.cgroup_of(pid.cast_unsigned(), &[]).unwrap();
    caller.move_pid("/a", pid).unwrap();
    assert!(world.cgroups.all_hold("x/a", pid));
}

/// A host user's home is where it is, and not what begins like it.
fn case_11_a_home_is_no_prefix(world: &World) {
    world.cgroups.make_for("x", ALICE);
    world.cgroups.make("x2");
    let alice = world.user_in(ALICE, "x");
    unchanged(&world.cgroups, || refused(alice.create("/x2/a"), ErrorName::Denied));
    assert_eq!(alice.create("2").unwrap().0, "/x/2");
    assert!(world.cgroups.is_everywhere("x/2"));
}
