//! Files that nobody sets, and those that host root alone does.

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies::{self, Hierarchy};
use cgroupd_tests::need::skip;
use cgroupd_tests::peer::ALICE;
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;

pub(crate) const TESTS: &[Test] = &tests![
    case_26_files_that_nobody_sets,
    case_26_files_that_nobody_sets_in_the_managed_root,
    case_28_device_rules_of_a_user,
    case_29_files_of_host_root,
    a_child_in_the_place_of_a_limit_is_no_limit,
];

/// A cgroup that has the name of a file keeps the kernel from making it; it does not say `max`.
fn a_child_in_the_place_of_a_limit_is_no_limit(world: &World) {
    const LIMIT: &str = "hugetlb.2MB.max";
    let Some(v2) = hierarchies::v2() else {
        return skip("v2", "cgroup2 is not mounted");
    };
    let offered = world.cgroups.read(v2, "", "cgroup.controllers");
    let pages = std::path::Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB");
    if !offered.contains("hugetlb") || !pages.exists() {
        return skip("v2-hugetlb", "cgroup2 has no hugetlb, or there are no huge pages of 2 MiB");
    }
    let limit = |path: &str| world.root.wait(world.root.manager().get_limits(path, &[LIMIT]));
    for path in ["taken", "free"] {
        world.cgroups.make(path);
    }
    world.cgroups.make_in(v2, &format!("taken/{LIMIT}"));
    let text = refused(limit("/taken"), ErrorName::NotSupported);
    assert!(text.contains("in the file's place"), "{text}");
    assert_eq!(limit("/free").unwrap()[LIMIT], "max");
}

/// A file that every owner may set, where it is, and a value that no new cgroup has.
pub(crate) fn writable() -> (&'static Hierarchy, &'static str, &'static str) {
    let known = [("pids", "pids.max", "4321"), ("cpu", "cpu.shares", "512")];
    let v1 = known.into_iter().find_map(|(controller, file, value)| {
        hierarchies::v1_of(controller).map(|hierarchy| (hierarchy, file, value))
    });
    v1.unwrap_or_else(|| {
        (hierarchies::v2().expect("some hierarchy"), "cgroup.max.descendants", "4321")
    })
}

const NEVER: [(&str, &str); 13] = [
    ("tasks", "1"),
    ("cgroup.procs", "1"),
    ("cgroup.threads", "1"),
    ("release_agent", "/bin/true"),
    ("notify_on_release", "1"),
    ("cgroup.event_control", "1 2"),
    ("cgroup.clone_children", "1"),
    ("memory.use_hierarchy", "1"),
    ("memory.move_charge_at_immigrate", "1"),
    ("memory.force_empty", "0"),
    ("memory.pressure", "some 150000 1000000"),
    ("cpu.pressure", "some 150000 1000000"),
    ("io.pressure", "some 150000 1000000"),
];

/// Those that some hierarchy has in `path`.
fn present<'a>(world: &World, path: &str, files: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let there =
        |file: &str| hierarchies::implied().any(|h| world.cgroups.dir(h, path).join(file).exists());
    files.iter().copied().filter(|(file, _)| there(file)).collect()
}

/// By host root and by the owner of the very file.
fn case_26_files_that_nobody_sets(world: &World) {
    world.cgroups.make_for("home", ALICE);
    let alice = world.user(ALICE);
    alice.create("/home/a").unwrap();
    let files = present(world, "home/a", &NEVER);
    assert!(files.len() > 3, "{files:?}");
    unchanged(&world.cgroups, || {
        for (file, value) in &files {
            for client in [&world.root, &*alice] {
                let text = refused(client.write("/home/a", file, value), ErrorName::Denied);
                assert!(text.contains("never set"), "{file}: {text}");
            }
        }
    });
    let (_, file, value) = writable();
    alice.write("/home/a", file, value).unwrap();
}

/// A cgroup has no release_agent but the hierarchy's root; the managed root is mostly that.
fn case_26_files_that_nobody_sets_in_the_managed_root(world: &World) {
    let files = present(world, "", &NEVER);
    unchanged(&world.cgroups, || {
        for (file, value) in &files {
            refused(world.root.write("/", file, value), ErrorName::Denied);
        }
        // Refused by its name before anybody looks whether it is there.
        let result = world.root.write("/", "release_agent", "/bin/true");
        let name = result.unwrap_err().service();
        assert!(matches!(name, Some(ErrorName::Denied | ErrorName::UnknownFile)), "{name:?}");
    });
}

fn case_28_device_rules_of_a_user(world: &World) {
    let Some(devices) = hierarchies::v1_of("devices") else {
        return skip("v1-devices", "no v1 hierarchy has devices");
    };
    world.cgroups.make_for("home", ALICE);
    world.cgroups.make("other");
    let alice = world.user(ALICE);
    alice.create("/home/a").unwrap();
    unchanged(&world.cgroups, || {
        refused(alice.write("/other", "devices.deny", "a"), ErrorName::Denied);
    });
    alice.write("/home/a", "devices.deny", "a").unwrap();
    assert_eq!(world.cgroups.read(devices, "home/a", "devices.list"), "");
}

const HOST_ROOTS: [(&str, &str); 6] = [
    ("cpuset.cpu_exclusive", "1"),
    ("cpuset.mem_hardwall", "1"),
    ("cpuset.sched_load_balance", "0"),
    ("memory.oom_control", "1"),
    ("net_cls.classid", "1"),
    ("cpu.rt_runtime_us", "0"),
];

fn case_29_files_of_host_root(world: &World) {
    world.cgroups.make_for("home", ALICE);
    let alice = world.user(ALICE);
    alice.create("/home/a").unwrap();
    let files = present(world, "home/a", &HOST_ROOTS);
    unchanged(&world.cgroups, || {
        for (file, value) in &files {
            refused(alice.write("/home/a", file, value), ErrorName::Denied);
        }
    });
    if files.iter().any(|(file, _)| *file == "memory.oom_control") {
        world.root.write("/home/a", "memory.oom_control", "1").unwrap();
        world.root.write("/home/a", "memory.oom_control", "0").unwrap();
    }
}
