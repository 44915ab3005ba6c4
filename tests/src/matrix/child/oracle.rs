//! The kernel's verdict: the same thing done with plain system calls on cgroupfs.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::Path;

use nix::errno::Errno;

use super::super::state;
use super::super::wire::{Answer, Order, Verb, Verdict};

pub(super) fn attempt(order: &Order) -> Answer {
    let result = perform(Path::new(&order.path), &order.verb);
    let error = match result {
        Ok(data) => return Answer::allowed(data),
        Err(error) => error,
    };
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
    let is_attach = matches!(order.verb, Verb::Attach { .. });
    let verdict = match errno {
        Errno::EACCES | Errno::EPERM | Errno::EROFS => Verdict::Denied,
        // An id that the namespace has no name for.
        Errno::EINVAL if matches!(order.verb, Verb::Chown { .. }) => Verdict::Denied,
        // With nsdelegate: it comes from, or goes, outside the writer's cgroup namespace.
        Errno::ENOENT if is_attach && Path::new(&order.path).exists() => Verdict::Denied,
        // Permission is checked before that.
        Errno::EBUSY => Verdict::Allowed,
        _ => Verdict::Odd,
    };
    Answer { verdict, why: format!("{errno:?}"), data: String::new() }
}

fn perform(path: &Path, verb: &Verb) -> io::Result<String> {
    match verb {
        Verb::Create => fs::DirBuilder::new().mode(0o755).create(path)?,
        Verb::Remove { recursive } => remove(path, *recursive)?,
        Verb::Limit { file, value } | Verb::Write { file, value } => {
            write(&path.join(file), value)?
        }
        Verb::Read { file } => return read(&path.join(file)),
        Verb::List => return list(path),
        Verb::Processes => return processes(path),
        Verb::Chown { uid, gid } => give(path, *uid, *gid)?,
        Verb::Chmod { file, mode } => {
            // `join("")` would add a slash, and with it a search in the directory itself.
            let target = if file.is_empty() { path.to_owned() } else { path.join(file) };
            fs::set_permissions(target, fs::Permissions::from_mode(*mode))?;
        }
        Verb::Attach { pid } => write(&path.join("cgroup.procs"), &pid.to_string())?,
    }
    Ok(String::new())
}

fn remove(path: &Path, recursive: bool) -> io::Result<()> {
    if recursive {
        for child in children(path)? {
            remove(&path.join(child), true)?;
        }
    }
    fs::remove_dir(path)
}

fn children(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Names, and whether each can be looked at, as `ls -l` does.
fn list(path: &Path) -> io::Result<String> {
    let names = children(path)?;
    for name in &names {
        fs::symlink_metadata(path.join(name))?;
    }
    Ok(names.join(" "))
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(value.as_bytes())
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// v2 shows 0 for processes that the reader's pid namespace does not.
fn processes(path: &Path) -> io::Result<String> {
    let text = read(&path.join("cgroup.procs"))?;
    let mut pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    pids.retain(|pid| *pid > 0);
    pids.sort_unstable();
    Ok(format!("{pids:?}"))
}

/// The files a delegatee owns, then the directory.
fn give(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    for file in state::delegated() {
        match chown(path.join(file), Some(uid), Some(gid)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    chown(path, Some(uid), Some(gid))
}
