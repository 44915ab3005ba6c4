//! Several files become one configuration. Each key is checked where it stands, so that every
//! mistake is reported, with its line; then keys of later files replace those of earlier ones. Of
//! `[[delegate]]` there are as many as all files have.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::check::check;
use super::{Config, Delegate, Place, Problem, Problems, Sources};

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
}

/// A setting of the command line; it comes after all files.
#[derive(Clone, Debug)]
pub struct Override {
    /// The option, for messages: `--socket`.
    pub option: &'static str,
    /// The key: `socket.path`.
    pub key: &'static str,
    /// Its value.
    pub value: Value,
}

/// When the groups that `[[delegate]]` names are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    /// At once: an unknown one is a mistake.
    Now,
    /// When the rules are used. The user database may not answer, and neither the start of the
    /// daemon nor its other users wait for it.
    Later,
}

/// Reads, merges and checks everything.
///
/// # Errors
/// Every mistake that was found.
pub fn load(sources: &Sources, overrides: &[Override], groups: Groups) -> Result<Loaded, Problems> {
    let files = sources.read().map_err(|problem| Problems(vec![problem]))?;
    let mut draft = Draft::new(groups);
    for (file, text) in &files {
        draft.add_file(file, text);
    }
    for change in overrides {
        draft.add_override(change);
    }
    let config = draft.finish()?;
    Ok(Loaded { config, files: files.into_iter().map(|(file, _)| file).collect() })
}

/// The one key that is a list of tables.
const DELEGATE: &str = "delegate";

const WANTS_TABLES: &str = "there can be several: write [[delegate]] and its keys below";

/// What has been read so far.
pub(super) struct Draft {
    /// Every key there is, with its default.
    known: Table,
    merged: Table,
    places: BTreeMap<String, Place>,
    problems: Vec<Problem>,
    groups: Groups,
}

/// A file, to turn offsets into lines.
struct Source<'a> {
    file: Arc<Path>,
    text: &'a str,
}

impl Source<'_> {
    fn place(&self, span: Option<Range<usize>>) -> Place {
        let start = span.map_or(0, |span| span.start).min(self.text.len());
        let line = self.text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count();
        Place::Line(Arc::clone(&self.file), line + 1)
    }
}

