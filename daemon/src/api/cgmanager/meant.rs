//! Which hierarchies a controller argument means: a name, a named hierarchy with or without
//! `name=`, a comma list, or `all`, which is only valid alone. Pure.

use cgroupd_proto::ErrorName;

use crate::cgroup::{Hierarchy, Layout, Version};
use crate::service::unknown_controller;
use crate::{Error, Result};

/// One hierarchy that a call means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meant {
    /// Its place in the layout.
    pub(super) hierarchy: usize,
    /// The controllers that were named; none: the hierarchy as such.
    pub(super) controllers: Vec<String>,
}

/// Whether the argument may mean several hierarchies.
pub(super) fn is_list(controllers: &str) -> bool {
    controllers == "all" || controllers.contains(',')
}

/// Whether a hierarchy of a list is passed over for it.
pub(super) fn is_denied(error: &Error) -> bool {
    error.name == ErrorName::Denied || error.rule == Some("no-scope")
}

/// The hierarchies, each once and in the order they are first named; after them, where one is
/// unknown, the error: those before it are still meant.
pub(super) fn several(controllers: &str, layout: &Layout) -> Vec<Result<Meant>> {
    let hierarchies = &layout.hierarchies;
    if controllers == "all" {
        let meant = |hierarchy| Ok(Meant { hierarchy, controllers: Vec::new() });
        return (0..hierarchies.len()).map(meant).collect();
    }
    let mut meant: Vec<Meant> = Vec::new();
    let named = controllers.split(',').filter(|name| !name.is_empty());
    let mut unknown = controllers.trim_matches(',').is_empty().then_some("");
    for name in named {
        let Some(hierarchy) = find(name, layout) else {
            unknown = Some(name);
            break;
        };
        let known = meant.iter_mut().find(|meant| meant.hierarchy == hierarchy);
        let is_controller = hierarchies[hierarchy].controllers.iter().any(|c| c == name);
        let name = is_controller.then(|| name.to_owned());
        match known {
            Some(known) => {
                let new = name.filter(|name| !known.controllers.contains(name));
                known.controllers.extend(new);
            }
            None => meant.push(Meant { hierarchy, controllers: name.into_iter().collect() }),
        }
    }
    meant.into_iter().map(Ok).chain(unknown.map(|name| Err(unknown_controller(name)))).collect()
}

/// The one hierarchy: a list is fine when its controllers are mounted together.
///
/// # Errors
/// UnknownController, InvalidArgument for several.
pub(super) fn one(controllers: &str, layout: &Layout) -> Result<usize> {
    let mut meant = match controllers {
        "all" => Vec::new(),
        _ => several(controllers, layout).into_iter().collect::<Result<Vec<_>>>()?,
    };
    match (meant.pop(), meant.is_empty()) {
        (Some(only), true) => Ok(only.hierarchy),
        _ => Err(Error::new(
            ErrorName::InvalidArgument,
            format!("{controllers:?} means several hierarchies, and one is needed"),
        )),
    }
}

/// What ListControllers answers: sorted by the name without `name=`; controllers that are mounted
/// together are one entry, which is a list.
pub(super) fn list(layout: &Layout) -> Vec<String> {
    let mut names: Vec<String> = layout.hierarchies.iter().map(entry).collect();
    names.sort_by(|a, b| bare(a).cmp(bare(b)));
    names
}

fn entry(hierarchy: &Hierarchy) -> String {
    match hierarchy.version {
        Version::V2 if !hierarchy.controllers.is_empty() => hierarchy.controllers.join(","),
        _ => hierarchy.label.clone(),
    }
}

fn bare(name: &str) -> &str {
    name.strip_prefix("name=").unwrap_or(name)
}

/// By a controller or by its own name, of which `name=` may be left out.
fn find(name: &str, layout: &Layout) -> Option<usize> {
    layout.find(name).or_else(|| layout.find(&format!("name={name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hybrid() -> Layout {
        let hierarchies = vec![
            Hierarchy::pretended(Version::V1, "memory", &["memory"]),
            Hierarchy::pretended(Version::V1, "name=systemd", &[]),
            Hierarchy::pretended(Version::V1, "cpu,cpuacct", &["cpu", "cpuacct"]),
            Hierarchy::pretended(Version::V2, "unified", &["pids", "io"]),
        ];
        Layout { hierarchies }
    }

    /// The hierarchies with their named controllers, and how many are unknown.
    fn meant(text: &str) -> (Vec<(usize, Vec<String>)>, usize) {
        let found = several(text, &hybrid());
        let unknown = found.iter().filter(|meant| meant.is_err()).count();
        (found.into_iter().flatten().map(|m| (m.hierarchy, m.controllers)).collect(), unknown)
    }

    #[test]
    fn what_the_words_mean() {
        let named = |index, names: &[&str]| {
            (index, names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
        };
        for (text, expected, unknown) in [
            ("memory", vec![named(0, &["memory"])], 0),
            ("memory,", vec![named(0, &["memory"])], 0),
            ("systemd", vec![named(1, &[])], 0),
            ("name=systemd", vec![named(1, &[])], 0),
            (
                "cpuacct,memory,cpu,cpu",
                vec![named(2, &["cpuacct", "cpu"]), named(0, &["memory"])],
                0,
            ),
            ("cpu,cpuacct", vec![named(2, &["cpu", "cpuacct"])], 0),
            ("unified", vec![named(3, &[])], 0),
            ("all", (0..4).map(|index| named(index, &[])).collect(), 0),
            ("memory,nosuch,cpu", vec![named(0, &["memory"])], 1),
            ("name=memory", vec![], 1),
            ("all,memory", vec![], 1),
            ("", vec![], 1),
            (",", vec![], 1),
        ] {
            assert_eq!(meant(text), (expected, unknown), "{text:?}");
        }
    }

    #[test]
    fn one_hierarchy_by_any_list_of_its_controllers() {
        let one = |text| one(text, &hybrid()).ok();
        assert_eq!(one("cpu,cpuacct"), Some(2));
        assert_eq!(one("io"), Some(3));
        for text in ["all", "cpu,memory", "nosuch", "memory,nosuch", ""] {
            assert_eq!(one(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_list_is_sorted_by_bare_name() {
        assert_eq!(list(&hybrid()), ["cpu,cpuacct", "memory", "pids,io", "name=systemd"]);
    }
}
