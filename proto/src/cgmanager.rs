//! The contract of cgmanager 0.42, for programs that were written for it: one object, one
//! interface. The original's second forms, which end in `Scm` and pass credentials over a socket
//! of their own, are not in it.

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
];

/// Its one property.
pub const PROPERTIES: &[Property] = &[Property { name: "api_version", signature: "i" }];

/// Looks a method of [`INTERFACE`] up by its member name.
pub fn find_method(member: &str) -> Option<&'static Method> {
    find(METHODS, member)
}

/// The introspection XML of [`INTERFACE`], as one `<interface>` element.
pub fn introspection() -> String {
    interface_xml(INTERFACE, METHODS, &[], PROPERTIES)
}
