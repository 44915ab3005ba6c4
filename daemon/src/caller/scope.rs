//! What exists for a caller in a hierarchy, and where its relative paths start.
//!
//! Outside its scope a caller learns nothing and nothing is looked up. A scope is a directory
//! handle, not a path: it is found by the kernel's own idea of the caller's place.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::elsewhere::elsewhere;
use super::{Caller, Now, NsId, Process};
use crate::cgroup::{Dir, Hierarchy, Version, names_in};
use crate::is_transient;
use crate::policy::{Class, Subject};
use crate::sys::{mount, namespace};

/// A caller's scope in one hierarchy.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The scope's directory.
    pub dir: Arc<Dir>,
    /// The way from the scope to the home, the base of relative paths.
    pub home: Vec<String>,
    /// Whether the home is one the caller owns or is confined to, and not just the place
    /// where it happens to be.
    pub settled: bool,
    /// Whether it is the root of the caller's own cgroup namespace.
    pub own_root: bool,
}

/// Where a process is in a hierarchy, as the daemon sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the managed root, or below it by these names.
    Inside(Vec<String>),
    /// Elsewhere in the hierarchy.
    Outside,
    /// The kernel does not say: the path is too long, or the cgroup was removed.
    Unknown,
}

/// The roots of one cgroup namespace, found when first asked for. They never change.
#[derive(Debug)]
pub(super) struct NamespaceRoots {
    namespace: OwnedFd,
    id: NsId,
    roots: Mutex<HashMap<String, Option<Arc<Dir>>>>,
}

impl Caller {
    /// The caller's scope in `hierarchy`; `None` when nothing there exists for it. The `homes` are
    /// where a user of the host may have been given one, the first of them that it owns.
    ///
    /// # Errors
    /// When a fact is missing: the request is refused.
    pub fn scope(
        &self,
        now: &Now,
        hierarchy: &Hierarchy,
        homes: &[&[String]],
    ) -> nix::Result<Option<Scope>> {
        let subject = &now.subject;
        if subject.class == Class::HostRoot {
            return Ok(Some(Scope::of(&hierarchy.root)));
        }
        if !now.cgroup_ns_is_ours
            && let Some(root) = self.namespace_root(now.cgroup_ns, hierarchy)?
        {
            return Ok(Some(Scope { own_root: true, ..Scope::of(&root) }));
        }
        let place = self.places(now)?.within(hierarchy);
        if subject.is_host_user() {
            return host_users_scope(hierarchy, place, subject, homes).map(Some);
        }
        let names = match place {
            Place::Inside(names) => names,
            Place::Outside => return Ok(None),
            Place::Unknown => return Err(UNKNOWN_PLACE),
        };
        match topmost_owned(hierarchy, &names, subject)?.unwrap_or(names.len()) {
            0 => Ok(None),
            depth => hierarchy
                .root
                .open(names[..depth].join("/"))
                .map(|dir| Some(Scope::of(&Arc::new(dir)))),
        }
    }

    /// The root of the caller's cgroup namespace, when it lies strictly below the managed root.
    fn namespace_root(&self, id: NsId, hierarchy: &Hierarchy) -> nix::Result<Option<Arc<Dir>>> {
        let mut cache = self.lock();
        let known = cache.roots.as_ref().filter(|roots| roots.id == id).map(Arc::clone);
        let roots = match known {
            Some(roots) => roots,
            None => Arc::new(NamespaceRoots::new(self.process.open("ns/cgroup")?)?),
        };
        // It went elsewhere since its facts were read.
        if roots.id != id {
            return Err(Errno::EAGAIN);
        }
        cache.roots = Some(Arc::clone(&roots));
        drop(cache);
        roots.of(hierarchy)
    }
}

impl Scope {
    fn of(dir: &Arc<Dir>) -> Self {
        Self { dir: Arc::clone(dir), home: Vec::new(), settled: true, own_root: false }
    }

    fn unsettled(hierarchy: &Hierarchy, home: Vec<String>) -> Self {
        Self { dir: Arc::clone(&hierarchy.root), home, settled: false, own_root: false }
    }
}

