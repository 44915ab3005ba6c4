//! A container of LXC with ids of its own and without cgroupfs, which has the daemon's socket by the
//! file that ships.

use std::fs;

use crate::machine::{Container, FIRST, Machine, ROOTFS, children, read};

const CONFIG: &str = include_str!("lxc.conf");
const ROOT: &str = "/var/lib/lxc/box";

pub(crate) fn a_container(machine: &Machine) {
    let packaging = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/lxc");
    let clients = cgroupd_tests::bins::directory();
    machine.ok(&format!(
        "install -m 644 {packaging}/cgroupd.conf /usr/share/lxc/config/common.conf.d/; \
         mkdir -p {ROOT}; cp -r {ROOTFS} {ROOT}/rootfs; cd {ROOT}/rootfs; \
         chown -R {FIRST}:{FIRST} .; chmod 755 /var/lib/lxc {ROOT}"
    ));
    let config = CONFIG.replace("CLIENTS", &clients.display().to_string());
    fs::write(format!("{ROOT}/config"), config).unwrap();
    machine.ok("lxc-start -n box -l INFO -o /tmp/lxc.log || { tail -30 /tmp/lxc.log; false; }");
    let place = children("/").into_iter().find(|name| name.starts_with("lxc.payload.box"));
    let place = format!("/{}", place.expect("LXC has made it"));
    let container = Container { machine, enter: "lxc-attach -n box --" };
    let cgctl = |line: &str| container.cgctl(line);
    container.refuses("ls /sys/fs/cgroup/cgroup.procs", "No such file");
    container.refuses("mkdir /run/cgroupd/x", "Read-only file system");
    assert!(cgctl("whoami").contains("namespace-root"));
    assert_eq!(cgctl("create job -m 32M"), "/job  memory.max=32M");
    assert_eq!(read(&format!("{place}/job"), "memory.max"), "33554432");
    assert_eq!(cgctl("get job"), "memory.max=32M");
    cgctl("run -m 50M -- true");
    // A user in the container gets a part of it.
    cgctl("delegate 1000:1000 --pids 20");
    assert_eq!(read(&format!("{place}/users/1000"), "pids.max"), "20");
    cgctl("delegate --revoke 1000:1000");
    cgctl("rm job");
    container.refuses("/clients/cgctl create ../x", "`..` is not allowed");
    container.refuses("/clients/cgctl set / -m 1G", "whoever set up the caller");
    machine.ok("lxc-stop -k -n box");
    assert!(!children("/").contains(&place.trim_start_matches('/').to_owned()));
}
