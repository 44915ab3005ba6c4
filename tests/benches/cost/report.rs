//! The table that people read, and the same rows as one JSON object a line.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How a figure compares with its budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// There is no budget for it.
    Plain,
    Met,
    Missed,
}

impl Verdict {
    pub(crate) fn at_most(measured: f64, budget: f64) -> Self {
        if measured <= budget { Self::Met } else { Self::Missed }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Met => "met",
            Self::Missed => "MISSED",
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) name: String,
    pub(crate) measured: String,
    pub(crate) budget: String,
    pub(crate) verdict: Verdict,
    /// Where the time goes, printed when the budget is missed.
    pub(crate) parts: Vec<String>,
    /// The same for machines.
    pub(crate) figures: Vec<(&'static str, f64)>,
}

impl Row {
    /// A figure and the most it may be, both in `unit`.
    pub(crate) fn limited(name: impl Into<String>, measured: f64, most: f64, unit: &str) -> Self {
        Self {
            name: name.into(),
            measured: format!("{} {unit}", digits(measured)),
            budget: format!("{} {unit}", digits(most)),
            verdict: Verdict::at_most(measured, most),
            parts: Vec::new(),
            figures: vec![("measured", measured), ("budget", most)],
        }
    }

    /// Something that could not be measured, and why.
    pub(crate) fn absent(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            measured: format!("not measured: {}", why.into()),
            budget: String::new(),
            verdict: Verdict::Plain,
            parts: Vec::new(),
            figures: Vec::new(),
        }
    }

    pub(crate) fn parts(mut self, parts: Vec<String>) -> Self {
        self.parts = parts;
        self
    }

    pub(crate) fn figures(mut self, figures: &[(&'static str, f64)]) -> Self {
        self.figures.extend_from_slice(figures);
        self
    }
}

/// Three significant digits are what a measurement is worth.
pub(crate) fn digits(value: f64) -> String {
    match value.abs() {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// Prints rows as they come, and writes them to a file.
#[derive(Debug)]
pub(crate) struct Report {
    json: String,
    file: PathBuf,
    title: String,
    met: usize,
    missed: Vec<String>,
}

impl Report {
    pub(crate) fn new(directory: &Path) -> Self {
        let file = directory.join("cost.jsonl");
        Self { json: String::new(), file, title: String::new(), met: 0, missed: Vec::new() }
    }

    /// A heading, and lines that explain what follows.
    pub(crate) fn section(&mut self, title: &str, about: &str) {
        title.clone_into(&mut self.title);
        println!("\n{title}\n{}", "-".repeat(title.len()));
        if !about.is_empty() {
            println!("{about}");
        }
    }

    pub(crate) fn add(&mut self, row: &Row) {
        match row.verdict {
            Verdict::Plain => {}
            Verdict::Met => self.met += 1,
            Verdict::Missed => self.missed.push(format!("{} ({})", row.name, self.title)),
        }
        let budget = match row.budget.as_str() {
            "" => String::new(),
            budget => format!("budget {budget}"),
        };
        let line =
            format!("{:<50} {:<46} {budget:<22} {}", row.name, row.measured, row.verdict.as_str());
        println!("{}", line.trim_end());
        if row.verdict == Verdict::Missed {
            row.parts.iter().for_each(|part| println!("    {part}"));
        }
        self.json.push_str(&json(&self.title, row));
    }

    /// The sum, and the file. Whether every budget was met.
    pub(crate) fn finish(self) -> io::Result<()> {
        println!("\n{} budgets met, {} missed", self.met, self.missed.len());
        self.missed.iter().for_each(|name| println!("    missed: {name}"));
        fs::write(&self.file, self.json)?;
        println!("rows for machines: {}", self.file.display());
        Ok(())
    }
}

fn json(title: &str, row: &Row) -> String {
    let verdict = row.verdict.as_str();
    let mut line =
        format!("{{\"section\":{title:?},\"name\":{:?},\"verdict\":{verdict:?}", row.name);
    for (name, value) in &row.figures {
        let _ = write!(line, ",\"{name}\":{value:.3}");
    }
    line.push_str("}\n");
    line
}
