//! Create: where it makes cgroups, whose they are, and what is left when it fails.

use std::os::fd::AsFd;

use cgroupd_proto::ErrorName;
use cgroupd_tests::cgroups::labels;
use cgroupd_tests::client::{fault, refused};
use cgroupd_tests::hierarchies::{self, Hierarchy, Version};
use cgroupd_tests::need::skip;
use cgroupd_tests::peer::ALICE;
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

pub(crate) const TESTS: &[Test] = &tests![
    makes_it_in_every_hierarchy,
    a_second_time_changes_nothing,
    makes_the_parents,
    completes_what_exists_in_part,
    completes_cpusets_that_were_left_empty,
    must_create_refuses_what_exists,
    only_the_named_controllers,
    a_named_hierarchy_only_by_its_name,
    case_17_unknown_controllers,
    case_17_duplicate_controllers_have_no_double_effect,
    case_17_ten_thousand_controllers,
    what_a_user_makes_is_the_users,
    a_user_makes_it_where_it_may,
    named_hierarchies_are_all_or_nothing,
    attaches_the_caller,
    attaches_by_pidfd,
    leaves_nothing_when_attaching_fails,
    leaves_nothing_when_a_later_hierarchy_fails,
    keeps_parents_that_were_there,
];

/// The controllers Create answers for some hierarchies.
fn answer(hierarchies: impl Iterator<Item = &'static Hierarchy>) -> Vec<String> {
    hierarchies
        .flat_map(|h| match h.version {
            Version::V1 => h.controllers.clone(),
            Version::V2 => vec![h.label.clone()],
        })
        .collect()
}

/// Two implied hierarchies, by a name that `controllers` takes.
fn two() -> Option<[(&'static Hierarchy, &'static str); 2]> {
    let name = |h: &'static Hierarchy| h.controllers.first().unwrap_or(&h.label).as_str();
    let mut implied = hierarchies::implied().map(|h| (h, name(h)));
    Some([implied.next()?, implied.last()?])
}

fn makes_it_in_every_hierarchy(world: &World) {
    assert!(world.cgroups.is_nowhere("a"));
    let (path, controllers, created) = world.root.create("a").unwrap();
    assert_eq!((path.as_str(), created), ("/a", true));
    assert_eq!(controllers, answer(hierarchies::implied()));
    assert!(world.cgroups.is_everywhere("a"));
}

fn a_second_time_changes_nothing(world: &World) {
    let first = world.root.create("a").unwrap();
    let second = unchanged(&world.cgroups, || world.root.create("a").unwrap());
    assert_eq!(second, (first.0, first.1, false));
}

fn makes_the_parents(world: &World) {
    assert_eq!(world.root.create("a/b/c").unwrap().0, "/a/b/c");
    for path in ["a", "a/b", "a/b/c"] {
        assert!(world.cgroups.is_everywhere(path), "{path}");
    }
}

fn completes_what_exists_in_part(world: &World) {
    let Some([(first, _), _]) = two() else {
        return skip("hierarchies", "there is one hierarchy only");
    };
    world.cgroups.make_in(first, "a");
    assert!(world.root.create("a").unwrap().2, "it is new somewhere");
    assert!(world.cgroups.is_everywhere("a"));
}

/// What is left when whoever made them was killed: nothing could enter, or inherit anything.
fn completes_cpusets_that_were_left_empty(world: &World) {
    let Some(cpuset) = hierarchies::v1_of("cpuset") else {
        return skip("v1-cpuset", "no v1 hierarchy has cpuset");
    };
    for path in ["a", "a/b"] {
        std::fs::create_dir(world.cgroups.dir(cpuset, path)).unwrap();
        assert_eq!(world.cgroups.read(cpuset, path, "cpuset.cpus"), "");
    }
    world.root.create("a/b/c").unwrap();
    for path in ["a", "a/b", "a/b/c"] {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let expected = world.cgroups.read(cpuset, "", file);
            assert_eq!(world.cgroups.read(cpuset, path, file), expected, "{path} {file}");
        }
    }
    let sleeper = Sleeper::start(ALICE);
    world.root.move_pid("a/b/c", sleeper.pid()).unwrap();
}

