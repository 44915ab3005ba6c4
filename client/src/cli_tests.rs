//! The command line says what it should, and refuses what makes no sense.

use clap::{CommandFactory, error::ErrorKind};

use super::*;

fn parse(line: &str) -> Result<Cli, ErrorKind> {
    let words = std::iter::once("cgctl").chain(line.split(' ').filter(|word| !word.is_empty()));
    Cli::try_parse_from(words).map_err(|error| error.kind())
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn limits_are_written_the_same_everywhere() {
    for line in ["create a", "set a"] {
        let line = format!("{line} -m 1G --cpus 1.5 --pids-limit 10 -l io.weight=5 -l x=a=b");
        let (Command::Create { limits, .. } | Command::Set { limits, .. }) =
            parse(&line).unwrap().command
        else {
            panic!("{line}")
        };
        assert_eq!(limits.memory.as_deref(), Some("1G"));
        assert_eq!(limits.cpus.as_deref(), Some("1.5"));
        assert_eq!(limits.pids.as_deref(), Some("10"));
        let pairs: Vec<_> = limits.limit.iter().map(|(n, v)| format!("{n} {v}")).collect();
        assert_eq!(pairs, ["io.weight 5", "x a=b"]);
    }
}

#[test]
fn set_takes_pairs_after_its_path() {
    let line = "set a memory.high=1G cpuset.cpus= --dry-run --force";
    let Command::Set { path, pairs, dry_run, force, .. } = parse(line).unwrap().command else {
        panic!("{line}")
    };
    assert_eq!((path.as_str(), dry_run, force), ("a", true, true));
    assert_eq!(pairs[1], ("cpuset.cpus".to_owned(), String::new()));
}

#[test]
fn global_options_go_anywhere() {
    for line in ["-j -q --timeout 0.5 --address /s ls", "ls -jq --address /s --timeout 0.5"] {
        let cli = parse(line).unwrap();
        assert!(cli.json && cli.quiet, "{line}");
        assert_eq!(cli.address.as_deref(), Some("/s"));
        assert_eq!(cli.timeout, Duration::from_millis(500));
    }
    assert_eq!(parse("info").unwrap().timeout, Duration::from_secs(25));
}

#[test]
fn people_come_before_paths() {
    let Command::Chown { recursive, owner, paths } = parse("chown -R 1:2 a b").unwrap().command
    else {
        panic!()
    };
    assert_eq!((recursive, owner.as_str(), paths.len()), (true, "1:2", 2));
    let Command::Chmod { mode, path, file } = parse("chmod 755 a").unwrap().command else {
        panic!()
    };
    assert_eq!((mode.as_str(), path.as_str(), file), ("755", "a", None));
}

#[test]
fn a_watch_names_events_or_none() {
    for (line, named) in [("watch a", &[][..]), ("watch a oom_kill max", &["oom_kill", "max"])] {
        let Command::Watch { path, events } = parse(line).unwrap().command else {
            panic!("{line}")
        };
        assert_eq!((path.as_str(), events), ("a", named.iter().map(|n| (*n).to_owned()).collect()));
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for line in [
        "create",
        "create a -m 1G -m 2G",
        "create a -l memory.max",
        "create a -l =1G",
        "set",
        "set a memory.max",
        "rm",
        "freeze",
        "thaw",
        "kill",
        "kill -s",
        "kill memory:a",
        "move a",
        "ps",
        "watch",
        "watch memory:a",
        "chown 1",
        "chmod 755",
        "ls --timeout 0",
        "ls --timeout -1",
        "ls --timeout inf",
        "ls --timeout x",
        "rm memory,pids:test01",
        "run",
        "run --no-such-option true",
        "run --in",
        "delegate",
        "delegate 1 a --revoke -m 1G",
        "",
    ] {
        assert!(parse(line).is_err(), "{line:?}");
    }
}

#[test]
fn an_empty_path_is_never_the_whole_home() {
    for words in
        [&["rm", "-r", ""][..], &["create", ""], &["ls", ""], &["watch", ""], &["chown", "0", ""]]
    {
        assert!(Cli::try_parse_from([&["cgctl"], words].concat()).is_err(), "{words:?}");
        let named: Vec<_> =
            words.iter().map(|word| if word.is_empty() { "." } else { word }).collect();
        assert!(Cli::try_parse_from([&["cgctl"], &named[..]].concat()).is_ok(), "{named:?}");
    }
}

#[test]
fn only_known_controllers_make_libcgroups_form() {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (text, split) in [
        ("memory:a", Some((list(&["memory"]), "a"))),
        ("memory,pids:/a:b", Some((list(&["memory", "pids"]), "/a:b"))),
        ("memory,nope:a", None),
        ("memory,:a", None),
        (":a", None),
        ("./memory:a", None),
        ("test:01", None),
        ("memory", None),
    ] {
        assert_eq!(split_controllers(text), split, "{text:?}");
    }
    assert!(path("memory:a").unwrap_err().contains("\"./memory:a\""));
    assert_eq!(path("test:01"), Ok("test:01".to_owned()));
}
