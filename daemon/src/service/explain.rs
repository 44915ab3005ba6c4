//! What it means when cgroup v2 refuses: threaded and invalid cgroups, caps that are reached,
//! cgroups that are going, controllers that are elsewhere.

use cgroupd_proto::ErrorName;
use nix::errno::Errno;

use super::Request;
use super::enable::ENABLED;
use super::target::{Cgroup, Target, shown};
use crate::Error;
use crate::cgroup::Dir;
use crate::cgroup::limits::holder;

/// The files that hold the caps on cgroups.
const DEPTH: &str = "cgroup.max.depth";
const DESCENDANTS: &str = "cgroup.max.descendants";

/// Why `line` could not be written to the cgroup's `cgroup.subtree_control`.
pub(super) fn no_control(cgroup: &Cgroup, line: &str, errno: Errno) -> Error {
    let path = cgroup.target.shown();
    let what = format!("write {line:?} to {ENABLED} of {path}");
    match errno {
        Errno::EBUSY if line.contains('-') => Error::kernel(what, errno)
            .hint(format!("the children of {path} have it enabled: disable it there first")),
        Errno::EBUSY => super::enable::crowded(&path, ""),
        Errno::EOPNOTSUPP => threaded(&what, cgroup),
        Errno::ENOENT => match line.split(' ').find_map(|word| word.strip_prefix('+')) {
            Some(first) => match missing(&cgroup.dir, line) {
                Ok(missing) => not_available(missing.unwrap_or(first)),
                Err(errno) => Error::kernel("read cgroup.controllers", errno),
            },
            None => Error::kernel(what, errno),
        },
        Errno::EACCES | Errno::EPERM => Error::kernel(what, errno).hint(format!(
            "whoever owns {path} enables them there: it writes {line:?} to {ENABLED}"
        )),
        errno => Error::kernel(what, errno),
    }
}

/// The first controller of `line` that the cgroup does not have.
fn missing<'l>(dir: &Dir, line: &'l str) -> nix::Result<Option<&'l str>> {
    let available = dir.read("cgroup.controllers")?;
    let mut wanted = line.split(' ').filter_map(|word| word.strip_prefix('+'));
    Ok(wanted.find(|name| !available.split_ascii_whitespace().any(|known| known == *name)))
}

pub(super) fn not_available(controller: &str) -> Error {
    match holder(controller) {
        Err(error) => error,
        Ok(Some(why)) => Error::new(ErrorName::NotSupported, why).hint(format!(
            "set its limits without naming cgroup v2; with cgroup_no_v1={controller} on the \
             kernel's command line it is one of v2"
        )),
        Ok(None) => {
            let text =
                format!("the controller {controller} is not available in the caller's scope");
            Error::new(ErrorName::NotSupported, text)
                .hint(format!("whoever set up the scope enables it in {ENABLED} above it"))
        }
    }
}

fn threaded(what: &str, cgroup: &Cgroup) -> Error {
    let path = cgroup.target.shown();
    let (why, hint) = match kind_of(&cgroup.dir).as_str() {
        "domain invalid" => (
            "it lies in a threaded subtree and is of no use yet (domain invalid)".to_owned(),
            "write threaded to its cgroup.type, or work outside the threaded subtree",
        ),
        kind => (
            format!("it is {kind}, and only cpu, cpuset, perf_event and pids go with threads"),
            "work in a cgroup outside the threaded subtree",
        ),
    };
    Error::new(ErrorName::NotSupported, format!("{what}: {path}: {why}")).hint(hint)
}

/// `domain`, `threaded`, `domain threaded`, `domain invalid`; empty for a hierarchy's root.
fn kind_of(dir: &Dir) -> String {
    dir.read("cgroup.type").unwrap_or_default().trim().to_owned()
}