fn must_create_refuses_what_exists(world: &World) {
    assert!(world.root.create_with("a", &[], &["must-create"]).unwrap().2);
    unchanged(&world.cgroups, || {
        let again = world.root.create_with("a", &[], &["must-create"]);
        assert!(refused(again, ErrorName::Exists).contains("cannot create a"));
    });
    let Some([(first, _), _]) = two() else {
        return skip("hierarchies", "there is one hierarchy only");
    };
    world.cgroups.make_in(first, "b");
    unchanged(&world.cgroups, || {
        refused(world.root.create_with("b", &[], &["must-create"]), ErrorName::Exists)
    });
}

fn only_the_named_controllers(world: &World) {
    let Some([(first, one), (last, other)]) = two() else {
        return skip("hierarchies", "there is one hierarchy only");
    };
    assert_eq!(world.root.create_with("a", &[one], &[]).unwrap().1, answer([first].into_iter()));
    assert_eq!(world.cgroups.places("a"), [first.label.as_str()]);
    world.root.create_with("b", &[one, other], &[]).unwrap();
    assert_eq!(world.cgroups.places("b"), labels([first, last].into_iter()));
}

fn a_named_hierarchy_only_by_its_name(world: &World) {
    let Some(named) = hierarchies::all().iter().find(|h| !h.is_implied()) else {
        return skip("named", "no named hierarchy is mounted");
    };
    world.root.create("a").unwrap();
    assert!(!world.cgroups.places("a").contains(&named.label.as_str()));
    world.root.create_with("b", &[&named.label], &[]).unwrap();
    assert_eq!(world.cgroups.places("b"), [named.label.as_str()]);
}

fn case_17_unknown_controllers(world: &World) {
    let Some([(_, one), _]) = two() else {
        return skip("hierarchies", "there is one hierarchy only");
    };
    unchanged(&world.cgroups, || {
        for unknown in ["nonsense", "", "name=nonsense", "Memory", "cgroup"] {
            let result = world.root.create_with("a", &[one, unknown], &[]);
            assert!(refused(result, ErrorName::UnknownController).contains(unknown));
        }
    });
    world.root.create_with("a", &[one], &[]).unwrap();
}

fn case_17_duplicate_controllers_have_no_double_effect(world: &World) {
    let Some([(first, one), _]) = two() else {
        return skip("hierarchies", "there is one hierarchy only");
    };
    let (_, controllers, created) = world.root.create_with("a", &[one; 5], &[]).unwrap();
    assert_eq!((controllers, created), (answer([first].into_iter()), true));
    let comounted: Vec<&str> = first.controllers.iter().map(String::as_str).collect();
    if !comounted.is_empty() {
        world.root.create_with("b", &comounted, &["must-create"]).unwrap();
        assert_eq!(world.cgroups.places("b"), [first.label.as_str()]);
    }
}

fn case_17_ten_thousand_controllers(world: &World) {
    let Some([(_, one), _]) = two() else {
        return skip("hierarchies", "there is one hierarchy only");
    };
    unchanged(&world.cgroups, || {
        let result = world.root.create_with("a", &[one; 10_000], &[]);
        fault(result, "LimitsExceeded");
    });
    world.root.create_with("a", &[one; 1_000], &[]).unwrap();
}

fn what_a_user_makes_is_the_users(world: &World) {
    world.cgroups.make_for("home", ALICE);
    let alice = world.user(ALICE);
    alice.create("/home/a").unwrap();
    for hierarchy in hierarchies::implied() {
        let files = std::fs::read_dir(world.cgroups.dir(hierarchy, "home/a")).unwrap();
        let names = files.flatten().map(|file| file.file_name().to_string_lossy().into_owned());
        for name in names.chain([String::new()]) {
            let (uid, gid, _) = world.cgroups.owner(hierarchy, "home/a", &name);
            assert_eq!((uid, gid), (ALICE, ALICE), "{} {name:?}", hierarchy.label);
        }
    }
}

