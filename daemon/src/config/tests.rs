use std::path::Path;

use super::*;

/// The mistakes in one file, as they are printed, without its path.
fn mistakes(text: &str) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.toml");
    std::fs::write(&file, text).unwrap();
    let problems = load(&Sources::Only(file.clone()), &[], Groups::Now).map(|_| ()).err();
    let prefix = format!("{}:", file.display());
    let lines = problems.into_iter().flat_map(|problems| problems.0);
    lines.map(|problem| problem.to_string().replace(&prefix, "")).collect()
}

#[test]
fn every_mistake_has_its_line_and_a_way_out() {
    for (text, expected) in [
        ("", vec![]),
        ("[socket]\nmode = \"0660\"", vec![]),
        ("rot = \"/\"", vec!["1: unknown key `rot`; did you mean `root`?"]),
        (
            "\n[socket]\npth = \"/x\"\n",
            vec!["3: unknown key `socket.pth`; did you mean `socket.path`?"],
        ),
        (
            "[system_bus]\nenable = false",
            vec!["1: unknown key `system_bus`; did you mean `system-bus`?"],
        ),
        ("[quota]\nzzz = 1", vec!["2: unknown key `quota.zzz`; known here: cgroups, depth"]),
        ("socket = 3", vec!["1: `socket` is a table; write [socket] and its keys below"]),
        (
            "[log]\nlevel = \"loud\"",
            vec![
                "2: `log.level`: unknown variant `loud`, expected one of `error`, `warn`, \
                 `info`, `debug`, `trace`",
            ],
        ),
        (
            "[socket]\nmode = \"888\"",
            vec!["2: `socket.mode`: \"888\" is not a mode; write octal digits, as in \"0660\""],
        ),
        ("root = \"a\"", vec!["1: `root`: \"a\" must start with /, or be \"auto\""]),
        ("root = \"/a/../b\"", vec!["1: `root`: `..` is not allowed in a path"]),
        (
            "[socket]\npath = \"s\"",
            vec!["2: `socket.path`: \"s\" is not the absolute path of a file"],
        ),
        (
            "[socket]\ngroup = \"no-such-group\"",
            vec!["2: `socket.group`: there is no group \"no-such-group\""],
        ),
        (
            "[limits]\nmessage-in = 100",
            vec!["2: `limits.message-in`: 100 is not between 16384 and 134217728"],
        ),
        ("[quota]\ndepth = 33", vec!["2: `quota.depth`: 33 is not between 1 and 32"]),
        (
            "[limits]\nconnections = 10\nconnections-per-key = 11",
            vec!["3: `limits.connections-per-key`: 11 is more than connections, which is 10"],
        ),
    ] {
        assert_eq!(mistakes(text), expected, "{text:?}");
    }
}

/// The parser takes these for well-formed, and none of them for a number. A file with one of
/// them must not pass as a file without any key.
#[test]
fn a_file_with_a_number_that_is_none_is_refused() {
    for number in ["99999999999999999999", "0x", "0b2", "1e", "0xfffffffffffffffff"] {
        let found = mistakes(&format!("root = \"/a\"\n[quota]\ndepth = {number}\n"));
        assert!(matches!(&found[..], [one] if one.starts_with("3: ")), "{number}: {found:?}");
    }
    assert_eq!(mistakes("root = \"/a\"\n[quota]\ndepth = 0x10\n"), Vec::<String>::new());
}

