//! Chown and Chmod: the directory and what a delegatee owns; never limits.

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies::{self, Version};
use cgroupd_tests::peer::{ALICE, BOB};
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;

pub(crate) const TESTS: &[Test] = &tests![
    case_38_chown_gives_the_delegate_list_and_no_limits,
    chown_recursive,
    case_35_ids_that_nobody_has,
    case_37_the_top_and_plain_users,
    case_39_modes_that_are_refused,
    chmod_of_the_directory,
    chmod_of_a_file,
    chmod_is_the_owners,
];

fn is_delegated(version: Version, file: &str) -> bool {
    let list = std::fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap_or_default();
    match version {
        Version::V1 => ["cgroup.procs", "tasks"].contains(&file),
        Version::V2 => list.lines().any(|line| line == file),
    }
}

fn case_38_chown_gives_the_delegate_list_and_no_limits(world: &World) {
    world.root.create("a/b").unwrap();
    world.root.chown("a", ALICE, BOB, &[]).unwrap();
    for hierarchy in hierarchies::implied() {
        let dir = world.cgroups.dir(hierarchy, "a");
        for file in std::fs::read_dir(dir).unwrap().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            let (uid, gid, _) = world.cgroups.owner(hierarchy, "a", &name);
            let given = is_delegated(hierarchy.version, &name);
            let expected = if given { (ALICE, BOB) } else { (0, 0) };
            assert_eq!((uid, gid), expected, "{} {name}", hierarchy.label);
        }
        let (uid, gid, _) = world.cgroups.owner(hierarchy, "a", "");
        assert_eq!((uid, gid), (ALICE, BOB), "{}", hierarchy.label);
    }
}

fn chown_recursive(world: &World) {
    world.root.create("a/b/c").unwrap();
    world.root.chown("a", ALICE, ALICE, &["recursive"]).unwrap();
    for hierarchy in hierarchies::implied() {
        for path in ["a", "a/b", "a/b/c"] {
            assert_eq!(world.cgroups.owner(hierarchy, path, "").0, ALICE);
            assert_eq!(world.cgroups.owner(hierarchy, path, "cgroup.procs").0, ALICE);
        }
    }
}

fn case_35_ids_that_nobody_has(world: &World) {
    world.root.create("a").unwrap();
    unchanged(&world.cgroups, || {
        for id in [65_534, u32::MAX, u32::MAX - 1] {
            refused(world.root.chown("a", id, ALICE, &[]), ErrorName::Denied);
            refused(world.root.chown("a", ALICE, id, &[]), ErrorName::Denied);
        }
    });
    world.root.chown("a", 65_533, 65_535, &[]).unwrap();
}

fn case_37_the_top_and_plain_users(world: &World) {
    world.cgroups.make_for("home", ALICE);
    let alice = world.user(ALICE);
    alice.create("/home/a").unwrap();
    unchanged(&world.cgroups, || {
        refused(world.root.chown("/", ALICE, ALICE, &[]), ErrorName::Denied);
        refused(world.root.chown("", ALICE, ALICE, &["recursive"]), ErrorName::Denied);
        refused(alice.chown("/home/a", BOB, BOB, &[]), ErrorName::Denied);
        refused(alice.chown("/home/a", ALICE, ALICE, &[]), ErrorName::Denied);
    });
    world.root.chown("/home/a", BOB, BOB, &[]).unwrap();
}

/// A file that holds a limit in some hierarchy, and that one.
fn limit() -> (&'static hierarchies::Hierarchy, &'static str) {
    match hierarchies::v2() {
        Some(v2) => (v2, "cgroup.max.depth"),
        None => (hierarchies::implied().next().expect("some hierarchy"), "cgroup.clone_children"),
    }
}

fn case_39_modes_that_are_refused(world: &World) {
    world.root.create("a").unwrap();
    let (_, file) = limit();
    unchanged(&world.cgroups, || {
        for mode in [0o7777, 0o4755, 0o2755, 0o1777, 0o10755, u32::MAX] {
            refused(world.root.chmod("a", "", mode), ErrorName::Denied);
            refused(world.root.chmod("a", "cgroup.procs", mode), ErrorName::Denied);
        }
    });
    for mode in [0o666, 0o664, 0o646, 0o777] {
        unchanged(&world.cgroups, || refused(world.root.chmod("a", file, mode), ErrorName::Denied));
    }
    world.root.chmod("a", file, 0o600).unwrap();
    world.root.chmod("a", "cgroup.procs", 0o664).unwrap();
    unchanged(&world.cgroups, || refused(world.root.chmod("/", "", 0o700), ErrorName::Denied));
}

fn chmod_of_the_directory(world: &World) {
    world.root.create("a").unwrap();
    world.root.chmod("a", "", 0o710).unwrap();
    for hierarchy in hierarchies::implied() {
        assert_eq!(world.cgroups.owner(hierarchy, "a", "").2, 0o710, "{}", hierarchy.label);
    }
}

fn chmod_of_a_file(world: &World) {
    world.root.create("a").unwrap();
    let (hierarchy, file) = limit();
    world.root.chmod("a", file, 0o600).unwrap();
    assert_eq!(world.cgroups.owner(hierarchy, "a", file).2, 0o600);
    assert_eq!(world.cgroups.owner(hierarchy, "a", "cgroup.procs").2, 0o644);
}

fn chmod_is_the_owners(world: &World) {
    world.cgroups.make_for("home", ALICE);
    let (alice, bob) = (world.user(ALICE), world.user(BOB));
    alice.create("/home/a").unwrap();
    unchanged(&world.cgroups, || refused(bob.chmod("/home/a", "", 0o777), ErrorName::Denied));
    alice.chmod("/home/a", "", 0o700).unwrap();
    refused(bob.files("/home/a"), ErrorName::Denied);
    alice.files("/home/a").unwrap();
}