impl Process {
    /// Where the process is in every hierarchy; one read serves them all.
    ///
    /// A process that is exiting (PF_EXITING) shows `/` in every v1 hierarchy, while its namespaces
    /// can still be read and its pidfd is alive: for as long as the kernel needs to free its memory.
    /// The flag is never taken back, so a `/` that was read before the flag was found clear is true.
    ///
    /// # Errors
    /// ESRCH when the process is gone or exiting.
    pub fn places(&self) -> nix::Result<Places> {
        let places = Places(self.read("cgroup")?);
        self.check_namespace()?;
        if places.has_v1_root() && self.is_exiting()? {
            return Err(Errno::ESRCH);
        }
        self.check_alive().map(|()| places)
    }

    /// ESRCH for a zombie leader, whose namespaces cannot be read.
    fn check_namespace(&self) -> nix::Result<()> {
        match self.stat("ns/cgroup") {
            Ok(_) => Ok(()),
            Err(errno) if is_transient(errno) => Err(errno),
            Err(_) => Err(Errno::ESRCH),
        }
    }

    /// Where the process is in `hierarchy`.
    ///
    /// # Errors
    /// As [`Self::places`].
    pub fn place(&self, hierarchy: &Hierarchy) -> nix::Result<Place> {
        self.places().map(|places| places.within(hierarchy))
    }
}

/// A process's `/proc/PID/cgroup`.
#[derive(Clone, Debug, Default)]
pub struct Places(Vec<u8>);

impl Places {
    /// Whether it is `/` in any v1 hierarchy.
    fn has_v1_root(&self) -> bool {
        let mut lines = self.0.split(|byte| *byte == b'\n');
        lines.any(|line| line.ends_with(b":/") && !line.starts_with(b"0::"))
    }

    /// Where the process was in `hierarchy`.
    pub fn within(&self, hierarchy: &Hierarchy) -> Place {
        let Some(names) = self.names(hierarchy) else { return Place::Unknown };
        // What lies above the root of the daemon's own cgroup namespace starts with `..`.
        let below = names.strip_prefix(&hierarchy.base()[..]);
        match below.filter(|rest| rest.iter().all(|name| name != "..")) {
            Some(rest) => Place::Inside(rest.to_vec()),
            None => Place::Outside,
        }
    }

    /// The way to its cgroup from the hierarchy's root, as the daemon's cgroup namespace has it;
    /// `None` where the kernel does not say.
    pub fn names(&self, hierarchy: &Hierarchy) -> Option<Vec<String>> {
        const CUT: usize = 4095;
        let label = if hierarchy.version == Version::V2 { "" } else { &hierarchy.label };
        let path = self.0.split(|byte| *byte == b'\n').find_map(|line| {
            let mut fields = line.splitn(3, |byte| *byte == b':').skip(1);
            (fields.next()? == label.as_bytes()).then(|| fields.next()).flatten()
        });
        let path = path.and_then(|path| std::str::from_utf8(path).ok())?;
        let unknown = path.len() >= CUT || path.ends_with(" (deleted)") || !path.starts_with('/');
        (!unknown).then(|| names_in(path))
    }
}

/// What a scope that depends on the caller's place fails with when the kernel does not say it.
pub const UNKNOWN_PLACE: Errno = Errno::ENODATA;

/// All that is managed; at home it is in the topmost cgroup on its branch that it owns, else in the
/// one that was delegated to it, else where it is.
fn host_users_scope(
    hierarchy: &Hierarchy,
    place: Place,
    subject: &Subject,
    homes: &[&[String]],
) -> nix::Result<Scope> {
    let names = match place {
        Place::Inside(names) => names,
        Place::Outside => Vec::new(),
        Place::Unknown => return Err(UNKNOWN_PLACE),
    };
    let owned = topmost_owned(hierarchy, &names, subject)?.map(|depth| names[..depth].to_vec());
    let home = match owned {
        Some(owned) => Some(owned),
        None => delegated_home(hierarchy, subject.uid, homes)?,
    };
    let settled = home.is_some();
    Ok(Scope { settled, ..Scope::unsettled(hierarchy, home.unwrap_or(names)) })
}

