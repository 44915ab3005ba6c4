//! The second look: values that parse but cannot be meant. Pure, but for names of groups, which
//! the user database is asked for; that may be a server elsewhere that does not answer.

use std::fmt::Display;
use std::path::Path;

use cgroupd_proto::CgroupPath;
use nix::unistd::Group;

use super::{AUTO, Config, Quota};
use crate::accounting::Bounds;
use crate::transport::Limits;

/// A key and what is wrong with it.
type Finding = (&'static str, String);

/// The longest path of a UNIX socket: `sun_path` less the final NUL.
const SOCKET_PATH: usize = 107;

/// The most cgroups that a quota can be.
pub(super) const MOST_CGROUPS: usize = 10_000_000;

/// Everything that is wrong with the values.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let found = [
        ("root", root(&config.root)),
        ("socket.path", socket_path(&config.socket.path)),
        ("socket.group", group(&config.socket.group)),
        ("compat.cgmanager.socket", old_socket(config)),
        ("compat.cgmanager.scm", scm(config)),
    ];
    let found = found.into_iter().filter_map(|(key, text)| text.map(|text| (key, text)));
    found.chain(limits(&config.limits)).chain(quota(config.quota)).collect()
}

fn root(path: &str) -> Option<String> {
    match CgroupPath::parse(path) {
        _ if path == AUTO => None,
        Err(error) => Some(error.to_string()),
        Ok(path) if path.is_absolute() => None,
        Ok(path) => {
            Some(format!("{path:?} must start with /, or be {AUTO:?}", path = path.to_string()))
        }
    }
}

fn socket_path(path: &Path) -> Option<String> {
    let length = path.as_os_str().len();
    if !path.is_absolute() || path.file_name().is_none() {
        return Some(format!("{path:?} is not the absolute path of a file"));
    }
    (length > SOCKET_PATH).then(|| format!("it has {length} bytes, at most {SOCKET_PATH} fit"))
}

fn old_socket(config: &Config) -> Option<String> {
    let path = &config.compat.cgmanager.socket;
    match path {
        _ if path.as_os_str().is_empty() => None,
        _ if *path == config.socket.path => {
            Some("it is the private socket's path: write private-socket = true instead".to_owned())
        }
        _ => socket_path(path),
    }
}

fn scm(config: &Config) -> Option<String> {
    let old = &config.compat.cgmanager;
    let is_nowhere = old.socket.as_os_str().is_empty() && !old.private_socket;
    let text = "the interface is served nowhere: write socket or private-socket, too";
    (old.scm && is_nowhere).then(|| text.to_owned())
}

/// The group that a name or a number means. A number needs no look-up.
///
/// # Errors
/// What `getgrnam_r(3)` answers.
pub fn group_id(name: &str) -> nix::Result<Option<u32>> {
    let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    match is_number {
        // -1 is no group: chown(2) takes it as "leave it".
        true => Ok(name.parse().ok().filter(|gid| *gid != u32::MAX)),
        false => Ok(Group::from_name(name)?.map(|group| group.gid.as_raw())),
    }
}

pub(super) fn group(name: &str) -> Option<String> {
    if name.is_empty() {
        return None;
    }
    match group_id(name) {
        Ok(Some(_)) => None,
        Ok(None) => Some(format!("there is no group {name:?}")),
        Err(errno) => Some(format!("group {name:?} cannot be looked up: {}", crate::words(errno))),
    }
}

fn limits(limits: &Limits) -> impl Iterator<Item = Finding> {
    const MIB: usize = 1 << 20;
    let l = *limits;
    // A call may carry a 4 KiB value and a 4,000-byte path; a reply a file of 1 MiB.
    let sizes = [
        range("limits.message-in", l.message_in, 16 << 10, 128 * MIB),
        range("limits.message-out", l.message_out, 64 << 10, 128 * MIB),
        range("limits.array-items", l.array_items, 64, MIB),
        // SCM_MAX_FD is 253.
        range("limits.descriptors", l.descriptors, 1, 253),
        range("limits.queued-calls", l.queued_calls, 1, 1024),
        range("limits.connections", l.connections, 1, MIB),
        range("limits.connections-per-key", l.connections_per_key, 1, MIB),
        range("limits.half-open-per-key", l.half_open_per_key, 1, MIB),
        range("limits.changes-per-key", l.changes_per_key, 1, Bounds::CALLS_PER_ACCOUNT),
        at_most("limits.connections-per-key", l.connections_per_key, "connections", l.connections),
        at_most(
            "limits.half-open-per-key",
            l.half_open_per_key,
            "connections-per-key",
            l.connections_per_key,
        ),
    ];
    let times = [
        range("limits.handshake-seconds", l.handshake_seconds, 1, 300),
        range("limits.write-seconds", l.write_seconds, 1, 3600),
        range("limits.change-seconds", l.change_seconds, 1, 3600),
    ];
    sizes.into_iter().chain(times).flatten()
}

fn quota(quota: Quota) -> impl Iterator<Item = Finding> {
    let found = [
        range("quota.cgroups", quota.cgroups, 1, MOST_CGROUPS),
        range("quota.depth", quota.depth, 1, CgroupPath::MAX_DEPTH),
    ];
    found.into_iter().flatten()
}

fn range<T: PartialOrd + Display + Copy>(
    key: &'static str,
    value: T,
    least: T,
    most: T,
) -> Option<Finding> {
    let text = || format!("{value} is not between {least} and {most}");
    (value < least || value > most).then(|| (key, text()))
}

fn at_most(key: &'static str, value: usize, other: &str, most: usize) -> Option<Finding> {
    (value > most).then(|| (key, format!("{value} is more than {other}, which is {most}")))
}
