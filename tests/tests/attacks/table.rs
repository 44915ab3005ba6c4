//! A call of every method in the table, with arguments that would do something if it were let.

use std::collections::HashMap;

use cgroupd_tests::client::{Client, Result};
use zbus::{Fd, Message};

/// What the calls are about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    /// An existing cgroup.
    pub(crate) path: &'a str,
    /// A process in it.
    pub(crate) pid: i32,
    /// A file in it that can be set, and a value that it does not have.
    pub(crate) setting: (&'a str, &'a str),
    /// A limit that can be set, and a value that it does not have.
    pub(crate) limit: (&'a str, &'a str),
}

/// Calls `member`. A method that is new in the table has to be added here.
pub(crate) fn call(client: &Client, member: &str, about: &About<'_>) -> Result<Message> {
    let About { path, setting: (file, value), limit, .. } = *about;
    let pid = about.pid.cast_unsigned();
    let flags: Vec<&str> = Vec::new();
    let names: Vec<&str> = Vec::new();
    let descriptors: Vec<Fd<'_>> = Vec::new();
    let limits: HashMap<&str, &str> = HashMap::from([limit]);
    let none: HashMap<&str, &str> = HashMap::new();
    match member {
        "Create" => {
            let child = format!("{path}/child");
            client.call(member, &(child, names, none, descriptors, flags))
        }
        "Remove" => client.call(member, &(path, ["recursive"].as_slice())),
        "Attach" => client.call(member, &(path, descriptors, ["caller"].as_slice())),
        "AttachPids" => client.call(member, &(path, vec![pid], flags)),
        "SetLimits" => client.call(member, &(path, limits, flags)),
        "GetLimits" => client.call(member, &(path, names)),
        "ReadFile" => client.call(member, &(path, file)),
        "WriteFile" => client.call(member, &(path, file, value, flags)),
        "ListFiles" => client.call(member, &(path,)),
        "List" => client.call(member, &(path, 0_u32, "", 0_u32, flags)),
        "Processes" => client.call(member, &(path, flags)),
        "CgroupOf" => client.call(member, &(pid, flags)),
        "Freeze" | "Thaw" => client.call(member, &(path, flags)),
        "Kill" => client.call(member, &(path, 9_u32, flags)),
        "Chown" => client.call(member, &(path, 64_000_u32, 64_000_u32, flags)),
        "Delegate" => client.call(member, &(path, 64_000_u32, 64_000_u32, names, none, flags)),
        "Undelegate" => client.call(member, &(path, 0_u32, flags)),
        "Stats" => client.call(member, &([path].as_slice(),)),
        "Chmod" => client.call(member, &(path, "", 0o700_u32, flags)),
        "Watch" => client.call(member, &(path, names, flags)),
        "Unwatch" => {
            let id = client.call("Watch", &(path, names, flags))?;
            client.call(member, &(id.body().deserialize::<u32>().expect("a number"),))
        }
        "Accounts" | "WhoAmI" => client.call(member, &()),
        member => panic!("{member} is in the table and has no call here"),
    }
}
