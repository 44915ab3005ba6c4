//! From a path to open directories, one per hierarchy, and never outside the caller's scope.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;

use cgroupd_proto::{CgroupPath, ErrorName, unescape_name};
use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::Request;
use super::request::node;
use crate::caller::Scope;
use crate::cgroup::{Dir, Hierarchy};
use crate::policy::{Class, Position, may_search};
use crate::sys::creds::Cap;
use crate::{Error, Result};

/// Which hierarchies a call means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Every controller hierarchy and cgroup2 in which the caller may act; for a request that
    /// means one hierarchy, that one.
    Implied,
    /// Exactly these.
    Exactly(Vec<usize>),
}

/// A place in one hierarchy that may or may not exist.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) hierarchy: usize,
    pub(super) scope: Scope,
    /// The way down from the scope.
    pub(super) names: Vec<String>,
}

/// An existing, open cgroup.
#[derive(Debug)]
pub(super) struct Cgroup {
    pub(super) target: Target,
    pub(super) dir: Dir,
}

impl Target {
    pub(super) fn position(&self) -> Position {
        if self.names.is_empty() { Position::Top } else { Position::Below }
    }

    /// The path in the caller's view.
    pub(super) fn shown(&self) -> String {
        shown(&self.names)
    }
}

pub(super) fn shown(names: &[String]) -> String {
    format!("/{}", names.join("/"))
}

impl<'a> Request<'a> {
    /// The hierarchies a list of controllers names; an empty list implies them.
    pub(super) fn wanted(&self, controllers: &[String]) -> Result<Wanted> {
        if controllers.is_empty() {
            return Ok(Wanted::Implied);
        }
        let mut indexes = Vec::new();
        for controller in controllers {
            let layout = &self.service.layout;
            let index = layout.find(controller).ok_or_else(|| unknown_controller(controller))?;
            if !indexes.contains(&index) {
                indexes.push(index);
            }
        }
        Ok(Wanted::Exactly(indexes))
    }

    /// Where `path` lies in each wanted hierarchy of the caller's scope.
    pub(super) fn targets(&self, path: &CgroupPath, wanted: &Wanted) -> Result<Vec<Target>> {
        let implied = *wanted == Wanted::Implied;
        let all = &self.service.layout.hierarchies;
        let indexes = match (wanted, self.own) {
            (Wanted::Exactly(indexes), _) => indexes.clone(),
            (Wanted::Implied, Some(own)) => vec![own],
            (Wanted::Implied, None) => (0..all.len()).filter(|index| all[*index].implied).collect(),
        };
        let mut scopes = Vec::with_capacity(indexes.len());
        for index in indexes {
            match self.scope(index)? {
                Some(scope) => scopes.push((index, scope)),
                None if implied && self.own.is_none() => {}
                None => return Err(no_scope(self.hierarchy(index))),
            }
        }
        if scopes.is_empty() {
            return Err(nowhere());
        }
        if !path.is_absolute() {
            keep_one_home(&mut scopes, implied)?;
        }
        scopes.into_iter().map(|(index, scope)| self.place(path, index, scope)).collect()
    }

    fn place(&self, path: &CgroupPath, hierarchy: usize, scope: Scope) -> Result<Target> {
        let names = match (path.is_absolute(), self.own) {
            (true, _) => path.components().to_vec(),
            (false, None) => [&scope.home[..], path.components()].concat(),
            (false, Some(_)) => {
                [&self.own_names(hierarchy, &scope)?[..], path.components()].concat()
            }
        };
        Ok(Target { hierarchy, scope, names })
    }

    /// The cgroups that exist at `path`.
    ///
    /// # Errors
    /// NotFound when there is none; Denied when one of them cannot be reached.
    pub(super) fn existing(&self, path: &CgroupPath, wanted: &Wanted) -> Result<Vec<Cgroup>> {
        let targets = self.targets(path, wanted)?;
        // One change of identity for all of them: it costs more than the look-ups.
        let opened: Vec<_> = self.plain_actor().run(|| {
            targets.iter().map(|target| open_beneath(&target.scope.dir, &target.names)).collect()
        });
        let mut found = Vec::new();
        for (target, opened) in targets.into_iter().zip(opened) {
            match self.or_override(opened, &target.scope.dir, &target.names) {
                Ok(dir) => found.push(Cgroup { target, dir }),
                Err(Errno::ENOENT) if *wanted == Wanted::Implied => {}
                Err(errno) => return Err(unreachable(self.hierarchy(target.hierarchy), errno)),
            }
        }
        if found.is_empty() { Err(not_found()) } else { Ok(found) }
    }

    /// Opens the cgroup `names` below `base` with the caller's search permission.
    pub(super) fn open(&self, base: &Dir, names: &[String]) -> nix::Result<Dir> {
        let opened = self.plain_actor().run(|| open_beneath(base, names));
        self.or_override(opened, base, names)
    }

