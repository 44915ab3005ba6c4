//! ReadFile, WriteFile and ListFiles.

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::{CallError, refused};
use cgroupd_tests::hierarchies::{self, Hierarchy};
use cgroupd_tests::need::skip;
use cgroupd_tests::peer::ALICE;
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

pub(crate) const TESTS: &[Test] = &tests![
    reads_what_the_kernel_says,
    writes_what_the_kernel_then_says,
    a_value_the_kernel_refuses,
    case_12_names_that_are_paths,
    files_that_are_not_there,
    files_of_no_controller_here,
    case_30_values_that_are_no_line,
    case_30_values_at_the_edge,
    lists_every_file_with_its_owner,
    procs_are_the_callers_numbers,
    a_user_reads_what_the_mode_allows,
    a_user_writes_what_is_its_own,
];

/// A file that takes a number, and where it is: some limit of processes or of memory, or the
/// kernel's own limit of cgroup2.
fn limit() -> (&'static Hierarchy, &'static str) {
    let v1 = [("pids", "pids.max"), ("memory", "memory.limit_in_bytes"), ("cpu", "cpu.shares")];
    let v1 = v1.into_iter().find_map(|(name, file)| Some((hierarchies::v1_of(name)?, file)));
    let v2 = || (hierarchies::v2().expect("some hierarchy"), "cgroup.max.descendants");
    v1.unwrap_or_else(v2)
}

fn reads_what_the_kernel_says(world: &World) {
    world.root.create("a").unwrap();
    let (hierarchy, file) = limit();
    let text = world.root.read("a", file).unwrap();
    assert_eq!(text.trim(), world.cgroups.read(hierarchy, "a", file));
    if hierarchies::v2().is_some() {
        assert!(world.root.read("a", "cgroup.events").unwrap().contains("populated 0"));
        assert!(world.root.read("a", "cpu.pressure").unwrap_or_default().starts_with("some"));
    }
}

fn writes_what_the_kernel_then_says(world: &World) {
    world.root.create("a").unwrap();
    let (hierarchy, file) = limit();
    assert_ne!(world.cgroups.read(hierarchy, "a", file), "8192");
    world.root.write("a", file, "8192").unwrap();
    assert_eq!(world.cgroups.read(hierarchy, "a", file), "8192");
    world.root.write("a", file, "16384\n").unwrap();
    assert_eq!(world.root.read("a", file).unwrap(), "16384\n");
}

fn a_value_the_kernel_refuses(world: &World) {
    world.root.create("a").unwrap();
    let (_, file) = limit();
    unchanged(&world.cgroups, || {
        for value in ["x", "12 apples", "", "0x"] {
            let text = refused(world.root.write("a", file, value), ErrorName::InvalidLimit);
            assert!(text.contains(file) && text.contains(value), "{text}");
        }
    });
}

fn case_12_names_that_are_paths(world: &World) {
    world.root.create("a/b").unwrap();
    let names = ["", ".", "..", "../tasks", "b/cgroup.procs", "/tasks", "a/b", "x\ny"];
    unchanged(&world.cgroups, || {
        for name in names.into_iter().chain([&"n".repeat(256)[..]]) {
            refused(world.root.read("a", name), ErrorName::InvalidArgument);
            refused(world.root.write("a", name, "1"), ErrorName::InvalidArgument);
            if !name.is_empty() {
                refused(world.root.chmod("a", name, 0o600), ErrorName::InvalidArgument);
            }
        }
    });
    world.root.read("a", "cgroup.procs").unwrap();
}

fn files_that_are_not_there(world: &World) {
    world.root.create("a/b").unwrap();
    unchanged(&world.cgroups, || {
        for name in ["nonsense", "pids.nonsense", "cgroup.nonsense", "b"] {
            refused(world.root.read("a", name), ErrorName::UnknownFile);
            refused(world.root.write("a", name, "1"), ErrorName::UnknownFile);
            refused(world.root.chmod("a", name, 0o600), ErrorName::UnknownFile);
        }
    });
    refused(world.root.read("c", "cgroup.procs"), ErrorName::NotFound);
    refused(world.root.write("c", "pids.max", "1"), ErrorName::NotFound);
    refused(world.root.files("c"), ErrorName::NotFound);
}

