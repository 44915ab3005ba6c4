//! Somebody without any right: every change is refused, and every read says what the kernel
//! would have said.

use cgroupd_proto::{INTERFACE, METHODS, OBJECT_PATH, PROPERTIES};
use cgroupd_tests::client::denied;
use cgroupd_tests::hierarchies;
use cgroupd_tests::snapshot::{Snapshot, unchanged};
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

use crate::settings::writable;
use crate::table::{About, call};

pub(crate) const TESTS: &[Test] = &tests![
    case_07_every_change_by_nobody,
    case_07_every_change_by_root,
    case_07_every_read_by_nobody,
    case_07_every_file_reads_as_the_kernel_says,
    case_07_every_property,
    case_07_a_tree_that_is_closed,
];

const NOBODY: u32 = 65_534;

/// Root's cgroup `/a` with a process in it, which `act` gets to know.
fn with_target(world: &World, act: impl FnOnce(&About<'_>)) {
    world.root.create("/a").unwrap();
    let sleeper = Sleeper::start(0);
    world.root.move_pid("/a", sleeper.pid()).unwrap();
    let (_, file, value) = writable();
    let limit = match hierarchies::v1_of("pids") {
        Some(_) => ("pids.max", "77"),
        None => ("cgroup.max.depth", "7"),
    };
    act(&About { path: "/a", pid: sleeper.pid(), setting: (file, value), limit });
    // On v1 who is frozen cannot die. It may be gone, or closed.
    let _ = world.root.thaw("/a");
}

fn case_07_every_change_by_nobody(world: &World) {
    with_target(world, |about| {
        let nobody = world.user_in(NOBODY, "/a");
        for method in METHODS.iter().filter(|method| method.changes) {
            unchanged(&world.cgroups, || denied(call(&nobody, method.member, about)));
        }
    });
}

/// The twin: the same calls have an effect when host root makes them, so each was refused for
/// who called and not for what it asked.
fn case_07_every_change_by_root(world: &World) {
    for method in METHODS.iter().filter(|method| method.changes) {
        with_target(world, |about| {
            // A process that is there already is moved nowhere, and one that is keeps it there.
            if ["AttachPids", "Remove", "Delegate", "Undelegate"].contains(&method.member) {
                world.root.create("/elsewhere").unwrap();
                world.root.move_pid("/elsewhere", about.pid).unwrap();
            }
            // What runs cannot be thawed.
            if method.member == "Thaw" {
                world.root.freeze("/a").unwrap();
            }
            let caller = world.user(0);
            let before = Snapshot::of(&world.cgroups);
            call(&caller, method.member, about).unwrap();
            let changes = before.changes(&Snapshot::of(&world.cgroups));
            assert!(!changes.is_empty(), "{} does nothing", method.member);
        });
        for path in ["/a", "/elsewhere"] {
            // Remove has taken one of them, and most methods need no second.
            let _ = world.root.remove(path, &["recursive", "kill"]);
        }
    }
}

fn case_07_every_read_by_nobody(world: &World) {
    with_target(world, |about| {
        let nobody = world.user(NOBODY);
        for method in METHODS.iter().filter(|method| !method.changes) {
            // Root's cgroups are mode 0755 and its files 0644: the kernel lets everybody look.
            // What others hold is told to host root alone.
            let is_open = method.member != "Accounts";
            unchanged(&world.cgroups, || {
                let answer = call(&nobody, method.member, about);
                assert_eq!(answer.is_ok(), is_open, "{}: {answer:?}", method.member);
            });
        }
    });
}

/// The oracle is a process of that user that opens the same file.
fn case_07_every_file_reads_as_the_kernel_says(world: &World) {
    with_target(world, |about| {
        let mut nobody = world.user(NOBODY);
        let (mut readable, mut unreadable) = (0, 0);
        for hierarchy in hierarchies::implied() {
            let dir = world.cgroups.dir(hierarchy, about.path);
            let first = format!("cd {} && for f in *; do [ -f $f ] && ", dir.display());
            let script = format!(
                "{first} if cat $f >/dev/null 2>&1; then echo $f 1; else echo $f 0; fi; done"
            );
            let kernel = nobody.peer.run(&["sh", "-c", &script]).text;
            for (file, can) in kernel.lines().filter_map(|line| line.split_once(' ')) {
                let allowed = nobody.read(about.path, file).is_ok();
                // What the daemon keeps to itself is not laxer than the kernel.
                assert!(can == "1" || !allowed, "{file} is closed to that user");
                let kept = matches!(file, "cgroup.event_control") || !is_here(hierarchy, file);
                assert!(allowed || can == "0" || kept, "{file} is open to that user");
                *(if allowed { &mut readable } else { &mut unreadable }) += 1;
            }
        }
        assert!(readable > 5 && unreadable > 0, "{readable} and {unreadable}: nothing was tried");
    });
}

/// Whether a plain name means this hierarchy's file: `cgroup.procs` is in all of them.
fn is_here(hierarchy: &hierarchies::Hierarchy, file: &str) -> bool {
    let prefix = file.split('.').next().unwrap_or(file);
    prefix == "cgroup" || hierarchy.controllers.iter().any(|controller| controller == prefix)
}

fn case_07_every_property(world: &World) {
    let nobody = world.user(NOBODY);
    let interface = Some("org.freedesktop.DBus.Properties");
    for property in PROPERTIES {
        let get = (INTERFACE, property.name);
        nobody.call_at(OBJECT_PATH, interface, "Get", &get).unwrap();
        let set = (INTERFACE, property.name, zbus::Variant::from("x"));
        unchanged(&world.cgroups, || {
            nobody.call_at(OBJECT_PATH, interface, "Set", &set).unwrap_err();
        });
    }
}

/// Search permission on the way is the caller's own.
fn case_07_a_tree_that_is_closed(world: &World) {
    with_target(world, |about| {
        world.root.create("/a/b").unwrap();
        let nobody = world.user(NOBODY);
        let below = About { path: "/a/b", ..*about };
        call(&nobody, "ListFiles", &below).unwrap();
        world.cgroups.chmod("/a", 0o700);
        for method in METHODS.iter().filter(|method| method.input.first() == Some(&("path", "s"))) {
            unchanged(&world.cgroups, || denied(call(&nobody, method.member, &below)));
        }
        world.cgroups.chmod("/a", 0o711);
        call(&nobody, "ListFiles", &below).unwrap();
    });
}
