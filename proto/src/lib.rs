//! The contract of cgroupd: what goes over D-Bus and what it means.
//!
//! Names, paths, limits and their units, error names, the table of methods and
//! the client's proxy. Nothing here does I/O; daemon and client both build on it.
#![forbid(unsafe_code)]

pub mod cgmanager;
mod error;
mod human;
pub mod limit;
mod method;
mod path;
mod printable;
mod proxy;

pub use error::ErrorName;
pub use human::{format_cpus, format_size, round_size};
pub use method::{
    Argument, EVENT, METHODS, Method, PROPERTIES, Property, Signal, find_method, introspection,
};
pub use path::{CgroupPath, PathError, check_new_name, escape_name, unescape_name, user_home};
pub use printable::printable;
pub use proxy::{CgroupRow, ControllerRow, FileRow, ManagerProxy, StatsRow};

/// The well-known bus name. The digit is the API's version: within it, changes only add.
pub const BUS_NAME: &str = "org.cgroupd1";
/// The one object.
pub const OBJECT_PATH: &str = "/org/cgroupd1";
/// The one interface of [`OBJECT_PATH`].
pub const INTERFACE: &str = "org.cgroupd1.Manager";
/// Where the private socket is unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/cgroupd/cgroupd.sock";
/// The environment variable that names another D-Bus address, for example
/// `unix:path=/run/cgroupd/cgroupd.sock`.
pub const ADDRESS_VARIABLE: &str = "CGROUPD_ADDRESS";

/// Every controller Linux has had, v1 and v2: `cgroups(7)` and
/// `Documentation/admin-guide/cgroup-v2.rst`.
pub const CONTROLLERS: &[&str] = &[
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "dmem",
    "freezer",
    "hugetlb",
    "io",
    "memory",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
    "rdma",
];
