//! Each event, really made to happen.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::events::{PATIENCE, Told, next, watch};
use cgroupd_tests::hierarchies::{self, Version};
use cgroupd_tests::need::skip;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;
use zbus::MessageStream;

pub(crate) const TESTS: &[Test] =
    &tests![who_is_frozen_and_thawed, too_many_processes, too_much_memory, what_v1_cannot_tell];

/// A shell in `/a` that has done what `script` says.
fn shell(world: &World, script: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("read -r go; {script}")]).stdin(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    world.cgroups.put("/a", child.id().cast_signed());
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    child
}

#[track_caller]
fn told(world: &World, stream: &mut MessageStream) -> Told {
    next(&world.root, stream, PATIENCE).expect("it is told")
}

fn who_is_frozen_and_thawed(world: &World) {
    world.root.create("/a").unwrap();
    let mut stream = MessageStream::from(world.root.connection());
    let id = watch(&world.root, "/a", &["frozen", "thawed"]).unwrap();
    for (act, event) in [
        (&(|| world.root.freeze("/a")) as &dyn Fn() -> _, "frozen"),
        (&|| world.root.thaw("/a"), "thawed"),
    ] {
        act().unwrap();
        let wanted = (id, "/a".to_owned(), event.to_owned(), 0);
        assert_eq!(told(world, &mut stream), wanted);
    }
}

/// The kernel counts what it refused to fork.
fn too_many_processes(world: &World) {
    let Some(pids) = hierarchies::of("pids") else {
        return skip("limits", "no hierarchy has pids");
    };
    world.root.create("/a").unwrap();
    world.root.set_limits("/a", &[("pids.max", "1")], &[]).unwrap();
    let mut stream = MessageStream::from(world.root.connection());
    let id = watch(&world.root, "/a", &["pids_max"]).unwrap();
    let mut child = shell(world, "/bin/true; exit 0");
    assert!(!child.wait().unwrap().success(), "it forks");
    let (its, path, event, count) = told(world, &mut stream);
    assert_eq!((its, path.as_str(), event.as_str()), (id, "/a", "pids_max"));
    assert_eq!(world.cgroups.read(pids, "/a", "pids.events"), format!("max {count}"));
}

/// A process that grows beyond the limit is killed; v2 tells of what came before, too.
fn too_much_memory(world: &World) {
    let Some(memory) = hierarchies::of("memory") else {
        return skip("limits", "no hierarchy has memory");
    };
    let (swap, file, events) = match memory.version {
        Version::V1 => ("memory.swappiness", "memory.oom_control", &["oom_kill"][..]),
        Version::V2 => ("memory.swap.max", "memory.events", &["max", "oom", "oom_kill"][..]),
    };
    world.root.create("/a").unwrap();
    world.root.set_limits("/a", &[("memory.max", "8M")], &[]).unwrap();
    if world.cgroups.dir(memory, "/a").join(swap).exists() {
        world.cgroups.write(memory, "/a", swap, "0");
    }
    let mut stream = MessageStream::from(world.root.connection());
    let id = watch(&world.root, "/a", events).unwrap();
    let mut child = shell(world, "head -c 64M /dev/zero | tail");
    assert!(!child.wait().unwrap().success(), "there is room for it");
    let mut open = events.to_vec();
    while !open.is_empty() {
        let (its, path, event, count) = told(world, &mut stream);
        assert_eq!((its, path.as_str()), (id, "/a"));
        assert!(count > 0 && events.contains(&event.as_str()), "{event} {count}");
        open.retain(|name| *name != event);
        if event == "oom_kill" {
            let text = world.cgroups.read(memory, "/a", file);
            assert!(text.lines().any(|line| line == format!("oom_kill {count}")), "{text}");
        }
    }
}

fn what_v1_cannot_tell(world: &World) {
    if hierarchies::v1_of("memory").is_none() {
        return skip("limits", "memory is not v1's");
    }
    world.root.create("/a").unwrap();
    for event in ["oom", "max", "high"] {
        refused(watch(&world.root, "/a", &[event]), ErrorName::NotSupported);
    }
    watch(&world.root, "/a", &["oom_kill"]).unwrap();
}
