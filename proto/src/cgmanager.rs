//! The contract of cgmanager 0.42, for programs that were written for it: one object, one
//! interface. The forms that end in `Scm` pass on over a socket who asks, and which process or owner
//! is meant; what they answer comes over it, too.

use crate::method::{Argument, Method, Property, change, find, interface_xml, read};

/// The object.
pub const OBJECT_PATH: &str = "/org/linuxcontainers/cgmanager";
/// Where the original listened.
pub const SOCKET: &str = "/sys/fs/cgroup/cgmanager/sock";
/// Its interface.
pub const INTERFACE: &str = "org.linuxcontainers.cgmanager0_0";
/// The value of the property `api_version`.
pub const API_VERSION: i32 = 10;

const CONTROLLER: Argument = ("controller", "s");
const CGROUP: Argument = ("cgroup", "s");
const PID: Argument = ("pid", "i");
const KEY: Argument = ("key", "s");
const SOCKET_FD: Argument = ("sockfd", "h");

/// Every method of [`INTERFACE`].
pub const METHODS: &[Method] = &[
    read("Ping", &[("junk", "i")], &[], None),
    change("Create", &[CONTROLLER, CGROUP], &[("existed", "i")], None),
    change("Chown", &[CONTROLLER, CGROUP, ("uid", "i"), ("gid", "i")], &[], None),
    change("Chmod", &[CONTROLLER, CGROUP, ("file", "s"), ("mode", "i")], &[], None),
    change("MovePid", &[CONTROLLER, CGROUP, PID], &[], None),
    change("MovePidAbs", &[CONTROLLER, CGROUP, PID], &[], None),
    read("GetValue", &[CONTROLLER, CGROUP, KEY], &[("value", "s")], None),
    change("SetValue", &[CONTROLLER, CGROUP, KEY, ("value", "s")], &[], None),
    change("Remove", &[CONTROLLER, CGROUP, ("recursive", "i")], &[("existed", "i")], None),
    read("GetTasks", &[CONTROLLER, CGROUP], &[("pids", "ai")], None),
    read("GetTasksRecursive", &[CONTROLLER, CGROUP], &[("pids", "ai")], None),
    read("ListChildren", &[CONTROLLER, CGROUP], &[("children", "as")], None),
    change("RemoveOnEmpty", &[CONTROLLER, CGROUP], &[], None),
    change("Prune", &[CONTROLLER, CGROUP], &[], None),
    read("ListKeys", &[CONTROLLER, CGROUP], &[("keys", "a(suuu)")], None),
    read("ListControllers", &[], &[("controllers", "as")], None),
    read("GetPidCgroup", &[CONTROLLER, PID], &[("cgroup", "s")], None),
    read("GetPidCgroupAbs", &[CONTROLLER, PID], &[("cgroup", "s")], None),
    change("CreateScm", &[CONTROLLER, CGROUP, SOCKET_FD], &[], None),
    change("ChownScm", &[CONTROLLER, CGROUP, SOCKET_FD], &[], None),
    change("ChmodScm", &[CONTROLLER, CGROUP, ("file", "s"), ("mode", "i"), SOCKET_FD], &[], None),
    change("MovePidScm", &[CONTROLLER, CGROUP, SOCKET_FD], &[], None),
    change("MovePidAbsScm", &[CONTROLLER, CGROUP, SOCKET_FD], &[], None),
    read("GetValueScm", &[CONTROLLER, CGROUP, KEY, SOCKET_FD], &[], None),
    change("SetValueScm", &[CONTROLLER, CGROUP, KEY, ("value", "s"), SOCKET_FD], &[], None),
    change("RemoveScm", &[CONTROLLER, CGROUP, ("recursive", "i"), SOCKET_FD], &[], None),
    read("GetTasksScm", &[CONTROLLER, CGROUP, SOCKET_FD], &[], None),
    read("GetTasksRecursiveScm", &[CONTROLLER, CGROUP, SOCKET_FD], &[], None),
    read("ListChildrenScm", &[CONTROLLER, CGROUP, SOCKET_FD], &[], None),
    change("RemoveOnEmptyScm", &[CONTROLLER, CGROUP, SOCKET_FD], &[], None),
    change("PruneScm", &[CONTROLLER, CGROUP, SOCKET_FD], &[], None),
    read("ListKeysScm", &[CONTROLLER, CGROUP, SOCKET_FD], &[], None),
    read("GetPidCgroupScm", &[CONTROLLER, SOCKET_FD], &[], None),
    read("GetPidCgroupAbsScm", &[CONTROLLER, SOCKET_FD], &[], None),
];

/// Its one property.
pub const PROPERTIES: &[Property] = &[Property { name: "api_version", signature: "i" }];

/// Looks a method of [`INTERFACE`] up by its member name.
pub fn find_method(member: &str) -> Option<&'static Method> {
    find(METHODS, member)
}

/// Whether a method is one of the forms that end in `Scm`.
pub fn is_scm(member: &str) -> bool {
    member.ends_with("Scm")
}

/// The introspection XML of [`INTERFACE`], as one `<interface>` element, with or without the forms
/// that end in `Scm`.
pub fn introspection(scm: bool) -> String {
    let served: Vec<Method> =
        METHODS.iter().filter(|method| scm || !is_scm(method.member)).copied().collect();
    interface_xml(INTERFACE, &served, &[], PROPERTIES)
}