/// The first of them that is there and is the user's.
fn delegated_home(
    hierarchy: &Hierarchy,
    uid: u32,
    homes: &[&[String]],
) -> nix::Result<Option<Vec<String>>> {
    for home in homes {
        match hierarchy.root.open(home.join("/")).and_then(|dir| dir.stat()) {
            Ok(stat) if stat.st_uid == uid => return Ok(Some(home.to_vec())),
            Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(None)
}

/// How many names from the managed root down the topmost cgroup lies that the subject owns.
/// Kernel uid 0 owns nothing above its current cgroup: root made everything there.
fn topmost_owned(
    hierarchy: &Hierarchy,
    names: &[String],
    subject: &Subject,
) -> nix::Result<Option<usize>> {
    if subject.uid == 0 {
        return Ok(None);
    }
    let mut dir = Arc::clone(&hierarchy.root);
    for (depth, name) in (1..).zip(names) {
        dir = Arc::new(dir.open(name)?);
        let stat = dir.stat()?;
        if subject.owns_branch(stat.st_uid, stat.st_gid) {
            return Ok(Some(depth));
        }
    }
    Ok(None)
}

impl NamespaceRoots {
    fn new(namespace: OwnedFd) -> nix::Result<Self> {
        let id = NsId::of(&namespace)?;
        Ok(Self { namespace, id, roots: Mutex::default() })
    }

    fn of(&self, hierarchy: &Hierarchy) -> nix::Result<Option<Arc<Dir>>> {
        let mut roots = self.roots.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = roots.get(&hierarchy.label) {
            return Ok(known.clone());
        }
        let dir = find_root(&self.namespace, hierarchy)?;
        let below = dir
            .place()?
            .strip_prefix(hierarchy.root.place()?)
            .is_ok_and(|rest| rest.components().next().is_some());
        let root = below.then(|| Arc::new(dir));
        roots.insert(hierarchy.label.clone(), root.clone());
        Ok(root)
    }
}

/// A detached mount made inside a cgroup namespace has that namespace's root as its own; its
/// file handle, opened on our mount, is the same directory. Exact in every position, also when
/// the process was moved out of its namespace's root.
fn find_root(namespace: &OwnedFd, hierarchy: &Hierarchy) -> nix::Result<Dir> {
    let handle = elsewhere("namespace-root", || {
        namespace::enter_cgroup(namespace)?;
        mount::handle_of(detached_mount(hierarchy)?)
    })?;
    let readable = hierarchy.top.open_file(".", OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    mount::open_handle(readable, &handle).map(Dir::from_fd)
}

fn detached_mount(hierarchy: &Hierarchy) -> nix::Result<OwnedFd> {
    let c_string = |text: &str| std::ffi::CString::new(text).map_err(|_| Errno::EINVAL);
    if hierarchy.version == Version::V2 {
        return mount::fsmount(mount::fsopen(c"cgroup2")?);
    }
    let context = mount::fsopen(c"cgroup")?;
    if let Some(name) = hierarchy.label.strip_prefix("name=") {
        mount::fsconfig_set(&context, c"none", None)?;
        mount::fsconfig_set(&context, c"name", Some(&c_string(name)?))?;
    }
    for controller in &hierarchy.controllers {
        mount::fsconfig_set(&context, &c_string(controller)?, None)?;
    }
    mount::fsmount(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy(root_path: &str) -> Hierarchy {
        let root_path = root_path.to_owned();
        Hierarchy { root_path, ..Hierarchy::pretended(Version::V2, "unified", &[]) }
    }

    #[test]
    fn case_70a_only_a_v1_root_may_be_that_of_an_exiting_process() {
        for (text, is) in [
            ("4:memory:/\n0::/a\n", true),
            ("1:name=systemd:/\n", true),
            ("4:memory:/a\n0::/\n", false),
            ("0::/\n", false),
        ] {
            assert_eq!(Places(text.as_bytes().to_vec()).has_v1_root(), is, "{text}");
        }
    }

    #[test]
    fn where_a_process_is() {
        let inside = |names: &[&str]| Place::Inside(names.iter().map(|n| (*n).into()).collect());
        for (root, line, place) in [
            ("", "0::/a/b", inside(&["a", "b"])),
            ("a", "0::/a/b", inside(&["b"])),
            ("a", "0::/ab", Place::Outside),
            ("", "0::/../a", Place::Outside),
            ("", "0::/..", Place::Outside),
            ("", "0::/a (deleted)", Place::Unknown),
            ("", "1:memory:/a", Place::Unknown),
        ] {
            let places = Places(line.as_bytes().to_vec());
            assert_eq!(places.within(&hierarchy(root)), place, "{root} {line}");
        }
    }
}
