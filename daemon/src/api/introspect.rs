//! Introspection of the objects and of the paths that lead to them.

use cgroupd_proto::{OBJECT_PATH, cgmanager, introspection};
use zbus::Message;

use super::bus;
use super::reply::{Fault, Reply, fault, success};

const DOCTYPE: &str = r#"<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
"#;

const COMMON: &str = r#" <interface name="org.freedesktop.DBus.Peer">
  <method name="Ping"/>
  <method name="GetMachineId"><arg type="s" direction="out"/></method>
 </interface>
 <interface name="org.freedesktop.DBus.Introspectable">
  <method name="Introspect"><arg name="data" type="s" direction="out"/></method>
 </interface>
"#;

const PROPERTIES: &str = r#" <interface name="org.freedesktop.DBus.Properties">
  <method name="Get"><arg type="s" direction="in"/><arg type="s" direction="in"/><arg type="v" direction="out"/></method>
  <method name="GetAll"><arg type="s" direction="in"/><arg type="a{sv}" direction="out"/></method>
  <method name="Set"><arg type="s" direction="in"/><arg type="s" direction="in"/><arg type="v" direction="in"/></method>
 </interface>
"#;

/// A path that has interfaces of its own.
pub(super) fn is_object(path: &str) -> bool {
    path == OBJECT_PATH || path == bus::DRIVER_PATH || path == cgmanager::OBJECT_PATH
}

/// An object, or a path that leads to one.
pub(super) fn is_known(path: &str) -> bool {
    is_object(path) || child_of(path).is_some()
}

/// The next steps from a path towards the objects.
fn child_of(path: &str) -> Option<&'static [&'static str]> {
    match path {
        "/" => Some(&["org"]),
        "/org" => Some(&["cgroupd1", "freedesktop", "linuxcontainers"]),
        "/org/linuxcontainers" => Some(&["cgmanager"]),
        "/org/freedesktop" => Some(&["DBus"]),
        _ => None,
    }
}

pub(super) fn answer(call: &Message, path: &str) -> Reply {
    if !is_known(path) {
        return fault(call, Fault::UnknownObject, &format!("there is no object {path:?}"));
    }
    let mut xml = format!("{DOCTYPE}<node>\n");
    if is_object(path) {
        xml.push_str(COMMON);
        xml.push_str(PROPERTIES);
    }
    match path {
        OBJECT_PATH => xml.push_str(&introspection()),
        bus::DRIVER_PATH => xml.push_str(bus::XML),
        cgmanager::OBJECT_PATH => xml.push_str(&cgmanager::introspection()),
        _ => {}
    }
    for child in child_of(path).unwrap_or_default() {
        xml.push_str(&format!(" <node name=\"{child}\"/>\n"));
    }
    xml.push_str("</node>\n");
    success(call, &(xml,))
}
