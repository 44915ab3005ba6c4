//! Limits on the command line, and as they are shown: human units for people, numbers in JSON.
//!
//! Values are not judged here. What is a size is the daemon's to say, once for all clients.

use cgroupd_proto::{format_cpus, format_size};
use serde_json::Value;

use crate::{
    cli::LimitArgs,
    exit::{Exit, Failure},
    output::{number, object},
    request::Map,
};

/// Limits in the order they were given.
pub(crate) type Limits = Vec<(String, String)>;

/// The limits of the options and of further `NAME=VALUE`s. Saying one twice is fine, saying two
/// things is not.
pub(crate) fn collect(options: LimitArgs, pairs: Vec<(String, String)>) -> Result<Limits, Failure> {
    let LimitArgs { memory, cpus, pids, limit } = options;
    let named = [("memory.max", memory), ("cpus", cpus), ("pids.max", pids)];
    let named = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let mut limits = Limits::new();
    for (name, value) in named.chain(limit).chain(pairs) {
        match limits.iter().find(|(known, _)| *known == name) {
            None => limits.push((name, value)),
            Some((_, known)) if *known == value => {}
            Some((_, known)) => {
                let text = format!("{name} is given twice, as {known:?} and as {value:?}");
                return Err(Failure::new(Exit::Usage, text));
            }
        }
    }
    Ok(limits)
}

/// The name under which a limit is read back: `cpus` is only a way to write `cpu.max`.
pub(crate) fn canonical(name: &str) -> &str {
    if name == "cpus" { "cpu.max" } else { name }
}

/// `NAME=VALUE` in human units. The rows of io.max stay on one line, `; ` between them: what is
/// shown can be set again.
pub(crate) fn show(name: &str, value: &str) -> String {
    format!("{name}={}", human(name, value))
}

fn human(name: &str, value: &str) -> String {
    let in_bytes = name.starts_with("memory.") || name.starts_with("hugetlb.");
    match value.parse() {
        Ok(bytes) if in_bytes => format_size(bytes),
        _ if name == "cpu.max" => format_cpus(value),
        _ => value.to_owned(),
    }
}

/// A value for JSON. A CPU list stays a string: `3` is no more a number than `0-3` is.
pub(crate) fn value(name: &str, value: &str) -> Value {
    if name.starts_with("cpuset.") { value.into() } else { number(value) }
}

/// All of them as one JSON object.
pub(crate) fn to_json(limits: &Map) -> Value {
    object(limits.iter().map(|(name, text)| (name.as_str(), value(name, text))))
}

/// The lines of `show` for all of them: first those `asked` for, in that order, then the rest.
pub(crate) fn lines<'a>(limits: &'a Map, asked: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<&str> = Vec::with_capacity(limits.len());
    for name in asked.map(canonical).chain(limits.keys().map(String::as_str)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let known = names.into_iter().filter_map(|name| Some((name, limits.get(name)?)));
    known.map(|(name, value)| show(name, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn options_are_limits_in_order() {
        let options = LimitArgs {
            memory: Some("512M".into()),
            cpus: Some("1.5".into()),
            pids: Some("max".into()),
            limit: vec![pair("cpu.weight", "10")],
        };
        let limits = collect(options, vec![pair("memory.high", "1G"), pair("memory.max", "512M")]);
        let names: Vec<_> = limits.unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["memory.max", "cpus", "pids.max", "cpu.weight", "memory.high"]);
    }

    #[test]
    fn two_values_for_one_limit_are_a_usage_error() {
        let options = LimitArgs { memory: Some("1G".into()), ..LimitArgs::default() };
        let failure = collect(options, vec![pair("memory.max", "2G")]).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(failure.text, "memory.max is given twice, as \"1G\" and as \"2G\"");
    }

    #[test]
    fn values_are_shown_in_human_units() {
        for (name, value, shown) in [
            ("memory.max", "536870912", "512M"),
            ("memory.max", "max", "max"),
            ("hugetlb.2MB.max", "4194304", "4M"),
            ("cpu.max", "150000 100000", "150%"),
            ("pids.max", "1024", "1024"),
            ("cpu.weight", "1024", "1024"),
        ] {
            assert_eq!(human(name, value), shown, "{name}");
        }
        assert_eq!(show("io.max", "8:0 rbps=1; 8:16 rbps=2"), "io.max=8:0 rbps=1; 8:16 rbps=2");
    }

    #[test]
    fn the_read_back_comes_in_the_order_asked() {
        let limits = [
            pair("cpu.max", "150000 100000"),
            pair("memory.max", "536870912"),
            pair("memory.swap.max", "0"),
        ];
        let lines = lines(&limits.into_iter().collect(), ["memory.max", "cpus"].into_iter());
        assert_eq!(lines, ["memory.max=512M", "cpu.max=150%", "memory.swap.max=0"]);
    }

    #[test]
    fn json_has_numbers_for_decimals_only() {
        let limits = [
            pair("cpuset.cpus", "3"),
            pair("cpu.max", "max 100000"),
            pair("memory.max", "536870912"),
            pair("pids.max", "max"),
        ];
        assert_eq!(
            to_json(&limits.into_iter().collect()).to_string(),
            r#"{"cpu.max":"max 100000","cpuset.cpus":"3","memory.max":536870912,"pids.max":"max"}"#
        );
    }
}
