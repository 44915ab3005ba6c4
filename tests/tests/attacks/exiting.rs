//! A caller that is exiting (case 70a). The kernel shows `/` for it in every v1 hierarchy, for as long
//! as it takes to free its memory; its connection lives on, in whoever else has it.

use std::time::{Duration, Instant};

use cgroupd_tests::hierarchies::{self, Version};
use cgroupd_tests::need::{is_translated, patience, skip};
use cgroupd_tests::peer::ALICE;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::World;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) const TESTS: &[Test] = &tests![case_70a_a_caller_that_is_exiting];

/// What it has, in MiB: freeing as much takes a tenth of a second.
fn memory() -> u32 {
    if is_translated() { 256 } else { 2048 }
}

/// Whether `/proc` shows the process at the root of a v1 hierarchy.
fn is_shown_at_the_root(pid: i32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.lines().any(|line| line.ends_with(":/") && line.contains(":pids:"))
}

fn case_70a_a_caller_that_is_exiting(world: &World) {
    let Some(pids) = hierarchies::v1_of("pids").filter(|pids| pids.label == "pids") else {
        return skip("v1-pids", "no v1 hierarchy is that of pids alone");
    };
    assert_eq!(pids.version, Version::V1);
    world.cgroups.make_for("home", ALICE);
    let mut alice = world.user_in(ALICE, "home");
    alice.peer.grow(memory());
    let place = |caller: &cgroupd_tests::world::Caller| caller.cgroup_of(0, &["caller"]);
    assert_eq!(place(&alice).unwrap()["pids"], "/home");
    let pid = alice.peer.pid();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let (mut caught, mut refused) = (0, 0);
    let end = Instant::now() + patience(Duration::from_secs(10));
    // Until it is a zombie, which the daemon has always told from the living.
    while Instant::now() < end && refused < 20 {
        let was_caught = is_shown_at_the_root(pid);
        match place(&alice) {
            Ok(rows) => assert_eq!(rows["pids"], "/home", "it never was anywhere else"),
            Err(_) if was_caught => caught += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(caught > 0, "it ended too fast to be seen");
    assert_eq!(place(&world.user_in(ALICE, "home")).unwrap()["pids"], "/home");
}