#[test]
fn a_mode_is_octal_digits_and_nothing_else() {
    for (text, expected) in
        [("0666", Some(0o666)), ("600", Some(0o600)), ("0o600", None), ("+600", None)]
            .into_iter()
            .chain([("", None), ("1777", None), ("-1", None), ("６６６", None)])
    {
        assert_eq!(Mode::try_from(text.to_owned()).ok(), expected.map(Mode), "{text:?}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let found = mistakes("root = 1\nroof = 2\n[limits]\nconnections = -1\n");
    let lines: Vec<&str> = found.iter().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(lines, ["1", "2", "4"], "{found:?}");
}

#[test]
fn broken_syntax_has_a_line() {
    let found = mistakes("root = \"/\"\n[socket\nmode = \"0600\"\n");
    assert!(found.iter().any(|line| line.starts_with("2: ")), "{found:?}");
}

/// A main file and drop-ins below `/etc` and `/usr/lib`, in a temporary directory.
fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Sources) {
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path);
    for name in ["usr", "etc"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    for (path, text) in files {
        std::fs::write(at(path), text).unwrap();
    }
    let sources = Sources::Standard { main: at("main.toml"), drop_ins: vec![at("usr"), at("etc")] };
    (directory, sources)
}

#[test]
fn no_file_is_needed() {
    let (_directory, sources) = tree(&[]);
    let loaded = load(&sources, &[], Groups::Now).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.files, Vec::<PathBuf>::new());
}

#[test]
fn drop_ins_merge_by_key_and_mask_by_name() {
    let (directory, sources) = tree(&[
        ("main.toml", "root = \"/main\"\n[socket]\npath = \"/main\"\nmode = \"0600\""),
        ("usr/10-a.toml", "[socket]\npath = \"/usr-10\""),
        ("usr/20-b.toml", "root = \"/usr-20\""),
        ("etc/20-b.toml", "[log]\nlevel = \"debug\""),
        ("etc/15-c.toml", "[socket]\npath = \"/etc-15\""),
        ("etc/.hidden.toml", "nonsense"),
        ("etc/README", "nonsense"),
    ]);
    let Loaded { config, files } = load(&sources, &[], Groups::Now).unwrap();
    assert_eq!(config.root, "/main", "the distribution's 20-b is masked");
    assert_eq!(config.socket.path, Path::new("/etc-15"), "later names win");
    assert_eq!(config.socket.mode, Mode(0o600), "tables merge key by key");
    assert_eq!(config.log.level, Level::Debug);
    let expected = ["main.toml", "usr/10-a.toml", "etc/15-c.toml", "etc/20-b.toml"];
    assert_eq!(files, expected.map(|path| directory.path().join(path)));
}

#[test]
fn a_value_out_of_range_is_blamed_on_the_file_that_set_it_last() {
    let (directory, sources) =
        tree(&[("main.toml", "[quota]\ndepth = 4"), ("etc/a.toml", "\n[quota]\ndepth = 0")]);
    let found = load(&sources, &[], Groups::Now).unwrap_err().to_string();
    let place = directory.path().join("etc/a.toml");
    assert_eq!(found, format!("{}:3: `quota.depth`: 0 is not between 1 and 32", place.display()));
}

#[test]
fn a_named_file_must_exist() {
    let found = load(&Sources::Only("/nonexistent/x.toml".into()), &[], Groups::Now)
        .unwrap_err()
        .to_string();
    assert_eq!(found, "/nonexistent/x.toml: cannot read it: no such file or directory (ENOENT)");
}

#[test]
fn options_come_last_and_are_checked_alike() {
    let (_directory, sources) = tree(&[("main.toml", "root = \"/main\"")]);
    let root = |value: &str| Override { option: "--root", key: "root", value: value.into() };
    assert_eq!(load(&sources, &[root("/cli")], Groups::Now).unwrap().config.root, "/cli");
    let found = load(&sources, &[root("cli")], Groups::Now).unwrap_err().to_string();
    assert_eq!(found, "--root: `root`: \"cli\" must start with /, or be \"auto\"");
}

#[test]
fn keys_that_differ_are_named() {
    let (mut one, two) = (Config::default(), Config::default());
    assert_eq!(one.differing_keys(&two), Vec::<String>::new());
    one.limits.connections = 7;
    one.root = "/x".to_owned();
    assert_eq!(one.differing_keys(&two), ["limits.connections", "root"]);
}