impl Draft {
    pub(super) fn new(groups: Groups) -> Self {
        Self {
            groups,
            known: super::as_table(&Config::default()),
            merged: Table::new(),
            places: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    pub(super) fn add_file(&mut self, file: &Path, text: &str) {
        let source = Source { file: file.into(), text };
        let earlier = self.problems.len();
        let (document, errors) = DeTable::parse_recoverable(text);
        let wrong = errors.iter().map(|e| Problem::at(source.place(e.span()), e.message()));
        self.problems.extend(wrong);
        if errors.is_empty() {
            self.add_values(&source, document.get_ref());
        }
        self.problems[earlier..].sort_by_key(|problem| problem.place.as_ref().map(Place::line));
    }

    /// Takes the same text again, as values without places. Only here a number's value is
    /// looked at: a document that is well-formed can still have one that is none.
    fn add_values(&mut self, source: &Source<'_>, document: &DeTable<'_>) {
        match source.text.parse::<Table>() {
            Ok(values) => {
                let known = self.known.clone();
                self.add_table(source, "", &known, document, &values);
            }
            Err(error) => {
                self.problems.push(Problem::at(source.place(error.span()), error.message()));
            }
        }
    }

    fn add_table(
        &mut self,
        source: &Source<'_>,
        prefix: &str,
        known: &Table,
        spans: &DeTable<'_>,
        values: &Table,
    ) {
        for (name, span) in spans {
            let place = source.place(Some(name.span()));
            let name = name.get_ref().as_ref();
            let Some(value) = values.get(name) else { continue };
            let key = format!("{prefix}{name}");
            match (known.get(name), span.get_ref().as_table(), value) {
                (None, ..) => self.problems.push(unknown(place, prefix, name, known)),
                (Some(_), _, Value::Array(values)) if key == DELEGATE => {
                    self.add_delegates(source, span.get_ref(), values);
                }
                (Some(_), ..) if key == DELEGATE => {
                    self.problems.push(Problem::at(place, WANTS_TABLES));
                }
                (Some(Value::Table(known)), Some(spans), Value::Table(values)) => {
                    self.add_table(source, &format!("{key}."), known, spans, values);
                }
                (Some(Value::Table(_)), ..) => {
                    let text = format!("`{key}` is a table; write [{key}] and its keys below");
                    self.problems.push(Problem::at(place, text));
                }
                _ => self.set(&key, value.clone(), place),
            }
        }
    }

    /// Each by itself, so that a mistake in one is found at its line.
    fn add_delegates(&mut self, source: &Source<'_>, spans: &DeValue<'_>, values: &[Value]) {
        let spans = spans.as_array().into_iter().flat_map(|array| array.iter());
        for (span, value) in spans.zip(values) {
            let place = source.place(Some(span.span()));
            match (span.get_ref().as_table(), value.as_table()) {
                (Some(spans), Some(table)) => self.add_delegate(source, &place, spans, table),
                _ => self.problems.push(Problem::at(place, WANTS_TABLES)),
            }
        }
    }

    fn add_delegate(
        &mut self,
        source: &Source<'_>,
        top: &Place,
        spans: &DeTable<'_>,
        table: &Table,
    ) {
        let known = Table::try_from(Delegate::default()).unwrap_or_default();
        let (mut places, earlier) = (BTreeMap::new(), self.problems.len());
        for name in spans.keys() {
            let (place, name) = (source.place(Some(name.span())), name.get_ref().as_ref());
            if !known.contains_key(name) {
                self.problems.push(unknown(place.clone(), "delegate.", name, &known));
            } else if let Some(value) = table.get(name) {
                let alone = Table::from_iter([(name.to_owned(), value.clone())]);
                let error = alone.try_into::<Delegate>().err();
                self.problems.extend(error.map(|e| wrong_key(place.clone(), name, e.message())));
            }
            places.insert(name.to_owned(), place);
        }
        // Each key alone was taken, so all of them together are.
        if let Ok(delegate) = table.clone().try_into::<Delegate>() {
            let place = |key| places.get(key).unwrap_or(top).clone();
            let unknown = match self.groups {
                Groups::Now => delegate.unknown_group(),
                Groups::Later => None,
            };
            let unknown = unknown.map(|text| ("groups", text));
            let found = delegate.mistakes().into_iter().chain(unknown);
            self.problems.extend(found.map(|(key, text)| match key {
                "" => Problem::at(top.clone(), format!("[[{DELEGATE}]]: {text}")),
                key => wrong_key(place(key), key, &text),
            }));
        }
        if self.problems.len() == earlier {
            let all = self.merged.entry(DELEGATE).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(all) = all {
                all.push(Value::Table(table.clone()));
            }
        }
    }

    fn add_override(&mut self, change: &Override) {
        self.set(change.key, change.value.clone(), Place::Option(change.option));
    }

    /// Takes the value when the configuration could be made of it alone.
    fn set(&mut self, key: &str, value: Value, place: Place) {
        let mut alone = Table::new();
        insert(&mut alone, key, value.clone());
        if let Err(error) = alone.try_into::<Config>() {
            self.problems.push(Problem::at(place, format!("`{key}`: {}", error.message())));
            return;
        }
        insert(&mut self.merged, key, value);
        self.places.insert(key.to_owned(), place);
    }

    pub(super) fn finish(mut self) -> Result<Config, Problems> {
        // Each key alone was taken, so all of them together are.
        let config = self.merged.try_into::<Config>().map_err(|error| {
            Problems(vec![Problem { place: None, text: error.message().to_owned() }])
        })?;
        let places = &self.places;
        let found = check(&config).into_iter().map(|(key, text)| Problem {
            place: places.get(key).cloned(),
            text: format!("`{key}`: {text}"),
        });
        self.problems.extend(found);
        if self.problems.is_empty() { Ok(config) } else { Err(Problems(self.problems)) }
    }
}

/// Puts a value at a dotted key.
fn insert(table: &mut Table, key: &str, value: Value) {
    let Some((section, name)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return;
    };
    let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(inner) = inner {
        insert(inner, name, value);
    }
}

fn wrong_key(place: Place, key: &str, text: &str) -> Problem {
    Problem::at(place, format!("`{DELEGATE}.{key}`: {text}"))
}

fn unknown(place: Place, prefix: &str, name: &str, known: &Table) -> Problem {
    let near = known.keys().map(|key| (strsim::jaro_winkler(name, key), key));
    let near = near.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score > 0.8);
    let hint = match near {
        Some((_, key)) => format!("did you mean `{prefix}{key}`?"),
        None => format!("known here: {}", known.keys().cloned().collect::<Vec<_>>().join(", ")),
    };
    Problem::at(place, format!("unknown key `{prefix}{name}`; {hint}"))
}
