//! The daemon's verdict: the same thing asked for over the private socket.

use std::os::unix::net::UnixStream;
use std::path::Path;

use cgroupd_proto::ErrorName;

use super::super::wire::{Answer, Order, Verb, Verdict};
use super::Result;
use crate::client::{self, Client};

/// Connects as whoever this process is.
pub(super) fn connect(socket: &Path) -> Result<Client> {
    let stream = UnixStream::connect(socket)?;
    Client::try_over(stream).map_err(|error| error.to_string().into())
}

pub(super) fn attempt(client: &Client, order: &Order) -> Answer {
    let error = match call(client, order) {
        Ok(data) => return Answer::allowed(data),
        Err(error) => error,
    };
    // Without a reply there is no verdict: the daemon is gone.
    assert!(!error.name.is_empty(), "{order:?}: {error}");
    let verdict = match error.service() {
        Some(ErrorName::Denied | ErrorName::NotFound | ErrorName::InvalidPath) => Verdict::Denied,
        Some(ErrorName::Busy) => Verdict::Allowed,
        _ => Verdict::Odd,
    };
    Answer { verdict, why: error.to_string(), data: String::new() }
}

fn call(client: &Client, order: &Order) -> client::Result<String> {
    let path = order.path.as_str();
    match &order.verb {
        Verb::Create => client.create_with(path, &[&order.controller], &[]).map(drop)?,
        Verb::Remove { recursive: false } => client.remove(path, &[]).map(drop)?,
        Verb::Remove { recursive: true } => client.remove(path, &["recursive"]).map(drop)?,
        Verb::Limit { file, value } => client.set_limits(path, &[(file, value)], &[]).map(drop)?,
        Verb::Write { file, value } => client.write(path, file, value)?,
        Verb::Read { file } => return client.read(path, file),
        Verb::List => return list(client, path),
        Verb::Processes => return Ok(format!("{:?}", client.processes(path, &[])?)),
        Verb::Chown { uid, gid } => client.chown(path, *uid, *gid, &[])?,
        Verb::Chmod { file, mode } => client.chmod(path, file, *mode)?,
        Verb::Attach { pid } => client.attach_pids(path, &[*pid], &[])?,
    }
    Ok(String::new())
}

/// The names of the children, as a plain listing has them.
fn list(client: &Client, path: &str) -> client::Result<String> {
    let rows = client.rows(path, 1)?;
    let names = rows.iter().map(|(path, _)| path.rsplit('/').next().unwrap_or_default());
    Ok(names.collect::<Vec<_>>().join(" "))
}
