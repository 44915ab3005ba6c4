//! What LXC with its cgmanager backend says for one container, from start to stop.

use cgroupd_proto::cgmanager::OBJECT_PATH;
use cgroupd_tests::hierarchies::{self, Version};
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};
use nix::sys::socket::SockType;
use zbus::Variant;

use crate::old::{PIDS, call, done, get, key, pids};
use crate::scm::Talk;

pub(crate) const TESTS: &[Test] = &tests![a_container_starts_and_stops];

fn a_container_starts_and_stops(world: &World) {
    let lxc = &world.root;
    let version = lxc
        .call_at(OBJECT_PATH, Some("org.freedesktop.DBus.Properties"), "Get", &("", "api_version"))
        .expect("it has a version");
    let body = version.body();
    let version: (Variant<'_>,) = body.deserialize().expect("a variant");
    assert_eq!(version.0, Variant::from(10i32));

    for controller in get::<Vec<String>>(lxc, "ListControllers", &()) {
        assert_eq!(get::<i32>(lxc, "Create", &(&controller, "probe")), -1, "{controller}");
        assert_eq!(get::<i32>(lxc, "Remove", &(&controller, "probe", 0)), 1, "{controller}");
    }
    let (monitor, init) = (Sleeper::start(0), Sleeper::start(0));
    // On v2 a root that has given controllers to its children takes no process, unless it is the
    // hierarchy's own, which the tests leave alone.
    if pids().version == Version::V1 {
        done(lxc, "MovePidAbs", &(PIDS, "/", monitor.pid()));
        assert!(world.cgroups.procs(pids(), "").contains(&monitor.pid()));
    }
    assert_eq!(get::<i32>(lxc, "Create", &("all", "lxc/web")), -1);
    done(lxc, "SetValue", &(PIDS, "lxc/web", key(), "30"));
    done(lxc, "MovePid", &("all", "lxc/web", init.pid()));
    for hierarchy in hierarchies::all() {
        assert_eq!(world.cgroups.procs(hierarchy, "lxc/web"), [init.pid()], "{}", hierarchy.label);
    }
    let place: String = get(lxc, "GetPidCgroupAbs", &(PIDS, init.pid()));
    assert_eq!(place, "/lxc/web");
    assert_eq!(get::<Vec<i32>>(lxc, "GetTasks", &(PIDS, &place)), [init.pid()]);
    assert_eq!(get::<String>(lxc, "GetValue", &(PIDS, &place, key())), "30");
    done(lxc, "Chmod", &("all", "lxc/web", "", 0o775));
    done(lxc, "Chmod", &(PIDS, "lxc/web", "cgroup.procs", 0o664));
    if pids().version == Version::V1 {
        done(lxc, "Chmod", &(PIDS, "lxc/web", "tasks", 0o664));
    }
    // With an id map it goes through a socket: who asks, and whose it shall be.
    let chown = Talk::begin(lxc, SockType::Datagram, "ChownScm", |fd| ("all", "lxc/web", fd));
    let own = std::process::id().cast_signed();
    assert_eq!(chown.own().pass(Some((own, 100_000, 100_000))).byte(), '1');
    assert_eq!(world.cgroups.owner(pids(), "lxc/web", ""), (100_000, 100_000, 0o775));
    call(lxc, "Remove", &("all", "lxc/web", 1)).expect_err("it still runs");
    drop(init);
    assert_eq!(get::<i32>(lxc, "Remove", &("all", "lxc/web", 1)), 1);
    assert!(world.cgroups.is_nowhere("lxc/web"));
}
