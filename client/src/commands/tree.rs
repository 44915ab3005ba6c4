//! `cgctl tree`: draws the cgroups below one.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    ls::{Row, pages, to_json},
    or_home,
};
use crate::{exit::Failure, session::Session};

/// A cgroup in the drawing, and what is below it by name.
#[derive(Debug, Default)]
struct Node {
    row: Option<Row>,
    below: BTreeMap<String, Node>,
}

pub(super) fn run(session: &mut Session, path: Option<&str>) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let incomplete = pages(session, path, 0, false, |_, page| {
        rows.extend(page);
        Ok(())
    })?;
    let (_, base) = or_home(path);
    let root = Node::plant(rows);
    let output = &mut session.output;
    if output.json {
        let below = root.to_json();
        output.document(&json!({ "path": base, "children": below }))?;
        return incomplete.map_or(Ok(()), Err);
    }
    output.line(base)?;
    let mut lines = Vec::new();
    root.draw("", &mut lines);
    lines.iter().try_for_each(|line| output.line(line))?;
    incomplete.map_or(Ok(()), Err)
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty())
}

impl Node {
    /// Grows the tree. The base's own path is not told when it is relative: the base is the
    /// parent of the rows that are highest up.
    fn plant(rows: Vec<Row>) -> Self {
        let highest = rows.iter().map(|(path, _)| names(path).count()).min().unwrap_or(1);
        let mut root = Self::default();
        for row in rows {
            let mut node = &mut root;
            for name in names(&row.0).skip(highest - 1) {
                node = node.below.entry(name.to_owned()).or_default();
            }
            node.row = Some(row);
        }
        root
    }

    fn draw(&self, indent: &str, lines: &mut Vec<String>) {
        let last = self.below.len().saturating_sub(1);
        for (at, (name, node)) in self.below.iter().enumerate() {
            let (branch, trunk) =
                if at == last { ("└── ", "    ") } else { ("├── ", "│   ") };
            lines.push(format!("{indent}{branch}{name}"));
            node.draw(&format!("{indent}{trunk}"), lines);
        }
    }

    fn to_json(&self) -> Value {
        let node = |(name, node): (&String, &Self)| {
            let mut value = node.row.as_ref().map_or_else(|| json!({}), to_json);
            value["name"] = name.as_str().into();
            value["children"] = node.to_json();
            value
        };
        self.below.iter().map(node).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plant(paths: &[&str]) -> Node {
        Node::plant(paths.iter().map(|path| ((*path).to_owned(), BTreeMap::new())).collect())
    }

    #[test]
    fn branches_are_drawn_below_their_base() {
        let mut lines = Vec::new();
        plant(&["/home/b", "/home/a", "/home/a/x", "/home/a/x/1", "/home/a/y"])
            .draw("", &mut lines);
        assert_eq!(lines, ["├── a", "│   ├── x", "│   │   └── 1", "│   └── y", "└── b"]);
    }

    #[test]
    fn nothing_below_is_nothing() {
        let mut lines = Vec::new();
        plant(&[]).draw("", &mut lines);
        assert!(lines.is_empty());
        assert_eq!(plant(&[]).to_json().to_string(), "[]");
    }

    #[test]
    fn json_nests() {
        assert_eq!(
            plant(&["/a", "/a/b"]).to_json(),
            json!([{
                "name": "a", "path": "/a",
                "children": [{ "name": "b", "path": "/a/b", "children": [] }],
            }])
        );
    }
}
