//! Each guest's kernel and layout, seen from inside.

use cgroupd_tests::guest::matrix::{PLACES, Place};
use cgroupd_tests::guest::{Guest, Kernel, Mode};
use libtest_mimic::Trial;

use crate::{run, test};

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |(mode, kernel): Place| {
        let name = format!("{mode}_{}_has_its_layout", kernel.name().replace('.', "_"));
        test(&name, move || check(mode, kernel))
    };
    PLACES.into_iter().map(trial).collect()
}

const LOOK: &str = "
    uname -r
    cat /proc/1/comm
    stat -f -c %T /sys/fs/cgroup
    cat /sys/fs/cgroup/cgroup.controllers /sys/fs/cgroup/unified/cgroup.controllers 2>/dev/null |
        tr '\n' ' '
    echo
    awk '$3 == \"cgroup\" { print $2 }' /proc/self/mounts | sed 's|/sys/fs/cgroup/||' | tr '\n' ' '
    echo
";

fn check(mode: Mode, kernel: Kernel) {
    let out = run(&Guest::new(mode, kernel), LOOK).success();
    let [release, init, kind, v2, v1] = out.lines().collect::<Vec<_>>()[..] else {
        panic!("{out}");
    };
    assert!(release.starts_with(&format!("{kernel}.")), "{release}");
    assert_eq!(init == "systemd", mode == Mode::Systemd, "pid 1 is {init}");
    let (v1, v2) = (v1.trim(), v2.trim());
    let has = |list: &str, name: &str| list.split(' ').any(|other| other == name);
    match mode {
        Mode::Unified | Mode::Systemd => {
            assert_eq!((kind, v1), ("cgroup2fs", ""), "{out}");
            let all = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"];
            all.iter().for_each(|controller| assert!(has(v2, controller), "{controller}: {v2}"));
        }
        Mode::Legacy | Mode::Hybrid => {
            assert_eq!(kind, "tmpfs");
            let together = ["systemd", "cpu,cpuacct", "net_cls,net_prio", "blkio", "freezer"];
            together.iter().for_each(|name| assert!(has(v1, name), "{name}: {v1}"));
            // A kernel since 6.12 may leave them to v2.
            let split = kernel == Kernel::V6_12;
            for controller in ["memory", "cpuset"] {
                assert_eq!(has(v1, controller), !split, "{controller} in {v1}");
                assert_eq!(has(v2, controller), split, "{controller} in {v2}");
            }
        }
    }
}
