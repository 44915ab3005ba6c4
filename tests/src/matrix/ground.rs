//! The cgroups that rows stand on, in one hierarchy. Built by root for a site, and built anew
//! only when a row has changed something.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::rows::{Position, Site};
use super::state::{self, State};
use super::victims::put;
use crate::cgroups::Cgroups;
use crate::hierarchies::Hierarchy;
use crate::sweep;

/// The path of the managed root, below the test's own cgroup.
pub(super) const MANAGED: &str = "managed";
const HERE: &str = "managed/here";
const SIBLING: &str = "managed/else";
const OUTSIDE: &str = "outside";
/// A site's cgroup, and what is in it.
const SITE: &str = "t";
const CHILDREN: [&str; 4] = ["kid", "src", "tree", "tree/deep"];

/// The ground of one hierarchy.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) hierarchy: &'static Hierarchy,
    top: PathBuf,
    files: Vec<String>,
    built: Option<(Site, State)>,
}

impl Ground {
    /// The cgroups that stay: where identities live, another branch, and what is not managed.
    pub(super) fn new(hierarchy: &'static Hierarchy, cgroups: &Cgroups) -> Self {
        let top = cgroups.dir(hierarchy, "");
        for path in [HERE, SIBLING, OUTSIDE, "managed/else/src", "outside/src"] {
            cgroups.make_in(hierarchy, path);
        }
        let is_there = |file: &String| top.join(HERE).join(file).exists();
        let files = state::files().into_iter().filter(is_there).collect();
        Self { hierarchy, top, files, built: None }
    }

    /// Where all identities live.
    pub(super) fn here(&self) -> PathBuf {
        self.top.join(HERE)
    }

    pub(super) fn sibling(&self) -> PathBuf {
        self.top.join(SIBLING)
    }

    pub(super) fn outside(&self) -> PathBuf {
        self.top.join(OUTSIDE)
    }

    /// The cgroup a site means to callers that are confined to `here`, or not.
    pub(super) fn target(&self, position: Position, confined: bool) -> PathBuf {
        match position {
            Position::Below => self.here().join(SITE),
            Position::Sibling => self.sibling().join(SITE),
            Position::Outside => self.outside().join(SITE),
            Position::Top if confined => self.here(),
            Position::Top => self.top.join(MANAGED),
        }
    }

    /// The same in a caller's view: its scope is `here` or the managed root. What is beyond can
    /// only be named by climbing, or as if it were below.
    pub(super) fn view(&self, position: Position, confined: bool, climb: bool) -> String {
        let path = match (position, confined) {
            (Position::Top, _) => "/",
            (Position::Below, true) => "/t/",
            (Position::Below, false) => "/here/t/",
            (Position::Sibling, true) if climb => "/../else/t/",
            (Position::Sibling, _) => "/else/t/",
            (Position::Outside, true) if climb => "/../../outside/t/",
            (Position::Outside, false) if climb => "/../outside/t/",
            (Position::Outside, _) => "/outside/t/",
        };
        path.to_owned()
    }

    /// Makes the site be as it says, unless it is so since the last time.
    pub(super) fn prepare(&mut self, site: Site) {
        if self.built.as_ref().is_none_or(|(known, _)| *known != site) {
            self.clear();
            self.build(site);
            self.built = Some((site, self.state(site)));
        }
    }

    /// What has changed since the site was prepared. If anything has, it is built anew before
    /// it is used again.
    pub(super) fn changes(&mut self) -> Vec<String> {
        let Some((site, before)) = &self.built else { return Vec::new() };
        let changes = state::difference(before, &self.state(*site));
        if !changes.is_empty() {
            self.clear();
        }
        changes
    }

    /// The state of a site: of both tops, because callers differ in theirs.
    fn state(&self, site: Site) -> State {
        if site.position != Position::Top {
            return state::read(&self.target(site.position, true), &self.files, true);
        }
        let mut both = State::new();
        for dir in [self.top.join(MANAGED), self.here()] {
            let prefix = dir.display().to_string();
            let own = state::read(&dir, &self.files, false);
            both.extend(own.into_iter().map(|(name, line)| (prefix.clone() + &name, line)));
            both.insert(prefix + "/new", dir.join("new").exists().to_string());
        }
        both
    }

    fn build(&self, site: Site) {
        if site.position == Position::Top {
            self.own(&self.top.join(MANAGED), site.owner, site.mode);
            return self.own(&self.here(), site.owner, site.mode);
        }
        let target = self.target(site.position, true);
        make(&target);
        CHILDREN.iter().for_each(|child| make(&target.join(child)));
        for child in ["kid", "src", ""] {
            self.own(&target.join(child), site.owner, site.mode);
        }
    }

    /// Gives a cgroup and the files of it that rows are about an owner and a mode.
    fn own(&self, dir: &Path, (uid, gid): (u32, u32), mode: u32) {
        for path in self.files.iter().map(|file| dir.join(file)).chain([dir.to_owned()]) {
            let Ok(stat) = fs::metadata(&path) else { continue };
            let kind = if stat.is_dir() { 0o777 } else { spread(stat.permissions().mode()) };
            chown(&path, Some(uid), Some(gid)).expect("root may");
            let mode = fs::Permissions::from_mode(mode & kind);
            fs::set_permissions(&path, mode).expect("root may");
        }
    }

    /// Takes the last site away. Processes in it go home.
    pub(super) fn clear(&mut self) {
        let Some((site, _)) = self.built.take() else { return };
        if site.position == Position::Top {
            return self.restore();
        }
        for dir in sweep::tree(&self.target(site.position, true)).iter().rev() {
            sweep::procs(dir).into_iter().for_each(|pid| put(pid, &self.here(), self.hierarchy));
            fs::remove_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        }
    }

    /// The cgroups that stay, as they were.
    fn restore(&self) {
        for dir in [self.top.join(MANAGED), self.here()] {
            let _ = fs::remove_dir(dir.join("new"));
            self.own(&dir, (0, 0), 0o755);
            for limit in ["pids.max", "cgroup.max.depth"] {
                if dir.join(limit).exists() {
                    fs::write(dir.join(limit), "max").expect("root may");
                }
            }
        }
    }
}

fn make(dir: &Path) {
    fs::create_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
}

/// A file's owner bits, for all three classes: what nobody can read stays so.
fn spread(mode: u32) -> u32 {
    let owner = (mode >> 6 | mode >> 3 | mode) & 0o6;
    owner << 6 | owner << 3 | owner
}
