//! How the story is printed: each call, and what the kernel shows afterwards.

use std::fmt::Display;
use std::path::Path;

/// Whatever goes wrong ends the play with its text.
pub(super) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A line of the narrator.
pub(super) fn text(line: impl Display) {
    println!("{line}");
}

/// A chapter.
pub(super) fn title(line: &str) {
    println!("\n== {line}");
}

/// A call that must succeed, and its answer.
pub(super) fn call<T>(
    call: &str,
    answer: zbus::Result<T>,
    show: impl Fn(&T) -> String,
) -> Result<T> {
    match answer {
        Ok(value) => {
            println!("  {call}\n      -> {}", show(&value));
            Ok(value)
        }
        Err(error) => Err(format!("{call}: {}", reason(&error)).into()),
    }
}

/// A call that must be refused.
pub(super) fn refused<T>(call: &str, answer: zbus::Result<T>) -> Result<()> {
    match answer {
        Ok(_) => Err(format!("{call} should have been refused").into()),
        Err(error) => {
            println!("  {call}\n      refused: {}", reason(&error));
            Ok(())
        }
    }
}

/// What the kernel says in a file.
pub(super) fn kernel(path: &Path, wanted: impl Fn(&str) -> bool) {
    let content = std::fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
    for line in content.lines().filter(|line| wanted(line)) {
        println!("      kernel: {}: {line}", path.display());
    }
}

/// The two lines of `/proc/PID/cgroup` that tell the most: memory's and cgroup2's.
pub(super) fn telling(line: &str) -> bool {
    line.contains(":memory:") || line.starts_with("0::")
}

/// An error's D-Bus name without its prefix, and its first line.
fn reason(error: &zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(name, text, _) => {
            let short = name.rsplit('.').next().unwrap_or(name);
            let text = text.as_deref().unwrap_or_default();
            format!("{short}: {}", text.lines().next().unwrap_or_default())
        }
        error => error.to_string(),
    }
}
