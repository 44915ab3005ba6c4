//! Introspection of the objects and of the paths that lead to them.

use cgroupd_proto::{OBJECT_PATH, cgmanager, introspection};
use zbus::Message;

use super::Cgmanager;
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
pub(super) fn is_object(path: &str, old: Cgmanager) -> bool {
    path == OBJECT_PATH
        || path == bus::DRIVER_PATH
        || path == cgmanager::OBJECT_PATH && old.is_served()
}

/// An object, or a path that leads to one.
pub(super) fn is_known(path: &str, old: Cgmanager) -> bool {
    is_object(path, old) || child_of(path, old).is_some()
}

/// The next steps from a path towards the objects.
fn child_of(path: &str, old: Cgmanager) -> Option<&'static [&'static str]> {
    match path {
        "/" => Some(&["org"]),
        "/org" if old.is_served() => Some(&["cgroupd1", "freedesktop", "linuxcontainers"]),
        "/org" => Some(&["cgroupd1", "freedesktop"]),
        "/org/linuxcontainers" if old.is_served() => Some(&["cgmanager"]),
        "/org/freedesktop" => Some(&["DBus"]),
        _ => None,
    }
}

/// Describes the object at `path`, for a client that has this much of cgmanager's interface.
pub(super) fn answer(call: &Message, path: &str, old: Cgmanager) -> Reply {
    if !is_known(path, old) {
        return fault(call, Fault::UnknownObject, &format!("there is no object {path:?}"));
    }
    let mut xml = format!("{DOCTYPE}<node>\n");
    if is_object(path, old) {
        xml.push_str(COMMON);
        xml.push_str(PROPERTIES);
    }
    match path {
        OBJECT_PATH => xml.push_str(&introspection()),
        bus::DRIVER_PATH => xml.push_str(bus::XML),
        cgmanager::OBJECT_PATH => xml.push_str(&cgmanager::introspection(old.has_scm())),
        _ => {}
    }
    for child in child_of(path, old).unwrap_or_default() {
        xml.push_str(&format!(" <node name=\"{child}\"/>\n"));
    }
    xml.push_str("</node>\n");
    success(call, &(xml,))
}
