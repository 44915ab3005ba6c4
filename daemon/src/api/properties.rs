//! The constant properties. Set is refused before its value is parsed.

use std::collections::HashMap;

use cgroupd_proto::{INTERFACE, OBJECT_PATH, PROPERTIES, Property, cgmanager};
use zbus::Message;
use zbus::Variant;

use super::bus;
use super::reply::{Fault, Reply, fault, success};
use crate::cgroup::{Hierarchy, Version};
use crate::service::Service;

pub(super) fn answer(call: &Message, path: &str, member: &str, service: &Service) -> Reply {
    let body = call.body();
    match member {
        "Get" => match body.deserialize::<(&str, &str)>() {
            Ok((interface, name)) => match of(path, interface) {
                Some(properties) => get(call, properties, name, service),
                None => unknown_interface(call, path, interface),
            },
            Err(_) => fault(call, Fault::InvalidArgs, "Get takes \"ss\""),
        },
        "GetAll" => match body.deserialize::<(&str,)>() {
            Ok((interface,)) => match of(path, interface) {
                Some(properties) => get_all(call, properties, service),
                None if is_standard(path, interface) => get_all(call, &[], service),
                None => unknown_interface(call, path, interface),
            },
            Err(_) => fault(call, Fault::InvalidArgs, "GetAll takes \"s\""),
        },
        "Set" => fault(call, Fault::PropertyReadOnly, "all properties are constant"),
        _ => fault(call, Fault::UnknownMethod, &format!("properties have no method {member:?}")),
    }
}

/// The properties of an interface of the object at `path`; an empty interface means any.
fn of(path: &str, interface: &str) -> Option<&'static [Property]> {
    match (path, interface) {
        (OBJECT_PATH, INTERFACE | "") => Some(PROPERTIES),
        (cgmanager::OBJECT_PATH, cgmanager::INTERFACE | "") => Some(cgmanager::PROPERTIES),
        _ => None,
    }
}

/// An interface without properties: the standard ones, and all that the driver's object has.
fn is_standard(path: &str, interface: &str) -> bool {
    path == bus::DRIVER_PATH || interface.starts_with("org.freedesktop.DBus.")
}

fn unknown_interface(call: &Message, path: &str, interface: &str) -> Reply {
    let text = format!("{path} has no properties of the interface {interface:?}");
    fault(call, Fault::UnknownInterface, &text)
}

fn get(call: &Message, properties: &[Property], name: &str, service: &Service) -> Reply {
    let known = properties.iter().any(|property| property.name == name);
    match value(name, service).filter(|_| known) {
        Some(value) => success(call, &(value,)),
        None => fault(call, Fault::UnknownProperty, &format!("there is no property {name:?}")),
    }
}

fn get_all(call: &Message, properties: &[Property], service: &Service) -> Reply {
    let all: HashMap<&str, Variant<'_>> = properties
        .iter()
        .filter_map(|property| value(property.name, service).map(|value| (property.name, value)))
        .collect();
    success(call, &(all,))
}

fn value(name: &str, service: &Service) -> Option<Variant<'static>> {
    Some(match name {
        "Version" => Variant::from(env!("CARGO_PKG_VERSION")),
        "Layout" => Variant::from(service.layout.kind().as_str()),
        "Controllers" => Variant::from(controllers(service)),
        "Features" => Variant::from(service.features.clone()),
        "api_version" => Variant::from(cgmanager::API_VERSION),
        _ => return None,
    })
}

/// One row per controller, and one for each hierarchy that has a name instead.
fn controllers(service: &Service) -> Vec<(String, HashMap<String, String>)> {
    let mut rows = Vec::new();
    for hierarchy in &service.layout.hierarchies {
        let row = describe(hierarchy);
        let named = hierarchy.controllers.is_empty() || hierarchy.version == Version::V2;
        let names = hierarchy.controllers.iter().chain(named.then_some(&hierarchy.label));
        rows.extend(names.map(|name| (name.clone(), row.clone())));
    }
    rows
}

fn describe(hierarchy: &Hierarchy) -> HashMap<String, String> {
    let version = if hierarchy.version == Version::V1 { "1" } else { "2" };
    HashMap::from([
        ("version".to_owned(), version.to_owned()),
        ("hierarchy".to_owned(), hierarchy.label.clone()),
        ("mount".to_owned(), hierarchy.mount.display().to_string()),
    ])
}
