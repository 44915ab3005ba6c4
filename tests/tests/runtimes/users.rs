//! Users of the host's user database who appear while the daemon runs, one with a hostile name.

use std::fs;

use crate::machine::{Machine, children};

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
