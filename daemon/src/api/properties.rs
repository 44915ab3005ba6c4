//! The constant properties. Set is refused before its value is parsed.

use std::collections::HashMap;

use cgroupd_proto::{INTERFACE, OBJECT_PATH, PROPERTIES};
use zbus::Message;
use zbus::Variant;

use super::reply::{Fault, Reply, fault, success};
use crate::cgroup::{Hierarchy, Version};
use crate::service::Service;

pub(super) fn answer(call: &Message, path: &str, member: &str, service: &Service) -> Reply {
    let body = call.body();
    match member {
        "Get" => match body.deserialize::<(&str, &str)>() {
            Ok((interface, name)) if ours(path, interface) => get(call, name, service),
            Ok((interface, _)) => unknown_interface(call, path, interface),
            Err(_) => fault(call, Fault::InvalidArgs, "Get takes \"ss\""),
        },
        "GetAll" => match body.deserialize::<(&str,)>() {
            Ok((interface,)) if ours(path, interface) => get_all(call, service),
            Ok((interface,)) if path != OBJECT_PATH || is_standard(interface) => {
                success(call, &(HashMap::<&str, Variant<'_>>::new(),))
            }
            Ok((interface,)) => unknown_interface(call, path, interface),
            Err(_) => fault(call, Fault::InvalidArgs, "GetAll takes \"s\""),
        },
        "Set" => fault(call, Fault::PropertyReadOnly, "all properties are constant"),
        _ => fault(call, Fault::UnknownMethod, &format!("properties have no method {member:?}")),
    }
}

/// An empty interface means any.
fn ours(path: &str, interface: &str) -> bool {
    path == OBJECT_PATH && (interface == INTERFACE || interface.is_empty())
}

fn is_standard(interface: &str) -> bool {
    interface.starts_with("org.freedesktop.DBus.")
}

fn unknown_interface(call: &Message, path: &str, interface: &str) -> Reply {
    let text = format!("{path} has no properties of the interface {interface:?}");
    fault(call, Fault::UnknownInterface, &text)
}

fn get(call: &Message, name: &str, service: &Service) -> Reply {
    match value(name, service) {
        Some(value) => success(call, &(value,)),
        None => fault(call, Fault::UnknownProperty, &format!("there is no property {name:?}")),
    }
}

fn get_all(call: &Message, service: &Service) -> Reply {
    let all: HashMap<&str, Variant<'_>> = PROPERTIES
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
