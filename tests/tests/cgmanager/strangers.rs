//! Callers of other namespaces: what works, and what needs a proxy.

use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

use crate::old::{PIDS, done, get, key, pids, refused, says};

pub(crate) const TESTS: &[Test] = &tests![an_ordinary_user_in_its_own_cgroup];
pub(crate) const USER_NS_TESTS: &[Test] = &tests![needs UserNs:
    a_container_manages_what_is_its_own,
    what_a_container_needs_a_proxy_for,
];

const BASE: u32 = 500_000;

fn an_ordinary_user_in_its_own_cgroup(world: &World) {
    world.cgroups.make_for("u", 1000);
    let user = world.user_in(1000, "u");
    assert_eq!(get::<i32>(&user, "Create", &("all", "a")), -1);
    let (uid, gid, _) = world.cgroups.owner(pids(), "u/a", key());
    assert_eq!((uid, gid), (1000, 1000), "what it makes is its own, limits included");
    done(&user, "SetValue", &(PIDS, "a", key(), "5"));
    refused(&user, "SetValue", &(PIDS, "", key(), "5"));
    assert_eq!(get::<i32>(&user, "Remove", &("all", "a", 0)), 1);
}

fn a_container_manages_what_is_its_own(world: &World) {
    let mut container = world.container("box", BASE);
    assert_eq!(get::<i32>(&container, "Create", &(PIDS, "a")), -1);
    let (uid, ..) = world.cgroups.owner(pids(), "box/a", key());
    assert_eq!(uid, BASE);
    done(&container, "SetValue", &(PIDS, "a", key(), "5"));
    let child = container.peer.sleeper(0);
    done(&container, "MovePid", &(PIDS, "a", child.inside.cast_signed()));
    assert!(world.cgroups.procs(pids(), "box/a").contains(&child.outside));
    assert_eq!(get::<Vec<i32>>(&container, "GetTasks", &(PIDS, "a")), [child.inside.cast_signed()]);
    let keys: Vec<(String, u32, u32, u32)> = get(&container, "ListKeys", &(PIDS, "a"));
    assert!(!keys.is_empty());
    assert!(keys.iter().all(|(_, uid, gid, _)| (*uid, *gid) == (0, 0)), "{keys:?}");
    refused(&container, "SetValue", &(PIDS, "", key(), "5"));
}

fn what_a_container_needs_a_proxy_for(world: &World) {
    let container = world.container("box", BASE);
    get::<i32>(&container, "Create", &(PIDS, "a"));
    let relative = "GetPidCgroup called from non-init namespace";
    says(&container, "GetPidCgroup", &(PIDS, 1), relative);
    let absolute = "GetPidCgroupAbs called from non-init namespace";
    says(&container, "GetPidCgroupAbs", &(PIDS, 1), absolute);
    let escape = "Escape request from different namespace requires a proxy";
    says(&container, "MovePidAbs", &(PIDS, "/", 1), escape);
    let chown = "chown called from different user namespace";
    says(&container, "Chown", &(PIDS, "a", 0, 0), chown);
    let sleeper = Sleeper::start(0);
    get::<i32>(&world.root, "Create", &(PIDS, "a"));
    done(&world.root, "MovePidAbs", &(PIDS, "a", sleeper.pid()));
    get::<String>(&world.root, "GetPidCgroup", &(PIDS, sleeper.pid()));
    done(&world.root, "Chown", &(PIDS, "a", 0, 0));
}
