//! What is printed: results on stdout, failures on stderr, colour only where someone looks.
//!
//! Names of cgroups and processes are other people's text. What a terminal would obey is
//! escaped; JSON does its own escaping.

use std::{
    env,
    io::{self, BufWriter, IsTerminal, StdoutLock, Write},
};

use cgroupd_proto::printable;
use serde_json::{Map, Value};

use crate::exit::Failure;

/// Where results go, and in which form.
pub(crate) struct Output {
    /// As JSON, one document per line.
    pub(crate) json: bool,
    /// Only what was asked for.
    pub(crate) quiet: bool,
    stdout: BufWriter<StdoutLock<'static>>,
}

impl Output {
    /// Standard output.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet, stdout: BufWriter::new(io::stdout().lock()) }
    }

    /// Prints a line, with what a terminal would obey escaped.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.stdout, "{}", printable(text))
    }

    /// Prints bytes of our own making.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stdout.write_all(bytes)
    }

    /// Prints one JSON document.
    pub(crate) fn document(&mut self, value: &Value) -> io::Result<()> {
        serde_json::to_writer(&mut self.stdout, value)?;
        writeln!(self.stdout)
    }

    /// Prints rows with their columns aligned.
    pub(crate) fn table(&mut self, rows: &[Vec<String>]) -> io::Result<()> {
        align(rows).iter().try_for_each(|row| self.line(row))
    }

    /// Prints what is still held back.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }

    /// Prints a failure, after the results that came before it.
    pub(crate) fn report(&mut self, failure: &Failure) -> io::Result<()> {
        self.flush()?;
        report(failure);
        Ok(())
    }
}

/// Prints a failure to stderr: a line, and a line `hint:`.
pub(crate) fn report(failure: &Failure) {
    if failure.text.is_empty() {
        return;
    }
    let colour = io::stderr().is_terminal() && wants_colour(|name| env::var_os(name));
    // There is nowhere left to complain to.
    let _ = io::stderr().write_all(render(failure, colour).as_bytes());
}

fn render(failure: &Failure, colour: bool) -> String {
    let label = |name: &str, code: &str| match colour {
        true => format!("\x1b[{code}m{name}:\x1b[0m"),
        false => format!("{name}:"),
    };
    let mut text = format!("{} {}\n", label("cgctl", "1;31"), printable(&failure.text));
    if let Some(hint) = &failure.hint {
        text.push_str(&format!("{} {}\n", label("hint", "36"), printable(hint)));
    }
    text
}

fn wants_colour(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> bool {
    let set = |name| variable(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && variable("TERM").is_none_or(|term| term != "dumb")
}

/// Joins columns by two spaces, each as wide as its widest cell; the last is left as it is.
fn align(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row: &Vec<String>| row.get(column));
        cells.map(|cell| printable(cell).chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let pad = |(cell, width): (&String, &usize)| format!("{:<width$}", printable(cell));
    let line = |row: &Vec<String>| row.iter().zip(&widths).map(pad).collect::<Vec<_>>().join("  ");
    rows.iter().map(|row| line(row).trim_end().to_owned()).collect()
}

/// A number when `text` is exactly how one is written, else the text.
pub(crate) fn number(text: &str) -> Value {
    match text.parse::<u64>() {
        Ok(number) if number.to_string() == text => number.into(),
        _ => text.into(),
    }
}

/// A JSON object.
pub(crate) fn object<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let entries = entries.into_iter().map(|(name, value)| (name.to_owned(), value));
    Value::Object(entries.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_failure_is_one_line_and_a_hint() {
        let failure = Failure::new(Exit::Busy, "cannot remove a: it holds 2 processes");
        assert_eq!(render(&failure, false), "cgctl: cannot remove a: it holds 2 processes\n");
        let failure = failure.hint("move\nthem");
        assert_eq!(
            render(&failure, true),
            "\x1b[1;31mcgctl:\x1b[0m cannot remove a: it holds 2 processes\n\
             \x1b[36mhint:\x1b[0m move\\nthem\n"
        );
    }

    #[test]
    fn colour_is_declined_by_no_color_and_dumb_terminals() {
        let with = |name: &'static str, value: &'static str| {
            wants_colour(move |asked| (asked == name).then(|| value.into()))
        };
        assert!(with("TERM", "xterm"));
        assert!(with("NO_COLOR", ""));
        assert!(!with("NO_COLOR", "1"));
        assert!(!with("TERM", "dumb"));
    }

    #[test]
    fn names_cannot_steer_a_terminal() {
        assert_eq!(printable("plain ü/a b"), "plain ü/a b");
        assert_eq!(printable("a\x1b[2Jb\n\u{9b}"), "a\\u{1b}[2Jb\\n\\u{9b}");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".into(), "bb".into(), "c".into()], vec!["aaa".into(), "b".into()]];
        assert_eq!(align(&rows), ["a    bb  c", "aaa  b"]);
        assert!(align(&[]).is_empty());
    }

    #[test]
    fn numbers_are_numbers_only_when_nothing_is_lost() {
        assert_eq!(number("536870912"), Value::from(536_870_912_u64));
        assert_eq!(number("18446744073709551615"), Value::from(u64::MAX));
        for text in ["max", "007", "+1", "-1", "18446744073709551616", "1.5", ""] {
            assert_eq!(number(text), Value::from(text));
        }
    }
}
