//! `cgctl info`: the daemon's version, and what this machine offers it.

use std::collections::HashMap;

use serde_json::{Value, json};
use zbus::OwnedVariant;

use super::ls::Row;
use crate::{
    exit::{Exit, Failure},
    output::{number, object},
    request::{self, Map, Properties},
    session::Session,
};

/// The daemon's constant properties.
#[derive(Debug, PartialEq)]
struct Info {
    version: String,
    layout: String,
    controllers: Vec<Row>,
    features: Vec<String>,
}

pub(super) fn run(session: &mut Session) -> Result<(), Failure> {
    let properties = session.call(request::properties(), "ask cgroupd about itself")?;
    let info = Info::read(properties)?;
    let output = &mut session.output;
    match output.json {
        true => output.document(&info.to_json())?,
        false => output.table(&info.rows())?,
    }
    Ok(())
}

impl Info {
    fn read(mut properties: Properties) -> Result<Self, Failure> {
        let mut controllers =
            take::<Vec<(String, HashMap<String, String>)>>(&mut properties, "Controllers")?;
        controllers.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Self {
            version: take(&mut properties, "Version")?,
            layout: take(&mut properties, "Layout")?,
            controllers: controllers
                .into_iter()
                .map(|(name, facts)| (name, facts.into_iter().collect::<Map>()))
                .collect(),
            features: take(&mut properties, "Features")?,
        })
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect();
        let mut rows: Vec<Vec<String>> =
            vec![row(&["version", &self.version]), row(&["layout", &self.layout])];
        let mut label = "controllers";
        for (name, facts) in &self.controllers {
            let fact = |key| facts.get(key).map_or("-", String::as_str);
            let version = format!("v{}", fact("version"));
            rows.push(row(&[label, name, &version, fact("hierarchy"), fact("mount")]));
            label = "";
        }
        rows.push(vec!["features".to_owned(), self.features.join(" ")]);
        rows
    }

    fn to_json(&self) -> Value {
        let controllers = self.controllers.iter().map(|(name, facts)| {
            let fact = |key: &str, text: &str| match key {
                "version" => number(text),
                _ => text.into(),
            };
            let facts = facts.iter().map(|(key, text)| (key.as_str(), fact(key, text)));
            object([("name", name.as_str().into())].into_iter().chain(facts))
        });
        json!({
            "version": self.version,
            "layout": self.layout,
            "controllers": controllers.collect::<Value>(),
            "features": self.features,
        })
    }
}

fn take<T: TryFrom<OwnedVariant>>(properties: &mut Properties, name: &str) -> Result<T, Failure> {
    let value = properties.remove(name).and_then(|value| T::try_from(value).ok());
    value.ok_or_else(|| {
        let text = format!("cannot ask cgroupd about itself: it has no property {name}");
        Failure::new(Exit::Other, text)
    })
}

#[cfg(test)]
mod tests {
    use zbus::Variant;

    use super::*;

    fn properties() -> Properties {
        let facts = [("version", "2"), ("hierarchy", "unified"), ("mount", "/sys/fs/cgroup")];
        let facts: HashMap<String, String> =
            facts.map(|(key, text)| (key.to_owned(), text.to_owned())).into();
        let controllers = vec![("pids".to_owned(), facts.clone()), ("memory".to_owned(), facts)];
        [
            ("Version", Variant::from("0.1.0")),
            ("Layout", Variant::from("unified")),
            ("Controllers", Variant::from(controllers)),
            ("Features", Variant::from(vec!["kill", "psi"])),
        ]
        .map(|(name, value)| (name.to_owned(), value.try_to_owned().unwrap()))
        .into()
    }

    #[test]
    fn controllers_are_listed_in_order_below_one_label() {
        let rows = Info::read(properties()).unwrap().rows();
        assert_eq!(rows[0], ["version", "0.1.0"]);
        assert_eq!(rows[2], ["controllers", "memory", "v2", "unified", "/sys/fs/cgroup"]);
        assert_eq!(rows[3][..2], ["", "pids"]);
        assert_eq!(rows[4], ["features", "kill psi"]);
    }

    #[test]
    fn json_has_the_version_of_a_controller_as_a_number() {
        let document = Info::read(properties()).unwrap().to_json();
        assert_eq!(document["controllers"][0]["name"], "memory");
        assert_eq!(document["controllers"][0]["version"], 2);
        assert_eq!(document["features"], json!(["kill", "psi"]));
    }

    #[test]
    fn a_missing_property_is_named() {
        let mut properties = properties();
        properties.remove("Layout");
        let failure = Info::read(properties).unwrap_err();
        assert!(failure.text.ends_with("no property Layout"), "{}", failure.text);
    }
}
