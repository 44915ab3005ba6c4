//! Users of the host's user database: those who appear while the daemon runs, some with hostile names,
//! and one for whom two rules fit.

use std::fs;

use crate::machine::{Machine, children, read};

const RULE: &str = "[[delegate]]\nusers = [\"2002-2009\", \"dave\"]\npath = \"/people/{user}\"\n";

pub(crate) fn who_appear_later(machine: &Machine) {
    fs::create_dir_all("/etc/cgroupd").unwrap();
    fs::write("/etc/cgroupd/cgroupd.toml", RULE).unwrap();
    machine.reload();
    machine.ok("printf '%s\\n' ..:x:2002:2002::/:/bin/sh a/b:x:2003:2003::/:/bin/sh \
                carol:x:2004:2004::/:/bin/sh dave:x:2100:2100::/:/bin/sh >>/etc/passwd");
    let who = |uid: u32| machine.ok(&format!("setpriv --reuid {uid} --clear-groups cgctl whoami"));
    for uid in [2002, 2003, 2005] {
        assert!(!who(uid).contains("/people"), "{uid}");
    }
    assert_eq!(children("/people"), [""; 0]);
    for (uid, name) in [(2004, "carol"), (2100, "dave")] {
        assert!(who(uid).contains(&format!("/people/{name}")));
    }
    assert_eq!(children("/people"), ["carol", "dave"]);
    machine.ok("cgctl delegate --revoke carol && cgctl delegate --revoke dave && cgctl rm people");
}

/// The first that fits counts, at start as well as on a call, and for root.
pub(crate) fn of_two_rules_the_first_counts(machine: &Machine) {
    machine
        .ok("echo staffx:x:2300:erin >>/etc/group; echo erin:x:2200:2200::/:/bin/sh >>/etc/passwd");
    let rules = "[[delegate]]\ngroups = [\"staffx\"]\npath = \"/staff/{user}\"\n[[delegate]]\nusers = [\"erin\"]\n";
    fs::create_dir_all("/etc/cgroupd").unwrap();
    fs::write("/etc/cgroupd/cgroupd.toml", rules).unwrap();
    machine.reload();
    // The user database is asked after the daemon has said that it read its configuration.
    machine.wait_until(|| children("/staff") == ["erin"]);
    machine.ok("setpriv --reuid 2200 --regid 2200 --init-groups cgctl whoami");
    machine.ok("cgctl delegate erin:2200 -m 64M");
    assert_eq!(read("/staff/erin", "memory.max"), "67108864");
    assert!(!children("/").contains(&"users".to_owned()) || children("/users").is_empty());
    machine.ok("cgctl delegate --revoke erin:2200 && cgctl rm staff");
}
