//! `cgctl whoami`: what the daemon thinks of the caller, the caller first, then its places.

use serde_json::Value;

use crate::{
    exit::Failure,
    output::{number, object},
    request::{self, Map},
    session::Session,
};

pub(super) fn run(session: &mut Session) -> Result<(), Failure> {
    let caller = session.call(request::who_am_i(), "ask who I am")?;
    let output = &mut session.output;
    if output.json {
        return Ok(output.document(&to_json(&caller))?);
    }
    Ok(output.table(&sorted(&caller))?)
}

fn to_json(caller: &Map) -> Value {
    let fact = |name: &str, text: &str| match name {
        "uid" | "gid" => number(text),
        "proven" => text.parse().map_or_else(|_| text.into(), Value::Bool),
        _ => text.into(),
    };
    object(caller.iter().map(|(name, text)| (name.as_str(), fact(name, text))))
}

fn sorted(caller: &Map) -> Vec<Vec<String>> {
    const FIRST: [&str; 6] = ["class", "uid", "gid", "proven", "scope", "home"];
    let rank = |name: &str| {
        let group = name.split('.').next();
        FIRST.iter().position(|first| Some(*first) == group).unwrap_or(FIRST.len())
    };
    let mut names: Vec<&String> = caller.keys().collect();
    // Stable, and the map is sorted: within a group the hierarchies stay in order.
    names.sort_by_key(|name| rank(name));
    names.into_iter().map(|name| vec![name.clone(), caller[name].clone()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_comes_first_then_its_places() {
        let names = [
            "class",
            "uid",
            "gid",
            "proven",
            "scope.memory",
            "scope.pids",
            "home.memory",
            "home.pids",
            "refused-because",
        ];
        let caller = names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect();
        let rows = sorted(&caller);
        assert_eq!(rows.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), names);
    }

    #[test]
    fn json_has_numbers_and_truth() {
        let facts = [("uid", "1000"), ("gid", "0"), ("proven", "true"), ("class", "user")];
        let caller = facts.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        assert_eq!(
            to_json(&caller).to_string(),
            r#"{"class":"user","gid":0,"proven":true,"uid":1000}"#
        );
    }
}
