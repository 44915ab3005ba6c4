//! Cgroup mounts as `/proc/self/mountinfo` lists them (`proc_pid_mountinfo(5)`).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One mount of a cgroup file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) is_v2: bool,
    /// `major:minor`, the same for all mounts of a hierarchy.
    pub(crate) device: String,
    /// The cgroup that is mounted.
    pub(crate) root: String,
    pub(crate) point: PathBuf,
    pub(crate) writable: bool,
    options: Vec<String>,
}

/// All cgroup mounts, later ones last; lines that are something else are passed over.
pub(crate) fn parse(mountinfo: &str) -> Vec<Mount> {
    mountinfo.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Mount> {
    let (mount, superblock) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(2);
    let mut right = superblock.split(' ');
    let is_v2 = match right.next()? {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    Some(Mount {
        is_v2,
        device: fields.next()?.to_owned(),
        root: String::from_utf8(unescape(fields.next()?)).ok()?,
        point: PathBuf::from(OsString::from_vec(unescape(fields.next()?))),
        writable: fields.next()?.split(',').any(|option| option == "rw"),
        options: right.nth(1)?.split(',').map(str::to_owned).collect(),
    })
}

/// `\040` and its kind, as the kernel writes blanks, tabs, newlines and backslashes.
fn unescape(field: &str) -> Vec<u8> {
    let bytes = field.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = field.get(at + 1..at + 4).and_then(|o| u8::from_str_radix(o, 8).ok());
        match (bytes[at], octal) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                at += 4;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// One mount per hierarchy: writable before read-only, the whole before a subtree; among
/// equals the last, which hides the others when they share a mount point.
pub(crate) fn choose(mounts: Vec<Mount>) -> Vec<Mount> {
    let mut chosen: Vec<Mount> = Vec::new();
    for mount in mounts {
        let rank = |m: &Mount| (m.writable, m.root == "/");
        match chosen.iter_mut().find(|other| other.device == mount.device) {
            Some(other) if rank(&mount) >= rank(other) => *other = mount,
            Some(_) => {}
            None => chosen.push(mount),
        }
    }
    chosen
}

impl Mount {
    /// The controllers among a v1 mount's options.
    pub(crate) fn controllers(&self, known: &[&str]) -> Vec<String> {
        self.options.iter().filter(|option| known.contains(&option.as_str())).cloned().collect()
    }

    /// The hierarchy's name in `/proc/PID/cgroup`: controllers, then `name=`.
    pub(crate) fn label(&self, known: &[&str]) -> String {
        let mut parts = self.controllers(known);
        parts.extend(self.options.iter().find(|option| option.starts_with("name=")).cloned());
        parts.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cgroupd_proto::CONTROLLERS;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
34 31 0:30 / /odd\\040place rw - cgroup none rw,memory
35 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
36 31 0:37 /a /bind rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn every_kind_of_mount() {
        let mounts = choose(parse(&HYBRID.replace("\\\\", "\\")));
        let labels: Vec<_> = mounts.iter().map(|m| m.label(CONTROLLERS)).collect();
        assert_eq!(labels, ["cpu,cpuacct", "memory", "name=systemd", ""]);
        assert_eq!(mounts[0].controllers(CONTROLLERS), ["cpu", "cpuacct"]);
        assert_eq!(mounts[1].point, PathBuf::from("/odd place"));
        assert_eq!(mounts[2].root, "/");
        assert!(mounts[3].is_v2);
    }

    #[test]
    fn damaged_lines_are_passed_over() {
        assert_eq!(parse("a - cgroup\n\n1 2 3 - cgroup2 x\n - - -\n"), []);
        assert_eq!(unescape("a\\04"), b"a\\04");
    }
}
