//! Looking into a tree of cgroups as the caller: what the kernel would keep from it stays unseen.
//!
//! For an ordinary caller the whole look runs under its identity. The capabilities of the root of a
//! user namespace do not count for the acting thread, so there policy judges each directory and file.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use nix::errno::Errno;

use super::Request;
use super::request::node;
use crate::cgroup::{AsThread, Dir, Few, Reach, all_members};
use crate::policy::{Class, Node, Want, access, may_search};
use crate::sys::creds::Actor;

impl Request<'_> {
    /// Runs `look` with a [`Reach`] that sees what the caller may see; a second time for the root of
    /// a user namespace when its own ids see too little (EACCES), which changes the identity at each
    /// step. `look` must not change the identity of the thread itself.
    ///
    /// # Errors
    /// Those of `look`.
    pub(super) fn as_caller<T>(
        &self,
        mut look: impl FnMut(&dyn Reach) -> nix::Result<T>,
    ) -> nix::Result<T> {
        match self.plain_actor().run(|| look(&AsThread)) {
            Err(Errno::EACCES) if self.subject().class == Class::NsRoot => look(&Judged(self)),
            looked => looked,
        }
    }

    /// All processes in a cgroup and below it, as the daemon's pid namespace counts them.
    ///
    /// # Errors
    /// EACCES where a cgroup is closed to the caller: what is in it is not the caller's to know.
    pub(super) fn visible_members(&self, top: &Dir) -> nix::Result<BTreeSet<i32>> {
        self.as_caller(|reach| all_members(reach, top))
    }
}

/// As the root of a user namespace, which passes what its ids pass, and what belongs to ids that it
/// maps if it has CAP_DAC_OVERRIDE there.
struct Judged<'a>(&'a Request<'a>);

impl Judged<'_> {
    fn actor(&self, node: Node, want: Want) -> nix::Result<Actor> {
        let terms = access(self.0.subject(), node, want).map_err(|_| Errno::EACCES)?;
        Ok(terms.actor)
    }
}

impl Reach for Judged<'_> {
    fn open(&self, parent: &Dir, name: &OsStr) -> nix::Result<Dir> {
        match may_search(self.0.subject(), node(parent.stat()?)) {
            true => parent.open(name),
            false => Err(Errno::EACCES),
        }
    }

    fn list(&self, dir: &Dir, last: Option<&OsStr>) -> nix::Result<Few> {
        let actor = self.actor(node(dir.stat()?), Want::LIST)?;
        actor.run(|| dir.children_after(last))
    }

    fn read(&self, dir: &Dir, file: &str) -> nix::Result<String> {
        let plain = self.0.plain_actor();
        let passing = self.actor(node(dir.stat()?), Want::SEARCH)?;
        let reading = self.actor(node(dir.stat_at(file)?), Want::READ)?;
        // What lets it pass the directory lets it read the file too, which was judged by itself.
        let actor = if passing == plain { reading } else { passing };
        actor.run(|| dir.read(file))
    }
}