/// A directory can have a file's name; a file can be the kernel's and still not be a setting.
fn files_of_no_controller_here(world: &World) {
    world.root.create("a").unwrap();
    let Some(v1) = hierarchies::all().iter().find(|h| !h.controllers.is_empty()) else {
        return skip("v1", "no v1 hierarchy is mounted");
    };
    assert!(world.cgroups.dir(v1, "a").join("cgroup.clone_children").exists());
    unchanged(&world.cgroups, || {
        refused(world.root.read("a", "cgroup.event_control"), ErrorName::UnknownFile)
    });
}

fn case_30_values_that_are_no_line(world: &World) {
    world.root.create("a").unwrap();
    let (_, file) = limit();
    let long = "1".repeat(4097);
    unchanged(&world.cgroups, || {
        for value in ["1\n2", "1\n\n", "\n\n", &long, &"1".repeat(64 << 10)] {
            refused(world.root.write("a", file, value), ErrorName::InvalidArgument);
        }
    });
    world.root.write("a", file, "8192\n").unwrap();
}

fn case_30_values_at_the_edge(world: &World) {
    world.root.create("a").unwrap();
    let (hierarchy, file) = limit();
    // As long as it may be: the kernel skips the blanks, or refuses them, but sees them all.
    let padded = format!("{}8192", " ".repeat(4092));
    let result = world.root.write("a", file, &padded);
    let kernel = result.as_ref().err().and_then(CallError::service);
    assert!(result.is_ok() || kernel == Some(ErrorName::InvalidLimit), "{result:?}");
    world.root.write("a", file, "8192  ").unwrap();
    assert_eq!(world.cgroups.read(hierarchy, "a", file), "8192");
}

fn lists_every_file_with_its_owner(world: &World) {
    world.cgroups.make_for("a", ALICE);
    let rows = world.root.files("a").unwrap();
    for hierarchy in hierarchies::implied() {
        for file in std::fs::read_dir(world.cgroups.dir(hierarchy, "a")).unwrap().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            let row = rows.iter().find(|(known, _)| *known == name);
            let (_, row) = row.unwrap_or_else(|| panic!("{name} is not listed"));
            assert!(row.contains_key("uid") && row.contains_key("gid") && row.contains_key("mode"));
        }
    }
    let procs = &rows.iter().find(|(name, _)| name == "cgroup.procs").unwrap().1;
    assert_eq!((procs["uid"].as_str(), procs["mode"].as_str()), ("64101", "0644"));
    let mut names: Vec<&String> = rows.iter().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), rows.len(), "each name once");
}

fn procs_are_the_callers_numbers(world: &World) {
    world.root.create("a").unwrap();
    let sleeper = Sleeper::start(ALICE);
    assert_eq!(world.root.read("a", "cgroup.procs").unwrap(), "");
    world.root.move_pid("a", sleeper.pid()).unwrap();
    let expected = format!("{}\n", sleeper.pid());
    assert_eq!(world.root.read("a", "cgroup.procs").unwrap(), expected);
}

fn a_user_reads_what_the_mode_allows(world: &World) {
    world.root.create("a").unwrap();
    let (_, file) = limit();
    let alice = world.user(ALICE);
    assert_eq!(alice.read("/a", file).unwrap(), world.root.read("a", file).unwrap());
    world.root.chmod("a", file, 0o600).unwrap();
    unchanged(&world.cgroups, || refused(alice.read("/a", file), ErrorName::Denied));
    world.root.read("a", file).unwrap();
}

fn a_user_writes_what_is_its_own(world: &World) {
    world.cgroups.make_for("home", ALICE);
    world.cgroups.make("other");
    let (hierarchy, file) = limit();
    let alice = world.user(ALICE);
    alice.create("/home/a").unwrap();
    unchanged(&world.cgroups, || {
        refused(alice.write("/other", file, "8192"), ErrorName::Denied);
        refused(alice.write("/home", file, "8192"), ErrorName::Denied);
    });
    alice.write("/home/a", file, "8192").unwrap();
    assert_eq!(world.cgroups.read(hierarchy, "home/a", file), "8192");
}