    fn or_override(
        &self,
        opened: nix::Result<Dir>,
        base: &Dir,
        names: &[String],
    ) -> nix::Result<Dir> {
        match opened {
            Err(Errno::EACCES) if self.may_override() => self.open_stepwise(base, names),
            opened => opened,
        }
    }

    /// A handle of a file in `dir`, to change its owner or mode: found with the caller's search
    /// permission, so that what is done to it takes none.
    pub(super) fn reach(&self, dir: &Dir, file: &str) -> nix::Result<OwnedFd> {
        let open = || dir.open_file(file, OFlag::O_PATH);
        match self.plain_actor().run(open) {
            Err(Errno::EACCES)
                if self.may_override() && may_search(self.subject(), node(dir.stat()?)) =>
            {
                open()
            }
            result => result,
        }
    }

    fn may_override(&self) -> bool {
        let subject = self.subject();
        subject.class == Class::NsRoot && subject.caps.has(Cap::DacOverride)
    }

    /// The root of a user namespace passes directories whose owners it maps; each is judged
    /// from the handle it is then opened beneath.
    fn open_stepwise(&self, base: &Dir, names: &[String]) -> nix::Result<Dir> {
        let mut dir = base.try_clone()?;
        for name in names {
            if !may_search(self.subject(), node(dir.stat()?)) {
                return Err(Errno::EACCES);
            }
            dir = dir.open(name)?;
        }
        Ok(dir)
    }
}

/// Opens the cgroup `names` below `base`. An interface file of such a name is no cgroup.
fn open_beneath(base: &Dir, names: &[String]) -> nix::Result<Dir> {
    match base.open(names.join("/")) {
        Err(Errno::ENOTDIR) => Err(Errno::ENOENT),
        Err(Errno::ENOENT) => match escaped(names) {
            Some(path) => base.open(path),
            None => Err(Errno::ENOENT),
        },
        opened => opened,
    }
}

/// The bytes of a path some of whose names were shown escaped, because they are not UTF-8.
fn escaped(names: &[String]) -> Option<OsString> {
    let mut any = false;
    let parts: Vec<Vec<u8>> = names
        .iter()
        .map(|name| {
            let bytes = unescape_name(name);
            any |= bytes.is_some();
            bytes.unwrap_or_else(|| name.clone().into_bytes())
        })
        .collect();
    any.then(|| OsString::from_vec(parts.join(&b'/')))
}

/// What the child of `parent` that is shown as `name` is really called.
pub(super) fn real_name(parent: &Dir, name: &str) -> Result<OsString> {
    let Some(bytes) = unescape_name(name) else { return Ok(name.into()) };
    match parent.stat_at(name) {
        Ok(_) => Ok(name.into()),
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(OsString::from_vec(bytes)),
        Err(errno) => Err(Error::kernel("look for it", errno)),
    }
}

/// A relative path needs one home. Hierarchies where the caller only happens to be somewhere
/// do not count beside those where it has a cgroup of its own.
fn keep_one_home(scopes: &mut Vec<(usize, Scope)>, implied: bool) -> Result<()> {
    if implied && scopes.iter().any(|(_, scope)| scope.settled) {
        scopes.retain(|(_, scope)| scope.settled);
    }
    let home = &scopes[0].1.home;
    match scopes.iter().find(|(_, scope)| scope.home != *home) {
        None => Ok(()),
        Some((_, other)) => Err(Error::new(
            ErrorName::InvalidPath,
            format!(
                "a relative path is ambiguous: the caller's home is {} in one hierarchy and {} \
                 in another",
                shown(home),
                shown(&other.home)
            ),
        )
        .hint("use an absolute path, or name the controllers")),
    }
}

pub(super) fn not_found() -> Error {
    Error::new(ErrorName::NotFound, "no such cgroup")
}

pub(super) fn unreachable(hierarchy: &Hierarchy, errno: Errno) -> Error {
    match errno {
        Errno::ENOENT => {
            Error::new(ErrorName::NotFound, format!("no such cgroup in {}", hierarchy.label))
        }
        errno => Error::kernel(format_args!("open it in {}", hierarchy.label), errno),
    }
}

fn nowhere() -> Error {
    Error::new(ErrorName::NotFound, "the caller has no cgroup of its own in any hierarchy")
        .hint("host root can hand one over: cgctl delegate USER")
        .rule("no-scope")
}

pub(super) fn no_scope(hierarchy: &Hierarchy) -> Error {
    let text = format!("the caller has no cgroup of its own in {}", hierarchy.label);
    Error::new(ErrorName::NotFound, text).rule("no-scope")
}

pub(crate) fn unknown_controller(controller: &str) -> Error {
    let text = format!("{controller:?} is not a controller of this host");
    Error::new(ErrorName::UnknownController, text).hint("`cgctl info` lists those it has")
}
