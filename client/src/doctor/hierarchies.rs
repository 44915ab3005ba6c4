//! Mounts of cgroup file systems and the kernel's list of controllers, from their texts.

use cgroupd_proto::CONTROLLERS;

/// A mount of a cgroup file system, `proc_pid_mountinfo(5)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mount {
    /// cgroup2, or else v1.
    pub(crate) v2: bool,
    /// The v1 controllers.
    pub(crate) controllers: Vec<String>,
    /// Where.
    pub(crate) point: String,
    /// Which cgroup is there: `/` for the root that this process can see.
    pub(crate) root: String,
    /// Whether it cannot be written through this mount.
    pub(crate) read_only: bool,
    /// Whether cgroup namespaces are delegation boundaries.
    pub(crate) nsdelegate: bool,
}

/// A controller, `/proc/cgroups`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Controller {
    /// Its name.
    pub(crate) name: String,
    /// The number of the v1 hierarchy that has it; 0 is none.
    pub(crate) v1_hierarchy: u32,
    /// Whether it was not switched off at boot.
    pub(crate) enabled: bool,
}

/// The cgroup mounts in the text of mountinfo; only the one on top of each place.
pub(crate) fn mounts(mountinfo: &str) -> Vec<Mount> {
    let mut found: Vec<Mount> = Vec::new();
    for mount in mountinfo.lines().filter_map(mount) {
        found.retain(|below| below.point != mount.point);
        found.push(mount);
    }
    found
}

/// `ID PARENT DEVICE ROOT POINT OPTIONS [TAGS] - TYPE SOURCE SUPER-OPTIONS`.
fn mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ').skip(3);
    let (root, point, options) = (fields.next()?, fields.next()?, fields.next()?);
    let mut fields = after.split(' ');
    let (kind, super_options) = (fields.next()?, fields.nth(1)?);
    let has = |list: &str, option: &str| list.split(',').any(|own| own == option);
    let known = super_options.split(',').filter(|option| CONTROLLERS.contains(option));
    ["cgroup", "cgroup2"].contains(&kind).then(|| Mount {
        v2: kind == "cgroup2",
        controllers: known.map(str::to_owned).collect(),
        point: point.to_owned(),
        root: root.to_owned(),
        read_only: has(options, "ro") || has(super_options, "ro"),
        nsdelegate: has(super_options, "nsdelegate"),
    })
}

/// The controllers in the text of `/proc/cgroups`: name, hierarchy, cgroups, enabled.
pub(crate) fn controllers(text: &str) -> Vec<Controller> {
    let controller = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let name = fields.next()?.to_owned();
        let v1_hierarchy = fields.next()?.parse().ok()?;
        Some(Controller { name, v1_hierarchy, enabled: fields.nth(1)? == "1" })
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(controller).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
29 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
30 29 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
31 29 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 29 0:29 / /sys/fs/cgroup/systemd ro - cgroup cgroup rw,xattr,name=systemd
33 29 0:30 /box /sys/fs/cgroup/memory rw - cgroup cgroup ro,memory
";

    #[test]
    fn mounts_of_a_hybrid_host() {
        let found = mounts(HYBRID);
        assert_eq!(found.len(), 4);
        assert!(found[0].v2 && found[0].nsdelegate && !found[0].read_only);
        assert_eq!(found[1].controllers, ["cpu", "cpuacct"]);
        assert!(found[2].controllers.is_empty() && found[2].read_only);
        assert_eq!((found[3].root.as_str(), found[3].read_only), ("/box", true));
    }

    #[test]
    fn what_is_mounted_over_is_not_there() {
        let line = "34 29 0:31 / /sys/fs/cgroup/memory rw - cgroup2 none rw\n";
        let found = mounts(&format!("{HYBRID}{line}odd\n"));
        assert_eq!(found.len(), 4);
        assert!(found[3].v2);
    }

    #[test]
    fn the_kernels_list() {
        let text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n\
                    cpu\t3\t12\t1\nmemory\t0\t9\t0\nodd\n";
        let expected =
            [("cpu", 3, true), ("memory", 0, false)].map(|(name, hierarchy, enabled)| Controller {
                name: name.to_owned(),
                v1_hierarchy: hierarchy,
                enabled,
            });
        assert_eq!(controllers(text), expected);
    }
}