/// Why a process could not enter a cgroup that is not an ordinary one.
pub(super) fn not_entered(what: &str, cgroup: &Cgroup, errno: Errno) -> Option<Error> {
    let path = cgroup.target.shown();
    Some(match errno {
        Errno::EOPNOTSUPP => {
            let why = "it lies in a threaded subtree, where nothing can enter it (domain invalid)";
            Error::new(ErrorName::Busy, format!("{what}: {path}: {why}"))
                .hint("move it to the top of the threaded subtree, or to a cgroup outside of it")
        }
        Errno::EBUSY => {
            let enabled = cgroup.dir.read(ENABLED).unwrap_or_default();
            Error::kernel(what, errno).hint(format!(
                "{path} has controllers for its children ({}), and on cgroup v2 such a cgroup \
                 takes no processes: move it to a cgroup below",
                enabled.trim()
            ))
        }
        Errno::ENODEV | Errno::ENOENT => removed(what, &path),
        _ => return None,
    })
}

/// A cgroup that is open, and gone.
pub(super) fn removed(what: &str, path: &str) -> Error {
    Error::new(ErrorName::NotFound, format!("{what}: {path} was removed meanwhile"))
        .hint("create it again")
}

pub(super) fn unreadable(file: &str) -> impl Fn(Errno) -> Error {
    let file = file.to_owned();
    move |errno| match errno {
        Errno::ENODEV | Errno::ENOENT => removed(&format!("read {file}"), "the cgroup"),
        Errno::EOPNOTSUPP if file == "cgroup.procs" => {
            Error::kernel(format_args!("read {file}"), errno).hint(
                "it is threaded: its processes are listed at the top of the threaded subtree, and \
                 its threads with the flag threads",
            )
        }
        errno => Error::kernel(format_args!("read {file}"), errno),
    }
}

impl Request<'_> {
    /// Why no child could be made after the first `depth` names of `target`.
    pub(super) fn not_made(&self, target: &Target, depth: usize, errno: Errno) -> Error {
        let label = &self.hierarchy(target.hierarchy).label;
        let (what, path) = (format!("mkdir in {label}"), shown(&target.names[..depth]));
        let error = Error::kernel(&what, errno);
        match errno {
            Errno::EACCES | Errno::EPERM if !target.scope.settled => error.hint(
                "name a cgroup of the caller's own by its whole path, or have host root give it \
                 one: cgctl delegate USER",
            ),
            Errno::EACCES | Errno::EPERM => error.hint("its parent is not the caller's to write"),
            Errno::ENOENT | Errno::ENODEV => removed(&what, &path),
            Errno::EAGAIN => {
                let (cap, hint) = match self.cap(target, depth) {
                    Some(cap) => {
                        (cap, "remove some, or have the cap raised by whoever owns that cgroup")
                    }
                    None => (
                        "a cap above the caller's scope is reached".to_owned(),
                        "whoever set up the scope raises cgroup.max.depth or \
                         cgroup.max.descendants above it",
                    ),
                };
                Error::new(ErrorName::QuotaExceeded, format!("{what}: {cap}")).hint(hint)
            }
            _ => error,
        }
    }

    /// Which cap of the caller's scope keeps a child from being made after `depth` names.
    fn cap(&self, target: &Target, depth: usize) -> Option<String> {
        (0..=depth).rev().find_map(|above| {
            let names = &target.names[..above];
            let dir = self.open(&target.scope.dir, names).ok()?;
            let number = |file| dir.read(file).ok()?.trim().parse::<usize>().ok();
            let path = shown(names);
            if let Some(most) = number(DEPTH).filter(|most| depth - above + 1 > *most) {
                return Some(format!("{DEPTH} of {path} is {most}, and it would lie deeper"));
            }
            let most = number(DESCENDANTS)?;
            let stat = dir.read("cgroup.stat").ok()?;
            let count = stat.lines().find_map(|line| line.strip_prefix("nr_descendants "))?;
            let is_full = count.parse::<usize>().ok()? >= most;
            is_full.then(|| format!("{DESCENDANTS} of {path} is {most}, and it has {count}"))
        })
    }
}
