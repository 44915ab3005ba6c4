//! The few calls of a bus driver, and Peer, that make `busctl --address=`, `gdbus --address`
//! and `dbus-send --bus=` work on a private socket, where there is no bus.

use cgroupd_proto::BUS_NAME;
use zbus::Message;

use super::reply::{Fault, Reply, fault, success};

/// The only peer a private socket has is the daemon.
pub(crate) const UNIQUE_NAME: &str = ":1.1";
/// Under this name it plays the driver.
pub(crate) const DRIVER: &str = "org.freedesktop.DBus";
/// Where the driver's object is.
pub(crate) const DRIVER_PATH: &str = "/org/freedesktop/DBus";

/// The driver's interface, for introspection.
pub(crate) const XML: &str = r#" <interface name="org.freedesktop.DBus">
  <method name="Hello"><arg type="s" direction="out"/></method>
  <method name="AddMatch"><arg type="s" direction="in"/></method>
  <method name="RemoveMatch"><arg type="s" direction="in"/></method>
  <method name="ListNames"><arg type="as" direction="out"/></method>
  <method name="ListActivatableNames"><arg type="as" direction="out"/></method>
  <method name="GetNameOwner"><arg type="s" direction="in"/><arg type="s" direction="out"/></method>
  <method name="NameHasOwner"><arg type="s" direction="in"/><arg type="b" direction="out"/></method>
  <method name="GetId"><arg type="s" direction="out"/></method>
 </interface>
"#;

/// Answers a call to the driver's interface; `id` names this daemon's instance.
pub(crate) fn answer(call: &Message, member: &str, id: &str) -> Reply {
    match member {
        "Hello" => success(call, &(UNIQUE_NAME,)),
        // There is nothing to match: signals are unicast.
        "AddMatch" | "RemoveMatch" => with_name(call, |_| success(call, &())),
        "ListNames" => success(call, &(&[DRIVER, BUS_NAME, UNIQUE_NAME][..],)),
        "ListActivatableNames" => success(call, &(Vec::<&str>::new(),)),
        "GetNameOwner" => with_name(call, |name| match owner(name) {
            Some(owner) => success(call, &(owner,)),
            None => fault(call, Fault::NameHasNoOwner, &format!("no such name: {name:?}")),
        }),
        "NameHasOwner" => with_name(call, |name| success(call, &(owner(name).is_some(),))),
        "GetId" => success(call, &(id,)),
        _ => fault(call, Fault::UnknownMethod, &format!("the bus has no method {member:?} here")),
    }
}

fn with_name(call: &Message, answer: impl FnOnce(&str) -> Reply) -> Reply {
    match call.body().deserialize::<(&str,)>() {
        Ok((name,)) => answer(name),
        Err(_) => fault(call, Fault::InvalidArgs, "one string is expected"),
    }
}

fn owner(name: &str) -> Option<&'static str> {
    match name {
        DRIVER => Some(DRIVER),
        BUS_NAME | UNIQUE_NAME => Some(UNIQUE_NAME),
        _ => None,
    }
}
