//! Which files are read, and in which order: the main file, then drop-ins by name. A drop-in
//! of the administrator masks the distribution's of the same name.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::{Place, Problem};

/// Where configuration comes from.
#[derive(Clone, Debug)]
pub enum Sources {
    /// The main file and the drop-in directories, later ones masking earlier ones. None of
    /// them needs to exist.
    Standard {
        /// The main file.
        main: PathBuf,
        /// Directories of `*.toml`.
        drop_ins: Vec<PathBuf>,
    },
    /// This file, which must exist, and nothing else.
    Only(PathBuf),
}

impl Default for Sources {
    fn default() -> Self {
        Self::Standard {
            main: "/etc/cgroupd/cgroupd.toml".into(),
            drop_ins: vec!["/usr/lib/cgroupd/conf.d".into(), "/etc/cgroupd/conf.d".into()],
        }
    }
}

impl Sources {
    /// Reads every file there is, in order.
    pub(super) fn read(&self) -> Result<Vec<(PathBuf, String)>, Problem> {
        match self {
            Self::Only(file) => Ok(vec![(file.clone(), read(file)?)]),
            Self::Standard { main, drop_ins } => {
                let main = exists(main).then(|| main.clone());
                let files = main.into_iter().chain(names(drop_ins)?);
                files.map(|file| read(&file).map(|text| (file, text))).collect()
            }
        }
    }
}

/// Whether it is there, however unreadable: that is for reading to say.
fn exists(file: &Path) -> bool {
    file.symlink_metadata().map_or_else(|error| error.kind() != ErrorKind::NotFound, |_| true)
}

/// The drop-ins in the order of their names.
fn names(directories: &[PathBuf]) -> Result<Vec<PathBuf>, Problem> {
    let mut files = BTreeMap::<OsString, PathBuf>::new();
    for directory in directories {
        for file in list(directory).map_err(|error| unreadable(directory, &error))? {
            let Some(name) = file.file_name().filter(|_| is_drop_in(&file)) else { continue };
            files.insert(name.to_owned(), file);
        }
    }
    Ok(files.into_values().collect())
}

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match directory.read_dir() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| entry.map(|entry| entry.path())).collect(),
    }
}

/// Editors and package managers leave hidden and otherwise named files behind.
fn is_drop_in(file: &Path) -> bool {
    let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && file.extension().is_some_and(|extension| extension == "toml")
}

fn read(file: &Path) -> Result<String, Problem> {
    std::fs::read_to_string(file).map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Path, error: &io::Error) -> Problem {
    let why = match error.raw_os_error() {
        Some(errno) => crate::words(nix::errno::Errno::from_raw(errno)),
        None => error.to_string(),
    };
    Problem::at(Place::File(file.to_owned()), format!("cannot read it: {why}"))
}
