//! Numbers on the command line are exact decimals, or refused.

use cgroupd_tests::hierarchies;
use cgroupd_tests::snapshot::unchanged;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

use crate::cgctl::{badly, well};

pub(crate) const TESTS: &[Test] = &tests![case_36_ids_of_users, case_36_process_numbers];

const NOT_EXACT: [&str; 9] =
    ["01", "0x1", "4294967296", "4294967297", "18446744073709551617", "-1", "+1", "1 ", "1e3"];

fn case_36_ids_of_users(world: &World) {
    well(world, &["create", "a"]);
    unchanged(&world.cgroups, || {
        for id in NOT_EXACT {
            badly(world, 8, &["chown", "--", id, "a"]);
            badly(world, 8, &["chown", "--", &format!("1:{id}"), "a"]);
        }
        // Exact, and nobody: the daemon's answer.
        for id in ["4294967294", "65534"] {
            badly(world, 4, &["chown", &format!("{id}:1"), "a"]);
        }
        badly(world, 8, &["chown", "4294967295:1", "a"]);
    });
    well(world, &["chown", "1:4294967293", "a"]);
    let first = hierarchies::implied().next().unwrap();
    assert_eq!(world.cgroups.owner(first, "a", ""), (1, 4_294_967_293, 0o755));
}

fn case_36_process_numbers(world: &World) {
    well(world, &["create", "a"]);
    let sleeper = Sleeper::start(0);
    let pid = sleeper.pid();
    let wrapped = (u64::from(pid.cast_unsigned()) + (1 << 32)).to_string();
    let padded = [format!("0{pid}"), format!("0x{pid:x}"), format!("+{pid}"), wrapped];
    unchanged(&world.cgroups, || {
        for number in NOT_EXACT.iter().copied().chain(padded.iter().map(String::as_str)) {
            badly(world, 8, &["move", "a", "--", number]);
        }
        badly(world, 8, &["move", "a", "0"]);
    });
    well(world, &["move", "a", &pid.to_string()]);
    assert!(world.cgroups.all_hold("a", pid));
}
