//! podman of an ordinary user, as an image of Debian has it, unchanged.

use std::fs;

use crate::machine::{
    Container, FIRST, HOME, Machine, ROOTFS, UID, assert_limited, cgroup_of, children, oom_kills,
    read,
};

/// What is asked for; there is no network in a guest.
const LIMITS: &str = "--network none --memory 64m --cpus 0.5 --pids-limit 33";
/// More memory than that.
const HOG: &str = "dd if=/dev/zero of=/dev/null bs=128M count=1";

fn home() -> String {
    format!("/users/{UID}")
}

fn delegate(machine: &Machine) {
    machine.ok(&format!("cgctl delegate {UID}:{UID}"));
}

/// The cgroup of the container whose process podman wrote down.
fn place() -> String {
    cgroup_of(&fs::read_to_string(format!("{HOME}/pid")).expect("podman has written it"))
}

/// What a user finds on such a host today: crun says nothing, and runc refuses.
pub(crate) fn without_a_delegation(machine: &Machine) {
    let run = |runtime: &str, what: &str| {
        machine.login(&format!("podman --runtime {runtime} run {LIMITS} --rm {what}"))
    };
    let rootfs = format!("--rootfs {ROOTFS}");
    let said = run("crun", &format!("{rootfs} cat /proc/self/cgroup"));
    assert_eq!((said.code, said.text.as_str()), (Some(0), "0::/"), "{said:?}");
    let said = run("crun", &format!("{rootfs} {HOG}"));
    assert_eq!(said.code, Some(0), "64 MiB were too much for it: {said:?}");
    assert!(["-", "max"].contains(&read("/login", "memory.max").as_str()), "nothing limits her");
    let said = run("runc", &format!("{rootfs} true"));
    assert!(said.code != Some(0) && said.text.contains("permission denied"), "{said:?}");
    assert_eq!(children("/"), ["login"]);
}

pub(crate) fn runc_limits(machine: &Machine) {
    limits(machine, "runc", "");
}

/// It makes cgroups beside its caller's by itself from 1.8.2 on.
pub(crate) fn crun_limits(machine: &Machine) {
    limits(machine, "crun", &format!("--cgroup-parent {}", home()));
}

/// The whole life of a container.
fn limits(machine: &Machine, runtime: &str, flags: &str) {
    delegate(machine);
    let podman = |line: &str| machine.session_ok(&format!("podman --runtime {runtime} {line}"));
    let rootfs = format!("--rootfs {ROOTFS}");
    podman(&format!("run {LIMITS} {flags} -d --name job --pidfile {HOME}/pid {rootfs} sleep 1000"));
    let place = place();
    assert!(place.starts_with(&format!("{}/", home())), "{place}");
    assert_limited(&place);
    let hog = machine.session(&format!("podman --runtime {runtime} exec job {HOG}"));
    assert_eq!((hog.code, oom_kills(&place).as_str()), (Some(137), "1"), "{hog:?}");
    assert_eq!(podman("exec job cat /proc/self/cgroup"), "0::/");
    assert!(podman("stats --no-stream --format {{.MemUsage}} job").contains("67.11MB"));
    podman("update --memory 96m job");
    assert_eq!(read(&place, "memory.max"), "100663296");
    podman("rm -f -t 0 job");
    assert_eq!(children(&home()), ["session"]);
    // And in the foreground.
    let hog = machine
        .session(&format!("podman --runtime {runtime} run {LIMITS} {flags} --rm {rootfs} {HOG}"));
    assert_eq!(hog.code, Some(137), "{hog:?}");
    take_back(machine);
}

/// podman's own process that keeps her namespaces stays until it is told.
fn take_back(machine: &Machine) {
    machine.session_ok("podman system migrate");
    assert_eq!(children(&home()), ["session"]);
    machine.ok(&format!("cgctl delegate --revoke {UID}:{UID}"));
    assert_eq!(children("/users"), [""; 0]);
}

