//! Names and paths: what is refused, what is defined, and what is only taken when it exists.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies;
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;

pub(crate) const TESTS: &[Test] = &tests![
    case_10_parents_are_refused_in_every_verb,
    case_13_forms_that_mean_the_base,
    case_13_forms_that_mean_the_obvious,
    case_14_names_that_may_not_be_created,
    case_14_existing_cgroups_may_have_any_name,
    case_16_long_names,
    case_16_long_paths,
    case_16_deep_paths,
];

fn case_10_parents_are_refused_in_every_verb(world: &World) {
    world.root.create("a").unwrap();
    unchanged(&world.cgroups, || {
        for path in ["..", "/..", "a/..", "a/../b", "a/../../b", "../a"] {
            let root = &world.root;
            refused(root.create(path), ErrorName::InvalidPath);
            refused(root.remove(path, &[]), ErrorName::InvalidPath);
            refused(root.attach_pids(path, &[1], &[]), ErrorName::InvalidPath);
            refused(root.read(path, "cgroup.procs"), ErrorName::InvalidPath);
            refused(root.write(path, "memory.max", "1"), ErrorName::InvalidPath);
            refused(root.files(path), ErrorName::InvalidPath);
            refused(root.list(path), ErrorName::InvalidPath);
            refused(root.processes(path, &[]), ErrorName::InvalidPath);
            refused(root.chown(path, 1, 1, &[]), ErrorName::InvalidPath);
            refused(root.chmod(path, "", 0o700), ErrorName::InvalidPath);
            refused(root.wait(root.manager().list("", 0, path, 0, &[])), ErrorName::InvalidPath);
        }
    });
    world.root.create("a/..b").unwrap();
    assert!(world.cgroups.is_everywhere("a/..b"), "two dots in a name are a name");
}

fn case_13_forms_that_mean_the_base(world: &World) {
    world.root.create("a").unwrap();
    unchanged(&world.cgroups, || {
        for path in ["", ".", "/", "//", "/./", "./"] {
            let (shown, _, created) = world.root.create(path).unwrap();
            assert_eq!((shown.as_str(), created), ("/", false), "{path:?}");
            assert_eq!(world.root.list(path).unwrap(), ["/a"], "{path:?}");
            refused(world.root.remove(path, &[]), ErrorName::Denied);
            refused(world.root.remove(path, &["recursive"]), ErrorName::Denied);
        }
    });
}

fn case_13_forms_that_mean_the_obvious(world: &World) {
    world.root.create("a/b").unwrap();
    unchanged(&world.cgroups, || {
        for path in ["a//b", "a/./b", "a/b/", "/a/b", "//a//b//", "./a/b/."] {
            let (shown, _, created) = world.root.create(path).unwrap();
            assert_eq!((shown.as_str(), created), ("/a/b", false), "{path:?}");
        }
    });
    world.root.remove("a//b/", &[]).unwrap();
    assert!(world.cgroups.is_nowhere("a/b"));
}

fn case_14_names_that_may_not_be_created(world: &World) {
    unchanged(&world.cgroups, || {
        for name in [
            "a\nb",
            "\t",
            "a\u{1}",
            "a\u{7f}",
            "a\u{85}",
            "cgroup.procs",
            "cgroup.anything",
            "memory.max",
            "memory.limit_in_bytes",
            "hugetlb.2MB.max",
            "tasks",
            "notify_on_release",
            "release_agent",
            "a (deleted)",
        ] {
            refused(world.root.create(name), ErrorName::InvalidPath);
            refused(world.root.create(&format!("parent/{name}")), ErrorName::InvalidPath);
            refused(world.root.create(&format!("{name}/child")), ErrorName::InvalidPath);
        }
    });
    for name in ["a b", "ü", "memory", "a.slice", "@x", ".hidden", "(deleted)", "my.procs"] {
        world.root.create(name).unwrap();
        assert!(world.cgroups.is_everywhere(name), "{name:?}");
    }
}

fn case_14_existing_cgroups_may_have_any_name(world: &World) {
    let hierarchy = hierarchies::implied().next().unwrap();
    for (bytes, shown) in
        [(&b"x\x01y"[..], "/x\u{1}y"), (b"x\xffy", "/x\\xffy"), (b"z (deleted)", "/z (deleted)")]
    {
        let dir = world.cgroups.dir(hierarchy, "").join(OsStr::from_bytes(bytes));
        std::fs::create_dir(&dir).unwrap();
        assert_eq!(world.root.list("").unwrap(), [shown]);
        assert!(world.root.files(shown).unwrap().iter().any(|(name, _)| name == "cgroup.procs"));
        world.root.remove(shown, &[]).unwrap();
        assert!(!dir.exists());
    }
}

fn case_16_long_names(world: &World) {
    let long = "n".repeat(255);
    world.root.create(&long).unwrap();
    assert!(world.cgroups.is_everywhere(&long));
    unchanged(&world.cgroups, || {
        for bytes in [256, 3000, 4095] {
            refused(world.root.create(&"n".repeat(bytes)), ErrorName::InvalidPath);
        }
    });
}

fn case_16_long_paths(world: &World) {
    let path = |bytes: usize| format!("{}/", "n".repeat(250)).repeat(40)[..bytes].to_owned();
    // The kernel's own limit of 4,096 bytes counts from the hierarchy's root.
    world.root.create(&path(3900)).unwrap();
    unchanged(&world.cgroups, || {
        for bytes in [4001, 4094, 4095, 4096, 8000] {
            refused(world.root.create(&path(bytes)), ErrorName::InvalidPath);
            refused(world.root.remove(&path(bytes), &[]), ErrorName::InvalidPath);
        }
    });
    world.root.remove(&"n".repeat(250), &["recursive"]).unwrap();
    assert!(world.cgroups.is_nowhere(&"n".repeat(250)));
}

fn case_16_deep_paths(world: &World) {
    let path = |depth: usize| vec!["d"; depth].join("/");
    unchanged(&world.cgroups, || refused(world.root.create(&path(33)), ErrorName::InvalidPath));
    world.root.create(&path(32)).unwrap();
    assert!(world.cgroups.is_everywhere(&path(32)));
    unchanged(&world.cgroups, || refused(world.root.create(&path(1000)), ErrorName::InvalidPath));
}
