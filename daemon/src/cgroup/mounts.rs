//! Cgroup mounts as `/proc/self/mountinfo` lists them (`proc_pid_mountinfo(5)`), and which of
//! them can be reached by their mount points: others may be mounted over them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use cgroupd_proto::CONTROLLERS;
use nix::errno::Errno;
use rustix::fs::{AtFlags, StatxFlags, statx};

use super::Dir;
use super::handle::errno_of;
use crate::{is_transient, words};

/// One mount of a cgroup file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The mount's number, the same as statx(2) gives for files on it.
    id: u64,
    pub(crate) is_v2: bool,
    /// `major:minor`, the same for all mounts of a hierarchy.
    pub(crate) device: String,
    /// The cgroup that is mounted.
    pub(crate) root: String,
    pub(crate) point: PathBuf,
    pub(crate) writable: bool,
    options: Vec<String>,
}

/// What a mount's mount point leads to.
#[derive(Debug)]
pub(crate) enum Reached {
    /// The mount's root directory.
    Top(Dir),
    /// Something that was mounted later, here or above.
    Another,
    /// The kernel refuses to open it: what is mounted over it has no such directory, or is a
    /// file system that does not answer.
    Unreachable(Errno),
}

/// All cgroup mounts of this process' mount namespace.
///
/// # Errors
/// What reading mountinfo answers.
pub(crate) fn read() -> nix::Result<Vec<Mount>> {
    // Mount points of others need not be UTF-8.
    let text = std::fs::read("/proc/self/mountinfo").map_err(errno_of)?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

/// All cgroup mounts, later ones last; lines that are something else are passed over.
pub(crate) fn parse(mountinfo: &str) -> Vec<Mount> {
    mountinfo.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Mount> {
    let (mount, superblock) = line.split_once(" - ")?;
    let mut fields = mount.split(' ');
    let id = fields.next()?.parse().ok()?;
    let mut fields = fields.skip(1);
    let mut right = superblock.split(' ');
    let is_v2 = match right.next()? {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    Some(Mount {
        id,
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

/// One mount per hierarchy, with its root directory: of those that can be reached, writable
/// before read-only, the whole before a subtree, and among equals the last. A hierarchy of
/// which none can be reached is passed over, and the log says so.
///
/// # Errors
/// The kernel has no descriptor or memory for a look at one.
pub(crate) fn choose(mounts: Vec<Mount>) -> nix::Result<Vec<(Mount, Dir)>> {
    let mut chosen: Vec<(Mount, Dir)> = Vec::new();
    let mut hidden = Vec::new();
    for mount in mounts {
        let rank = |m: &Mount| (m.writable, m.root == "/");
        let top = match mount.reach()? {
            Reached::Top(top) => top,
            reached => {
                hidden.push((mount, reached));
                continue;
            }
        };
        match chosen.iter_mut().find(|(other, _)| other.device == mount.device) {
            Some(other) if rank(&mount) >= rank(&other.0) => *other = (mount, top),
            Some(_) => {}
            None => chosen.push((mount, top)),
        }
    }
    for (mount, reached) in &hidden {
        mount.report(reached, chosen.iter().any(|(other, _)| other.device == mount.device));
    }
    Ok(chosen)
}

impl Mount {
    /// Opens the mount point, and compares the mount that it leads to. The device would not do:
    /// a subtree of the same hierarchy may be mounted over it.
    ///
    /// # Errors
    /// The kernel has no descriptor or memory for it.
    pub(crate) fn reach(&self) -> nix::Result<Reached> {
        let top = match Dir::open_mount(&self.point) {
            Err(errno) if is_transient(errno) => return Err(errno),
            Err(errno) => return Ok(Reached::Unreachable(errno)),
            Ok(top) => top,
        };
        let found = statx(&top, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
            .map_err(|error| Errno::from_raw(error.raw_os_error()))?;
        Ok(if found.stx_mnt_id == self.id { Reached::Top(top) } else { Reached::Another })
    }

    /// A hierarchy that is reached elsewhere lacks nothing.
    fn report(&self, reached: &Reached, is_elsewhere: bool) {
        let why = match reached {
            Reached::Unreachable(errno) => words(*errno),
            _ => "another mount hides it".to_owned(),
        };
        let (point, label) = (self.point.display(), self.label(CONTROLLERS));
        if is_elsewhere {
            tracing::debug!(%point, label, "a cgroup mount is passed over: {why}");
        } else {
            tracing::warn!(
                %point,
                label,
                "a cgroup hierarchy is not managed: its mount cannot be reached: {why}; unmount \
                 what hides it and restart cgroupd, or mount the hierarchy elsewhere"
            );
        }
    }

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
        let mounts = parse(HYBRID);
        let labels: Vec<_> = mounts.iter().map(|m| m.label(CONTROLLERS)).collect();
        let systemd = "name=systemd";
        assert_eq!(labels, ["cpu,cpuacct", "memory", "memory", systemd, systemd, ""]);
        assert_eq!(mounts[0].controllers(CONTROLLERS), ["cpu", "cpuacct"]);
        assert_eq!(mounts[0].id, 32);
        assert!(!mounts[1].writable && mounts[2].writable);
        assert_eq!(mounts[2].point, PathBuf::from("/odd place"));
        assert_eq!((mounts[3].root.as_str(), mounts[4].root.as_str()), ("/", "/a"));
        assert!(mounts[5].is_v2);
    }

    #[test]
    fn only_what_is_mounted_there_is_reached() {
        // No cgroup file system, but a mount that is there wherever this runs.
        let proc = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = proc.lines().find(|line| line.contains(" / /proc ")).expect("/proc");
        let id: u64 = line.split(' ').next().unwrap().parse().unwrap();
        let mount = |id: u64, point: &str| Mount {
            id,
            point: point.into(),
            ..parse("1 2 0:1 / /x rw - cgroup cgroup rw,cpu\n").remove(0)
        };
        assert!(matches!(mount(id, "/proc").reach(), Ok(Reached::Top(_))));
        assert!(matches!(mount(id + 1, "/proc").reach(), Ok(Reached::Another)));
        let nowhere = mount(id, "/proc/no-such-thing").reach();
        assert!(matches!(nowhere, Ok(Reached::Unreachable(Errno::ENOENT))), "{nowhere:?}");
    }

    #[test]
    fn damaged_lines_are_passed_over() {
        assert_eq!(parse("a - cgroup\n\n1 2 3 - cgroup2 x\n - - -\n"), []);
        assert_eq!(unescape("a\\04"), b"a\\04");
    }
}
