//! Owners and modes from within containers.

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies;
use cgroupd_tests::need::skip;
use cgroupd_tests::peer::{ALICE, OTHER_RANGE, RANGE};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;

pub(crate) const TESTS: &[Test] = &tests![needs UserNs:
    case_34_owner_and_group_must_both_be_mapped,
    case_34_the_kernels_root_is_not_the_containers,
    case_35_new_owners_that_are_not_mapped,
    case_35_old_owners_that_are_not_mapped,
    case_35_files_of_another_owner,
    case_37_the_scopes_top,
    case_38_limits_stay_where_they_were,
    case_39_modes_within_a_container,
];

fn first() -> &'static hierarchies::Hierarchy {
    hierarchies::implied().next().expect("some hierarchy")
}

fn case_34_owner_and_group_must_both_be_mapped(world: &World) {
    let caller = world.container("box", RANGE);
    world.cgroups.make("box/a");
    for (uid, gid) in
        [(RANGE + 500, 0), (0, RANGE + 500), (OTHER_RANGE, OTHER_RANGE), (ALICE, RANGE)]
    {
        world.cgroups.give("box/a", uid, gid);
        unchanged(&world.cgroups, || {
            refused(caller.create("/a/b"), ErrorName::Denied);
            refused(caller.chown("/a", 0, 0, &[]), ErrorName::Denied);
        });
    }
    world.cgroups.give("box/a", RANGE + 500, RANGE + 500);
    caller.create("/a/b").unwrap();
    assert_eq!(world.cgroups.owner(first(), "box/a/b", "").0, RANGE);
}

fn case_34_the_kernels_root_is_not_the_containers(world: &World) {
    let caller = world.container("box", RANGE);
    world.cgroups.make("box/a");
    world.cgroups.chmod("box/a", 0o700);
    unchanged(&world.cgroups, || {
        refused(caller.create("/a/b"), ErrorName::Denied);
        refused(caller.files("/a"), ErrorName::Denied);
        refused(caller.chmod("/a", "", 0o755), ErrorName::Denied);
    });
    world.cgroups.give("box/a", RANGE + 1, RANGE + 1);
    caller.files("/a").unwrap();
    caller.create("/a/b").unwrap();
}

fn case_35_new_owners_that_are_not_mapped(world: &World) {
    let caller = world.container("box", RANGE);
    caller.create("/a").unwrap();
    unchanged(&world.cgroups, || {
        for id in [65_534, 65_536, ALICE + 65_536, RANGE, u32::MAX - 1, u32::MAX] {
            refused(caller.chown("/a", id, 0, &[]), ErrorName::Denied);
            refused(caller.chown("/a", 0, id, &[]), ErrorName::Denied);
        }
    });
    caller.chown("/a", 1000, 1001, &[]).unwrap();
    for hierarchy in hierarchies::implied() {
        let (uid, gid, _) = world.cgroups.owner(hierarchy, "box/a", "");
        assert_eq!((uid, gid), (RANGE + 1000, RANGE + 1001));
    }
}

fn case_35_old_owners_that_are_not_mapped(world: &World) {
    let caller = world.container("box", RANGE);
    caller.create("/a/b").unwrap();
    world.cgroups.give("box/a/b", ALICE, ALICE);
    unchanged(&world.cgroups, || {
        refused(caller.chown("/a/b", 1, 1, &[]), ErrorName::Denied);
        refused(caller.chown("/a", 1, 1, &["recursive"]), ErrorName::Denied);
    });
    world.cgroups.give("box/a/b", RANGE + 7, RANGE + 7);
    caller.chown("/a", 1, 1, &["recursive"]).unwrap();
    assert_eq!(world.cgroups.owner(first(), "box/a/b", "").0, RANGE + 1);
}

/// A directory that was handed over, and a file in it that was not.
fn case_35_files_of_another_owner(world: &World) {
    let caller = world.container("box", RANGE);
    world.cgroups.make("box/a");
    world.cgroups.give("box/a", RANGE + 7, RANGE + 7);
    let file = world.cgroups.dir(first(), "box/a").join("cgroup.procs");
    std::os::unix::fs::chown(&file, Some(0), Some(0)).unwrap();
    unchanged(&world.cgroups, || {
        refused(caller.chown("/a", 1, 1, &[]), ErrorName::Denied);
        refused(caller.chown("/a", 1, 1, &["recursive"]), ErrorName::Denied);
    });
    std::os::unix::fs::chown(&file, Some(RANGE + 7), Some(RANGE + 7)).unwrap();
    caller.chown("/a", 1, 1, &[]).unwrap();
    assert_eq!(world.cgroups.owner(first(), "box/a", "cgroup.procs").0, RANGE + 1);
}

fn case_37_the_scopes_top(world: &World) {
    let caller = world.container("box", RANGE);
    caller.create("/a").unwrap();
    unchanged(&world.cgroups, || {
        refused(caller.chown("/", 1, 1, &[]), ErrorName::Denied);
        refused(caller.chown("/", 1, 1, &["recursive"]), ErrorName::Denied);
        refused(caller.chmod("/", "", 0o777), ErrorName::Denied);
        refused(caller.chmod("/", "cgroup.procs", 0o666), ErrorName::Denied);
    });
    caller.chown("/a", 1, 1, &[]).unwrap();
    caller.chmod("/a", "", 0o700).unwrap();
}

fn case_38_limits_stay_where_they_were(world: &World) {
    let caller = world.container("box", RANGE);
    caller.create("/a").unwrap();
    let Some(v2) = hierarchies::v2() else { return skip("v2", "cgroup2 is not mounted") };
    caller.chown("/a", 1, 1, &[]).unwrap();
    let owner = |file| world.cgroups.owner(v2, "box/a", file).0;
    assert_eq!((owner("cgroup.procs"), owner("cgroup.subtree_control")), (RANGE + 1, RANGE + 1));
    assert_eq!((owner("cgroup.max.depth"), owner("cgroup.max.descendants")), (RANGE, RANGE));
}

fn case_39_modes_within_a_container(world: &World) {
    let caller = world.container("box", RANGE);
    caller.create("/a").unwrap();
    unchanged(&world.cgroups, || {
        for mode in [0o7777, 0o4755, 0o1755] {
            refused(caller.chmod("/a", "", mode), ErrorName::Denied);
        }
        if hierarchies::v2().is_some() {
            refused(caller.chmod("/a", "cgroup.max.depth", 0o666), ErrorName::Denied);
        }
    });
    caller.chmod("/a", "", 0o777).unwrap();
    caller.chmod("/a", "cgroup.procs", 0o666).unwrap();
    assert_eq!(world.cgroups.owner(first(), "box/a", "cgroup.procs").2, 0o666);
}
