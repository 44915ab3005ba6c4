//! `cgctl ls`: the cgroups below one, page by page.

use serde_json::Value;

use super::or_home;
use crate::{
    exit::{Exit, Failure},
    output::{number, object},
    request::{self, Map},
    session::Session,
};

/// A cgroup as the daemon lists it: its path, and what is known of it.
pub(super) type Row = (String, Map);

const HEAD: [&str; 7] = ["MODE", "UID", "GID", "POPULATED", "CHILDREN", "CONTROLLERS", "PATH"];

pub(super) fn run(
    session: &mut Session,
    path: Option<&str>,
    long: bool,
    recursive: bool,
) -> Result<(), Failure> {
    let depth = if recursive { 0 } else { 1 };
    let mut documents = Vec::new();
    let mut head = long && !session.output.quiet;
    let incomplete = pages(session, path, depth, long, |session, rows| {
        let output = &mut session.output;
        if output.json {
            documents.extend(rows.iter().map(to_json));
        } else if long {
            let mut table: Vec<Vec<String>> = rows.iter().map(columns).collect();
            if std::mem::take(&mut head) {
                table.insert(0, HEAD.map(str::to_owned).to_vec());
            }
            output.table(&table)?;
        } else {
            rows.iter().try_for_each(|(path, _)| output.line(path))?;
        }
        Ok(())
    })?;
    if session.output.json {
        session.output.document(&documents.into())?;
    }
    incomplete.map_or(Ok(()), Err)
}

/// Hands on every page of a listing; answers a failure where not all could be listed.
pub(super) fn pages(
    session: &mut Session,
    path: Option<&str>,
    depth: u32,
    children: bool,
    mut page: impl FnMut(&mut Session, Vec<Row>) -> Result<(), Failure>,
) -> Result<Option<Failure>, Failure> {
    let (path, shown) = or_home(path);
    let doing = format!("list {shown}");
    let (mut after, mut left_out) = (String::new(), LeftOut::default());
    loop {
        let (mut rows, next) =
            session.call(request::list(path, depth, &after, children), &doing)?;
        rows.iter().for_each(|row| left_out.add(row));
        // The path that was asked about has a row only to say so.
        rows.retain(|(_, facts)| facts.contains_key("controllers"));
        page(session, rows)?;
        // A page that starts where the last one did would never end.
        if next.is_empty() || next == after {
            return Ok(left_out.failure());
        }
        after = next;
    }
}

/// What rows say of children that have no row.
#[derive(Debug, Default)]
struct LeftOut {
    count: u64,
    /// The first cgroup that has some.
    below: Option<String>,
}

impl LeftOut {
    fn add(&mut self, (path, facts): &Row) {
        let count = facts.get("left-out").and_then(|count| count.parse::<u64>().ok());
        self.count += count.unwrap_or(0);
        self.below = self.below.take().or_else(|| count.map(|_| path.clone()));
    }

    fn failure(self) -> Option<Failure> {
        let text =
            format!("{} cgroups are not listed, the first below {}", self.count, self.below?);
        let hint = "their names are too long for a path, or they lie too deep: rm -r of a cgroup \
                    above them removes them";
        Some(Failure::new(Exit::Partial, text).hint(hint))
    }
}

fn columns((path, facts): &Row) -> Vec<String> {
    let fact = |name| facts.get(name).filter(|v| !v.is_empty()).map_or("-", String::as_str);
    let populated = match fact("populated") {
        "1" => "yes",
        "0" => "no",
        unknown => unknown,
    };
    [fact("mode"), fact("uid"), fact("gid"), populated, fact("children"), fact("controllers"), path]
        .map(str::to_owned)
        .into()
}

/// A row as JSON: numbers as numbers, but a mode as octal text.
pub(super) fn to_json((path, facts): &Row) -> Value {
    let fact = |name: &str, text: &str| match name {
        "controllers" => text.split(',').filter(|name| !name.is_empty()).collect(),
        "populated" => Value::Bool(text == "1"),
        "mode" => text.into(),
        _ => number(text),
    };
    let facts = facts.iter().map(|(name, text)| (name.as_str(), fact(name, text)));
    object([("path", path.as_str().into())].into_iter().chain(facts))
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use super::*;
    use crate::{
        output::Output,
        peer::{Place, reply, serve},
    };

    #[test]
    fn every_page_is_asked_for_once() {
        let (_place, listener, address) = Place::new("pages");
        let facts = |name: &str| Map::from([(name.to_owned(), "3".to_owned())]);
        let row = |path: &str| (path.to_owned(), facts("controllers"));
        let bare = ("/".to_owned(), facts("left-out"));
        let pages_left = Mutex::new(vec![(vec![row("/b")], ""), (vec![bare, row("/a")], "/a")]);
        let server = serve(listener, 2, move |call| {
            let (path, depth, after, limit, flags): (String, u32, String, u32, Vec<String>) =
                call.body().deserialize().unwrap();
            assert_eq!((path.as_str(), depth, limit), ("", 1, 0));
            let page = pages_left.lock().unwrap().pop().unwrap();
            assert_eq!((after.is_empty(), flags.len()), (page.1 == "/a", 0));
            vec![reply(call, &page)]
        });
        let mut session = Session::new(address, Duration::from_secs(10), Output::new(false, true));
        let mut seen = Vec::new();
        let collect = |_: &mut Session, rows: Vec<Row>| {
            seen.extend(rows.into_iter().map(|(path, _)| path));
            Ok(())
        };
        let incomplete = pages(&mut session, None, 1, false, collect).unwrap().unwrap();
        assert_eq!(seen, ["/a", "/b"]);
        assert_eq!(incomplete.exit, Exit::Partial);
        assert_eq!(incomplete.text, "3 cgroups are not listed, the first below /");
        server.join().unwrap();
    }

    fn row() -> Row {
        let facts = [
            ("controllers", "memory,pids"),
            ("populated", "1"),
            ("uid", "1000"),
            ("gid", "0"),
            ("mode", "0755"),
            ("children", "2"),
        ];
        ("/a/b".to_owned(), facts.map(|(k, v)| (k.to_owned(), v.to_owned())).into())
    }

    #[test]
    fn a_row_is_json_of_the_right_types() {
        assert_eq!(
            to_json(&row()).to_string(),
            r#"{"children":2,"controllers":["memory","pids"],"gid":0,"mode":"0755","#.to_owned()
                + r#""path":"/a/b","populated":true,"uid":1000}"#
        );
        let bare = ("/a".to_owned(), Map::from([("controllers".to_owned(), String::new())]));
        assert_eq!(to_json(&bare).to_string(), r#"{"controllers":[],"path":"/a"}"#);
    }

    #[test]
    fn a_row_has_the_columns_of_the_head() {
        assert_eq!(columns(&row()), ["0755", "1000", "0", "yes", "2", "memory,pids", "/a/b"]);
        assert_eq!(columns(&("/a".to_owned(), Map::new())), ["-", "-", "-", "-", "-", "-", "/a"]);
        assert_eq!(columns(&row()).len(), HEAD.len());
    }
}
