//! Settings from within containers: never the limits put on oneself, always those below.

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies::{self, Version};
use cgroupd_tests::need::skip;
use cgroupd_tests::peer::RANGE;
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;

pub(crate) const TESTS: &[Test] = &tests![needs UserNs:
    case_27_limits_of_the_scopes_top,
    case_27_limits_that_were_given_to_the_container,
    case_28_device_rules,
    case_29_files_that_are_host_roots,
    case_31_controllers_outside_the_scope,
];

/// Files with a value each that a container may set below its top, where they are.
fn settings(world: &World) -> Vec<(&'static str, &'static str)> {
    let known = [
        ("pids", "pids.max", "100"),
        ("memory", "memory.limit_in_bytes", "1073741824"),
        ("cpu", "cpu.shares", "512"),
    ];
    let v1 = known.iter().filter(|(controller, ..)| hierarchies::v1_of(controller).is_some());
    let mut found: Vec<_> = v1.map(|(_, file, value)| (*file, *value)).collect();
    if let Some(v2) = hierarchies::v2() {
        found.push(("cgroup.max.descendants", "100"));
        // Not those of the test's own cgroup: in a split layout the container is given none.
        let dir = world.cgroups.dir(v2, "box");
        for file in ["pids.max", "memory.max"].into_iter().filter(|file| dir.join(file).exists()) {
            found.push((file, "1048576"));
        }
    }
    found
}

/// On a pure v2 host a container has the controllers it is given, and gives them on.
fn give_controllers(world: &World) -> &'static [&'static str] {
    if hierarchies::all().iter().any(|hierarchy| hierarchy.version == Version::V1) {
        return &[];
    }
    let v2 = hierarchies::v2().expect("some hierarchy");
    world.cgroups.write(v2, "", "cgroup.subtree_control", "+memory +pids");
    &["memory", "pids"]
}

fn case_27_limits_of_the_scopes_top(world: &World) {
    let controllers = give_controllers(world);
    let caller = world.container("box", RANGE);
    caller.create_with("/a", controllers, &[]).unwrap();
    for (file, value) in settings(world) {
        unchanged(&world.cgroups, || {
            refused(caller.write("/", file, value), ErrorName::Denied);
            refused(caller.write("", file, value), ErrorName::Denied);
        });
        caller.write("/a", file, value).unwrap();
        assert_eq!(caller.read("/a", file).unwrap().trim(), value, "{file}");
    }
}

/// Even when the administrator has handed the limit files over by mistake.
fn case_27_limits_that_were_given_to_the_container(world: &World) {
    let controllers = give_controllers(world);
    let caller = world.container("box", RANGE);
    for hierarchy in hierarchies::implied() {
        let files = std::fs::read_dir(world.cgroups.dir(hierarchy, "box")).unwrap().flatten();
        for file in files {
            std::os::unix::fs::chown(file.path(), Some(RANGE), Some(RANGE)).unwrap();
        }
    }
    unchanged(&world.cgroups, || {
        for (file, value) in settings(world) {
            refused(caller.write("/", file, value), ErrorName::Denied);
        }
    });
    caller.create_with("/a", controllers, &[]).unwrap();
    let (file, value) = settings(world)[0];
    caller.write("/a", file, value).unwrap();
}

fn case_28_device_rules(world: &World) {
    let Some(devices) = hierarchies::v1_of("devices") else {
        return skip("v1-devices", "no v1 hierarchy has devices");
    };
    let caller = world.container("box", RANGE);
    caller.create("/a").unwrap();
    let list = |path: &str| world.cgroups.read(devices, path, "devices.list");
    unchanged(&world.cgroups, || {
        refused(caller.write("/", "devices.deny", "a"), ErrorName::Denied);
        refused(caller.write("/", "devices.allow", "c 1:3 r"), ErrorName::Denied);
    });
    assert_eq!(list("box/a"), "a *:* rwm");
    caller.write("/a", "devices.deny", "a").unwrap();
    assert_eq!(list("box/a"), "");
    caller.write("/a", "devices.allow", "c 1:3 r").unwrap();
    assert_eq!(list("box/a"), "c 1:3 r");
    assert_eq!(list("box"), "a *:* rwm", "the parent keeps what it had");
    world.cgroups.write(devices, "box", "devices.deny", "c 1:5 rwm");
    // More than its parent has: the kernel's own refusal.
    refused(caller.write("/a", "devices.allow", "c 1:5 r"), ErrorName::Denied);
    assert_eq!(list("box/a"), "c 1:3 r");
}

fn case_29_files_that_are_host_roots(world: &World) {
    let caller = world.container("box", RANGE);
    caller.create("/a").unwrap();
    let files = [
        ("cpuset.cpu_exclusive", "1"),
        ("cpuset.mem_exclusive", "1"),
        ("cpuset.mem_hardwall", "1"),
        ("cpuset.sched_load_balance", "0"),
        ("cpu.rt_runtime_us", "0"),
        ("memory.oom_control", "1"),
        ("net_cls.classid", "1"),
        ("net_prio.ifpriomap", "lo 1"),
        ("io.cost.qos", "x"),
    ];
    let there = |file: &str| {
        hierarchies::implied().any(|h| world.cgroups.dir(h, "box/a").join(file).exists())
    };
    let present: Vec<_> = files.into_iter().filter(|(file, _)| there(file)).collect();
    unchanged(&world.cgroups, || {
        for (file, value) in &present {
            let text = refused(caller.write("/a", file, value), ErrorName::Denied);
            assert!(text.contains("host root's"), "{file}: {text}");
        }
    });
    for (file, value) in present {
        let result = world.root.write("/box/a", file, value);
        let policy = result.as_ref().err().is_some_and(|error| error.text.contains("host root"));
        assert!(!policy, "{file} is host root's to try: {result:?}");
    }
}

fn case_31_controllers_outside_the_scope(world: &World) {
    let Some(v2) = hierarchies::v2() else { return skip("v2", "cgroup2 is not mounted") };
    let caller = world.container("box", RANGE);
    let control = |path| world.cgroups.read(v2, path, "cgroup.subtree_control");
    let top = || std::fs::read_to_string(v2.mount.join("cgroup.subtree_control")).unwrap();
    let before = (top(), control(""));
    let all = std::fs::read_to_string(v2.mount.join("cgroup.controllers")).unwrap();
    let mine = world.cgroups.read(v2, "box", "cgroup.controllers");
    for controller in all.split_ascii_whitespace() {
        let enable = format!("+{controller}");
        let result = caller.write("/", "cgroup.subtree_control", &enable);
        // Processes in the cgroup stand in the way of controllers that it has.
        assert!(result.is_err(), "{controller}: {mine}");
        let _: Result<_, _> = caller.create_with("/a", &[controller], &[]);
        assert_eq!((top(), control("")), before, "{controller}");
    }
}
