//! Watch and Unwatch: events reach the client that asked, and nobody else.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::Duration;

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::events::{PATIENCE, next, watch};
use cgroupd_tests::hierarchies;
use cgroupd_tests::peer::ALICE;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};
use zbus::MessageStream;

pub(crate) const TESTS: &[Test] = &tests![
    what_happens_is_told,
    a_removed_cgroup_ends_its_watch,
    an_ended_watch_says_nothing,
    a_watch_is_its_clients_own,
    what_is_no_event_is_refused,
    there_is_a_most,
    who_loses_the_right_is_told_nothing,
];

/// As long as to be sure that nothing comes, on v1 too.
const SILENCE: Duration = Duration::from_millis(2500);

fn what_happens_is_told(world: &World) {
    world.root.create("/a").unwrap();
    let mut stream = MessageStream::from(world.root.connection());
    let id = watch(&world.root, "/a", &["populated", "empty"]).unwrap();
    let sleeper = Sleeper::start(0);
    world.root.move_pid("/a", sleeper.pid()).unwrap();
    let told = next(&world.root, &mut stream, PATIENCE);
    assert_eq!(told, Some((id, "/a".to_owned(), "populated".to_owned(), 0)));
    world.root.kill("/a", 9).unwrap();
    let told = next(&world.root, &mut stream, PATIENCE);
    assert_eq!(told, Some((id, "/a".to_owned(), "empty".to_owned(), 0)));
}

fn a_removed_cgroup_ends_its_watch(world: &World) {
    world.root.create("/a").unwrap();
    let mut stream = MessageStream::from(world.root.connection());
    let id = watch(&world.root, "/a", &["removed"]).unwrap();
    world.root.remove("/a", &[]).unwrap();
    let told = next(&world.root, &mut stream, PATIENCE);
    assert_eq!(told, Some((id, "/a".to_owned(), "removed".to_owned(), 0)));
    let ended = world.root.wait(world.root.manager().unwatch(id));
    refused(ended, ErrorName::NotFound);
}

fn an_ended_watch_says_nothing(world: &World) {
    world.root.create("/a").unwrap();
    let mut stream = MessageStream::from(world.root.connection());
    let id = watch(&world.root, "/a", &["removed"]).unwrap();
    world.root.wait(world.root.manager().unwatch(id)).unwrap();
    world.root.remove("/a", &[]).unwrap();
    assert_eq!(next(&world.root, &mut stream, SILENCE), None);
}

fn a_watch_is_its_clients_own(world: &World) {
    world.root.create("/a").unwrap();
    let id = watch(&world.root, "/a", &[]).unwrap();
    let other = world.user(ALICE);
    refused(other.wait(other.manager().unwatch(id)), ErrorName::NotFound);
    world.root.wait(world.root.manager().unwatch(id)).unwrap();
}

fn what_is_no_event_is_refused(world: &World) {
    world.root.create("/a").unwrap();
    refused(watch(&world.root, "/a", &["exploded"]), ErrorName::InvalidArgument);
    refused(watch(&world.root, "/nothing", &["empty"]), ErrorName::NotFound);
    watch(&world.root, "/a", &["empty"]).unwrap();
}

fn there_is_a_most(world: &World) {
    world.root.create("/a").unwrap();
    let mut ids = Vec::new();
    let full = loop {
        match watch(&world.root, "/a", &["empty"]) {
            Ok(id) if ids.len() < 1000 => ids.push(id),
            result => break result,
        }
    };
    refused(full, ErrorName::QuotaExceeded);
    world.root.wait(world.root.manager().unwatch(ids[0])).unwrap();
    watch(&world.root, "/a", &["empty"]).unwrap();
}

/// Case 50.
fn who_loses_the_right_is_told_nothing(world: &World) {
    world.root.create("/own").unwrap();
    world.root.chown("/own", ALICE, ALICE, &[]).unwrap();
    let user = world.user_in(ALICE, "/own");
    user.create("/own/a").unwrap();
    let mut stream = MessageStream::from(user.connection());
    let first = watch(&user, "/own/a", &["populated", "empty", "removed"]).unwrap();
    let sleeper = Sleeper::start(0);
    world.root.move_pid("/own/a", sleeper.pid()).unwrap();
    let told = next(&user, &mut stream, PATIENCE).expect("with the right it is told");
    assert_eq!((told.0, told.2.as_str()), (first, "populated"));
    // Whichever file tells here.
    world.root.chown("/own/a", 0, 0, &["recursive"]).unwrap();
    for hierarchy in hierarchies::implied() {
        for file in ["cgroup.events", "cgroup.procs"] {
            let file = world.cgroups.dir(hierarchy, "own/a").join(file);
            if file.is_file() {
                fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
                chown(&file, Some(0), Some(0)).unwrap();
            }
        }
    }
    world.root.kill("/own/a", 9).unwrap();
    assert_eq!(next(&user, &mut stream, SILENCE), None, "of its end as a cgroup in use");
    world.root.remove("/own/a", &[]).unwrap();
    assert_eq!(next(&user, &mut stream, SILENCE), None, "of its removal");
}