fn a_user_makes_it_where_it_may(world: &World) {
    let Some([(first, _), _]) = two() else {
        return skip("hierarchies", "there is one hierarchy only");
    };
    world.cgroups.make("home");
    let alice = world.user(ALICE);
    unchanged(&world.cgroups, || refused(alice.create("/home/a"), ErrorName::Denied));
    cgroupd_tests::cgroups::give(&world.cgroups.dir(first, "home"), ALICE, ALICE);
    assert_eq!(alice.create("/home/a").unwrap().1, answer([first].into_iter()));
    assert_eq!(world.cgroups.places("home/a"), [first.label.as_str()]);
}

fn named_hierarchies_are_all_or_nothing(world: &World) {
    let Some([(first, one), (last, other)]) = two() else {
        return skip("hierarchies", "there is one hierarchy only");
    };
    world.cgroups.make("home");
    cgroupd_tests::cgroups::give(&world.cgroups.dir(first, "home"), ALICE, ALICE);
    let alice = world.user(ALICE);
    unchanged(&world.cgroups, || {
        refused(alice.create_with("/home/a", &[one, other], &[]), ErrorName::Denied)
    });
    cgroupd_tests::cgroups::give(&world.cgroups.dir(last, "home"), ALICE, ALICE);
    alice.create_with("/home/a", &[one, other], &[]).unwrap();
    assert_eq!(world.cgroups.places("home/a"), labels([first, last].into_iter()));
}

fn attaches_the_caller(world: &World) {
    let caller = world.user(0);
    caller.create_with("a", &[], &["caller"]).unwrap();
    assert!(world.cgroups.all_hold("a", caller.peer.pid()));
}

fn attaches_by_pidfd(world: &World) {
    let sleeper = Sleeper::start(ALICE);
    world.root.create_and_attach("a/b", &[], &[sleeper.pidfd()], &[]).unwrap();
    assert!(world.cgroups.all_hold("a/b", sleeper.pid()));
    assert!(!world.cgroups.all_hold("a", sleeper.pid()));
}

fn leaves_nothing_when_attaching_fails(world: &World) {
    let mut sleeper = Sleeper::start(0);
    let null = std::fs::File::open("/dev/null").unwrap();
    sleeper.end();
    unchanged(&world.cgroups, || {
        for descriptor in [null.as_fd(), sleeper.pidfd()] {
            let result = world.root.create_and_attach("a/b", &[], &[descriptor], &[]);
            refused(result, ErrorName::InvalidArgument);
        }
    });
    let daemon = rustix::process::Pid::from_raw(world.daemon.pid()).unwrap();
    let daemon = rustix::process::pidfd_open(daemon, rustix::process::PidfdFlags::empty()).unwrap();
    unchanged(&world.cgroups, || {
        let result = world.root.create_and_attach("a/b", &[], &[daemon.as_fd()], &[]);
        refused(result, ErrorName::Denied);
    });
}

/// The last hierarchy refuses: cgroup2 takes no more descendants.
fn leaves_nothing_when_a_later_hierarchy_fails(world: &World) {
    let Some(v2) = hierarchies::v2() else { return skip("v2", "cgroup2 is not mounted") };
    world.cgroups.make("a");
    world.cgroups.write(v2, "a", "cgroup.max.descendants", "1");
    unchanged(&world.cgroups, || {
        refused(world.root.create("a/b/c"), ErrorName::QuotaExceeded);
    });
    world.cgroups.write(v2, "a", "cgroup.max.descendants", "2");
    world.root.create("a/b/c").unwrap();
    assert!(world.cgroups.is_everywhere("a/b/c"));
}

fn keeps_parents_that_were_there(world: &World) {
    world.root.create("a").unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    unchanged(&world.cgroups, || {
        let result = world.root.create_and_attach("a/b/c", &[], &[null.as_fd()], &[]);
        refused(result, ErrorName::InvalidArgument);
    });
    assert!(world.cgroups.is_everywhere("a"));
}
