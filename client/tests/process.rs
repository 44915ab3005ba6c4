//! cgctl as its users run it: what is printed where, and the exit status.

use std::process::{Command, Output, Stdio};

fn cgctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cgctl"))
        .args(arguments)
        .env_remove("CGROUPD_ADDRESS")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn without_a_daemon_the_hint_says_where_and_how() {
    for line in [&["create", "a"][..], &["ls"], &["whoami", "-j"], &["rm", "a", "b"]] {
        let output = cgctl(&[&["--address", "/nonexistent/sock"], line].concat());
        assert_eq!(output.status.code(), Some(6), "{line:?}");
        assert!(output.stdout.is_empty());
        let stderr = text(&output.stderr);
        let lines: Vec<&str> = stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{stderr}");
        assert!(lines[0].starts_with("cgctl: cannot "), "{stderr}");
        assert!(lines[0].ends_with("no such file or directory (ENOENT)"), "{stderr}");
        assert!(lines[1].starts_with("hint: "), "{stderr}");
        assert!(lines[1].contains("unix:path=/nonexistent/sock"), "{stderr}");
        assert!(lines[1].contains("cgroupd --socket /nonexistent/sock"), "{stderr}");
    }
}

#[test]
fn the_address_comes_from_the_option_before_the_environment() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cgctl"));
        let command = command.args(arguments).env("CGROUPD_ADDRESS", "unix:path=/nonexistent/env");
        text(&command.output().unwrap().stderr)
    };
    assert!(run(&["ls"]).contains("/nonexistent/env"));
    assert!(run(&["ls", "--address", "/nonexistent/option"]).contains("/nonexistent/option"));
}

#[test]
fn what_needs_no_daemon_to_be_wrong_is_told_without_one() {
    for (line, status, said) in [
        (&["create", "a", "-m", "1G", "-l", "memory.max=2G"][..], 2, "given twice"),
        (&["set", "a"], 2, "none is given"),
        (&["create"], 2, "required"),
        (&["create", "memory:a", "--controllers", "pids"], 2, "--controllers pids"),
        (&["rm", "memory:a"], 2, "only create takes controllers"),
        (&["rm", "-r", ""], 2, "a path is needed"),
        (&["froze", "a"], 2, "unrecognized subcommand"),
        (&["--address", "tcp:host=x,port=1", "ls"], 8, "no unix socket"),
        (&["chown", "01", "a"], 8, "there is no user \"01\""),
        (&["chown", "0:0x1", "a"], 8, "there is no group \"0x1\""),
        (&["chmod", "9", "a"], 8, "not an octal mode"),
        (&["move", "a", "0"], 8, "not a process number"),
    ] {
        let output = cgctl(line);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{line:?}: {stderr}");
        assert!(stderr.contains(said), "{line:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{line:?}");
    }
}

#[test]
fn help_and_version_are_results() {
    let output = cgctl(&["-V"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), format!("cgctl {}\n", env!("CARGO_PKG_VERSION")));
    let output = cgctl(&["create", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    for option in ["--memory", "--cpus", "--pids", "--limit", "--controllers", "--json"] {
        assert!(text(&output.stdout).contains(option), "{option}");
    }
}

#[test]
fn completions_know_every_command_and_its_options() {
    for shell in ["bash", "zsh", "fish"] {
        let output = cgctl(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        let script = text(&output.stdout);
        for word in ["create", "whoami", "dry-run", "controllers", "memory"] {
            assert!(script.contains(word), "{shell} lacks {word}");
        }
    }
}