pub(crate) fn a_pod_is_limited(machine: &Machine) {
    delegate(machine);
    let podman = |line: &str| machine.session_ok(&format!("podman --runtime runc {line}"));
    podman(&format!("import --quiet {HOME}/busybox.tar busybox"));
    podman("pod create --name pod --network none");
    podman(&format!(
        "run --memory 64m --cpus 0.5 --pids-limit 33 -d --pod pod --name job --pidfile {HOME}/pid \
         busybox sleep 1000"
    ));
    let place = place();
    assert!(place.starts_with(&format!("{}/", home())), "{place}");
    assert_limited(&place);
    podman("pod rm -f -t 0 pod");
    take_back(machine);
}

/// While a container runs it is not taken away; what its owner is killed out of is.
pub(crate) fn a_delegation_goes_away(machine: &Machine) {
    delegate(machine);
    let run = format!(
        "podman --runtime runc run {LIMITS} -d --name job --pidfile {HOME}/pid --rootfs {ROOTFS} \
         sleep 1000"
    );
    machine.session_ok(&run);
    let place = place();
    let said = machine.run(&format!("cgctl delegate --revoke {UID}:{UID}"));
    assert_eq!(said.code, Some(5), "{said:?}");
    assert_limited(&place);
    machine.ok(&format!("cgctl rm -r -f {}", home()));
    assert_eq!(children("/users"), [""; 0]);
    // podman finds its container gone, and a new delegation serves as the first did.
    delegate(machine);
    machine.session_ok("podman system migrate && podman --runtime runc rm -f -t 0 job");
    machine.session_ok(&run);
    assert_limited(&self::place());
    machine.session_ok("podman --runtime runc rm -f -t 0 job");
    take_back(machine);
}

/// Of root's, with user ids of its own; inside is only the daemon's socket.
pub(crate) fn with_the_cdi_file(machine: &Machine) {
    let packaging = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/cdi");
    machine.ok(&format!("install -D -m 644 {packaging}/cgroupd.json /etc/cdi/cgroupd.json"));
    let podman = "podman --root /tmp/podman --runroot /run/podman --storage-driver vfs --runtime crun \
                  --cgroup-manager cgroupfs --events-backend none";
    let clients = cgroupd_tests::bins::directory();
    machine.ok(&format!("cp -r {ROOTFS} /tmp/box; chown -R {FIRST}:{FIRST} /tmp/box"));
    machine.ok(&format!(
        "{podman} run -d --name box --network none --no-hosts --uidmap 0:{FIRST}:65536 \
         --device cgroupd.org/cgroupd=socket --pidfile /tmp/box.pid \
         -v {}:/clients:ro -v /lib:/lib:ro -v /lib64:/lib64:ro --rootfs /tmp/box sleep 1000",
        clients.display()
    ));
    let enter = &format!("{podman} exec box");
    let container = Container { machine, enter };
    let cgctl = |line: &str| container.cgctl(line);
    container.refuses("mkdir /sys/fs/cgroup/x", "Read-only file system");
    container.refuses("mkdir /run/cgroupd/x", "Read-only file system");
    assert!(cgctl("whoami").contains("namespace-root"));
    assert_eq!(cgctl("create job -m 32M"), "/job  memory.max=32M");
    cgctl("run -m 50M -- true");
    cgctl("delegate 1000:1000");
    let pid = fs::read_to_string("/tmp/box.pid").unwrap();
    let place = cgroup_of(&pid);
    let place = place.strip_suffix("/init").unwrap_or(&place).to_owned();
    assert_eq!(read(&format!("{place}/job"), "memory.max"), "33554432");
    container.refuses("/clients/cgctl set / -m 1G", "whoever set up the caller");
    machine.ok(&format!("{podman} rm -f -t 0 box"));
    assert!(!crate::machine::cgroup(&place).exists());
}
