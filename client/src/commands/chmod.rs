//! `cgctl chmod`: changes the mode of a cgroup, or of one of its files.

use crate::{
    exit::{Exit, Failure},
    ids::mode,
    request,
    session::Session,
};

pub(super) fn run(
    session: &mut Session,
    text: &str,
    path: &str,
    file: Option<&str>,
) -> Result<(), Failure> {
    let doing = match file {
        Some(file) => format!("change the mode of {file} of {path}"),
        None => format!("change the mode of {path}"),
    };
    let mode = mode(text).ok_or_else(|| {
        Failure::new(Exit::BadValue, format!("cannot {doing}: {text:?} is not an octal mode"))
            .hint("for example 755")
    })?;
    session.call(request::chmod(path, file.unwrap_or(""), mode), &doing)
}