/// The file that ships documents every key with its default: with the comment signs before
/// settings taken away it is exactly the default configuration.
#[test]
fn the_shipped_file_has_every_key_and_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/cgroupd.toml");
    let shipped = std::fs::read_to_string(&path).unwrap();
    let as_it_is = shipped.parse::<Table>().unwrap();
    assert_eq!(leaves(&as_it_is).len(), 0, "everything is commented out");

    let setting = |line: &&str| line.starts_with("#[") || line.contains(" = ");
    let lines = shipped.lines().map(|line| match Some(line).filter(setting) {
        Some(line) => line.strip_prefix('#').unwrap_or(line),
        None => line,
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let mut shown = text.parse::<Table>().unwrap();
    // Of this one there is none by default: it shows what each key is in one that says nothing.
    let delegate = shown.insert("delegate".to_owned(), Value::Array(Vec::new())).unwrap();
    assert_eq!(
        delegate.as_array().unwrap()[..],
        [Table::try_from(Delegate::default()).unwrap().into()]
    );
    assert_eq!(shown, as_table(&Config::default()));
    let text = text.replace("\nusers = []", "\nusers = [\"alice\"]");
    assert_eq!(mistakes(&text), Vec::<String>::new());
}

#[test]
fn each_delegation_has_its_line_and_all_files_count() {
    let text = "[[delegate]]\nusers = [\"alice\"]\n\n[[delegate]]\nuser = []\n\n[[delegate]]\n\
                groups = [\"no-such-group\"]\nlimits = { \"memory.max\" = \"1X\" }\n[[delegate]]\n\
                users = [1000]\n";
    let found = mistakes(text);
    for (found, expected) in found.iter().zip([
        "5: unknown key `delegate.user`; did you mean `delegate.users`?",
        "8: `delegate.groups`: there is no group",
        "9: `delegate.limits`: memory.max: \"1X\"",
        "11: `delegate.users`: invalid type",
    ]) {
        assert!(found.starts_with(expected), "{found:?} is not {expected:?}");
    }
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(mistakes("[[delegate]]\n")[0].starts_with("1: [[delegate]]: it names neither"));
    let table = mistakes("[delegate]\nusers = [\"alice\"]\n");
    assert_eq!(table, ["1: there can be several: write [[delegate]] and its keys below"]);

    let directory = tempfile::tempdir().unwrap();
    let mut draft = draft::Draft::new(Groups::Now);
    for (file, user) in [("a.toml", "alice"), ("b.toml", "bob")] {
        let text = format!("[[delegate]]\nusers = [\"{user}\"]\n");
        draft.add_file(&directory.path().join(file), &text);
    }
    let config = draft.finish().unwrap();
    let users: Vec<_> = config.delegate.iter().map(|rule| rule.users[0].as_str()).collect();
    assert_eq!(users, ["alice", "bob"]);
}

#[test]
fn groups_are_numbers_without_a_look_up_or_names() {
    assert_eq!(mistakes("[socket]\ngroup = \"12345\"\n"), Vec::<String>::new());
    assert_eq!(mistakes("[[delegate]]\ngroups = [\"12345\"]\n"), Vec::<String>::new());
    for number in ["4294967295", "99999999999"] {
        let found = mistakes(&format!("[socket]\ngroup = \"{number}\"\n"));
        assert_eq!(found, [format!("2: `socket.group`: there is no group \"{number}\"")]);
    }
    assert_eq!(group_id("0"), Ok(Some(0)));
    // What only the rules need is not asked for at start.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.toml");
    std::fs::write(&file, "[[delegate]]\ngroups = [\"no-such-group\"]\n").unwrap();
    assert!(load(&Sources::Only(file.clone()), &[], Groups::Later).is_ok());
    assert!(load(&Sources::Only(file), &[], Groups::Now).is_err());
}
