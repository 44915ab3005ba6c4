//! crun and runc of root's in a container: user, pid, cgroup and mount namespaces of their own, and a
//! cgroup that the daemon has handed over and made ready.

use std::fs;

use crate::machine::{FIRST, Machine, ROOTFS, children};

/// The script inside; both runtimes take the same bundle.
const INSIDE: &str = include_str!("inside.sh");
const BUNDLE: &str = include_str!("config.json");

pub(crate) fn crun_limits(machine: &Machine) {
    limits(machine, "/usr/bin/crun");
}

pub(crate) fn runc_limits(machine: &Machine) {
    limits(machine, "/usr/sbin/runc");
}

fn limits(machine: &Machine, runtime: &str) {
    machine.ok(&format!(
        "rm -rf /tmp/nest; mkdir -p /tmp/nest; cp -r {ROOTFS} /tmp/nest/rootfs; \
         chown -R {FIRST}:{FIRST} /tmp/nest; cgctl -q delegate {FIRST}:{FIRST} /nest"
    ));
    fs::write("/tmp/nest/config.json", BUNDLE).unwrap();
    fs::write("/tmp/nest/inside.sh", format!("runtime={runtime}\n{INSIDE}")).unwrap();
    // A process whose user namespace the host gives its ids.
    let said = machine.ok(&format!(
        "sh -c 'echo $$ >/sys/fs/cgroup/nest/cgroup.procs; exec unshare -U -C -m sleep 1000' & \
         holder=$!; \
         until [ \"$(cat /proc/$holder/comm)\" = sleep ]; do sleep 0.1; done; \
         for kind in uid gid; do echo 0 {FIRST} 65536 >/proc/$holder/${{kind}}_map; done; \
         ( sh -c 'echo $PPID >/sys/fs/cgroup/nest/cgroup.procs'; exec nsenter -t $holder -U -C -m \
           -S 0 -G 0 unshare -p -f --kill-child sh /tmp/nest/inside.sh ) & \
         inside=$!; \
         until [ -e /tmp/nest/limited ] || ! kill -0 $inside 2>/dev/null; do sleep 0.1; done; \
         grep -H . /sys/fs/cgroup/nest/box/memory.max /sys/fs/cgroup/nest/box/cpu.max \
             /sys/fs/cgroup/nest/box/pids.max >/tmp/nest/limits; \
         : >/tmp/nest/go; wait $inside; status=$?; kill $holder; exit $status"
    ));
    let limits = fs::read_to_string("/tmp/nest/limits").unwrap();
    for limit in ["memory.max:67108864", "cpu.max:50000 100000", "pids.max:33"] {
        assert!(limits.contains(limit), "{limits}\n{said}");
    }
    assert!(said.contains("exec: 0::/"), "{said}");
    assert!(said.contains("updated: 33554432"), "{said}");
    assert!(!children("/nest").contains(&"box".to_owned()));
    machine.ok("cgctl rm -r -f /nest");
}
