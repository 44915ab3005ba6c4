//! Handlers of limits and of the interface files beneath them.

use std::collections::HashMap;

use cgroupd_proto::ErrorName;

use super::{Call, at};
use crate::api::reply::Reply;
use crate::service::{Change, Enabling};
use crate::{Error, Result};

/// The most cgroups of one call of Stats: each is many files, and their rows fill a reply.
const STATS: usize = 256;

pub(super) fn set_limits(call: &Call<'_>) -> Result<Reply> {
    type In = (String, HashMap<String, String>, Vec<String>);
    let (path, limits, flags): In = call.arguments()?;
    let limits = at("set limits of", &path, |parsed| {
        call.few(limits.len(), "limits")?;
        let flags = call.flags(&flags)?;
        let change = Change {
            dry_run: flags.has("dry-run"),
            force: flags.has("force"),
            enabling: Enabling::new(flags.has("no-evacuate")),
        };
        call.request.set_limits(parsed, &limits, &change)
    })?;
    call.success(&(limits,))
}

pub(super) fn get_limits(call: &Call<'_>) -> Result<Reply> {
    let (path, names): (String, Vec<String>) = call.arguments()?;
    let limits = at("get limits of", &path, |parsed| {
        call.few(names.len(), "names")?;
        call.request.get_limits(parsed, &names)
    })?;
    call.success(&(limits,))
}

pub(super) fn stats(call: &Call<'_>) -> Result<Reply> {
    let (paths,): (Vec<String>,) = call.arguments()?;
    if paths.len() > STATS {
        let text = format!("{} paths are given, at most {STATS} are read at once", paths.len());
        return Err(Error::new(ErrorName::InvalidArgument, text).hint("ask several times"));
    }
    let mut rows = Vec::with_capacity(paths.len());
    for path in &paths {
        rows.extend(at("read the statistics of", path, |parsed| call.request.stats(parsed))?);
    }
    call.success(&(rows,))
}

pub(super) fn read_file(call: &Call<'_>) -> Result<Reply> {
    let (path, file): (String, String) = call.arguments()?;
    let text = at("read a file of", &path, |parsed| call.request.read_file(parsed, &file))?;
    call.success(&(text,))
}

pub(super) fn write_file(call: &Call<'_>) -> Result<Reply> {
    type In = (String, String, String, Vec<String>);
    let (path, file, value, flags): In = call.arguments()?;
    at("write a file of", &path, |parsed| {
        call.flags(&flags)?;
        call.request.write_file(parsed, &file, &value)
    })?;
    call.success(&())
}

pub(super) fn list_files(call: &Call<'_>) -> Result<Reply> {
    let (path,): (String,) = call.arguments()?;
    let files = at("list the files of", &path, |parsed| call.request.list_files(parsed))?;
    call.success(&(files,))
}
