//! List: the tree of cgroups below a path, all hierarchies merged, in pages.
//!
//! A page is found again by the last path of the one before: rows come in the order of a
//! depth-first walk with sorted names, so cgroups may come and go between pages.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use cgroupd_proto::{CgroupPath, escape_name};

use super::Request;
use super::request::node;
use super::target::{Wanted, shown};
use crate::cgroup::{Dir, Version, Walk};
use crate::policy::{Want, access};
use crate::{Error, Result};

/// One cgroup: its path in the caller's view and what is known of it.
pub(crate) type Row = (String, HashMap<String, String>);
/// The rows of one answer.
pub(crate) type Rows = Vec<Row>;

/// Which part of the tree is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// How many levels below the path; 0 is all.
    pub(crate) depth: u32,
    /// Rows start after this path; empty: from the first.
    pub(crate) after: String,
    /// The most rows.
    pub(crate) limit: usize,
    /// Whether to count children.
    pub(crate) children: bool,
}

/// The same cgroup in the hierarchies it exists in, open.
struct Merged {
    names: Vec<String>,
    dirs: Vec<(usize, Arc<Dir>)>,
    level: u32,
}

/// A child whose turn has not come: a wide tree must not cost a descriptor for each.
struct Child {
    names: Vec<String>,
    name: OsString,
    parents: Vec<(usize, Arc<Dir>)>,
    level: u32,
}

impl Request<'_> {
    /// One page, and where the next one starts (empty: there is none).
    pub(crate) fn list(&self, path: &CgroupPath, page: &Page) -> Result<(Rows, String)> {
        let cgroups = self.existing(path, &Wanted::Implied)?;
        let after = CgroupPath::parse(&page.after)?;
        let names = cgroups[0].target.names.clone();
        let dirs = cgroups.into_iter().map(|c| (c.target.hierarchy, Arc::new(c.dir))).collect();
        let mut rest = Vec::new();
        let mut rows = Rows::new();
        let mut next = Some(Merged { names, dirs, level: 0 });
        while let Some(cgroup) = next.or_else(|| self.open_next(&mut rest)) {
            if cgroup.level > 0 && cgroup.names[..] > *after.components() {
                if rows.len() == page.limit {
                    let next = rows.last().map(|(path, _)| path.clone()).unwrap_or_default();
                    return Ok((rows, next));
                }
                rows.push((shown(&cgroup.names), self.row(&cgroup, page)));
            }
            let descend = page.depth == 0 || cgroup.level < page.depth;
            if descend && may_hold_later(&cgroup.names, after.components()) {
                let children = self.children(&cgroup)?;
                let later = |child: &Child| may_hold_later(&child.names, after.components());
                rest.extend(children.into_iter().rev().filter(later));
            }
            next = None;
        }
        Ok((rows, String::new()))
    }

    /// The children in all hierarchies, by name. What the caller may not list is empty, but for
    /// the path it asked about.
    fn children(&self, parent: &Merged) -> Result<Vec<Child>> {
        // In the order of what is shown, in which pages are found again.
        let mut merged: BTreeMap<(String, OsString), Vec<(usize, Arc<Dir>)>> = BTreeMap::new();
        for (index, dir) in &parent.dirs {
            let listed = self.list_one(dir);
            let children = match listed {
                Err(error) if parent.level == 0 => return Err(error),
                listed => listed.unwrap_or_default(),
            };
            for name in children {
                let key = (escape_name(name.as_bytes()), name);
                merged.entry(key).or_default().push((*index, Arc::clone(dir)));
            }
        }
        let child = |((shown, name), parents)| Child {
            names: [&parent.names[..], &[shown]].concat(),
            name,
            parents,
            level: parent.level + 1,
        };
        Ok(merged.into_iter().map(child).collect())
    }

    /// The next child that is still there and that the caller may reach.
    fn open_next(&self, rest: &mut Vec<Child>) -> Option<Merged> {
        loop {
            let Child { names, name, parents, level } = rest.pop()?;
            let open = |(index, parent): &(usize, Arc<Dir>)| {
                let terms = access(self.subject(), node(parent.stat().ok()?), Want::LIST).ok()?;
                let dir = terms.actor.run(|| parent.open(&name)).ok()?;
                Some((*index, Arc::new(dir)))
            };
            let dirs: Vec<_> = parents.iter().filter_map(open).collect();
            if !dirs.is_empty() {
                return Some(Merged { names, dirs, level });
            }
        }
    }

    fn list_one(&self, dir: &Dir) -> Result<Vec<OsString>> {
        let kernel = |errno| Error::kernel("list its children", errno);
        let terms = access(self.subject(), node(dir.stat().map_err(kernel)?), Want::LIST)?;
        terms.actor.run(|| dir.entries()).map(|entries| entries.children).map_err(kernel)
    }

    fn row(&self, cgroup: &Merged, page: &Page) -> HashMap<String, String> {
        let (_, first) = &cgroup.dirs[0];
        let Ok(stat) = first.stat() else { return HashMap::new() };
        let mut row = self.owner_row(stat);
        let labels: Vec<&str> =
            cgroup.dirs.iter().map(|(index, _)| self.hierarchy(*index).label.as_str()).collect();
        row.insert("controllers".to_owned(), labels.join(","));
        let populated = cgroup.dirs.iter().any(|(index, dir)| self.is_populated(*index, dir));
        row.insert("populated".to_owned(), u8::from(populated).to_string());
        if page.children {
            let count = cgroup.dirs.iter().filter_map(|(_, dir)| dir.stat().ok());
            let count = count.map(|stat| stat.st_nlink.saturating_sub(2)).max().unwrap_or(0);
            row.insert("children".to_owned(), count.to_string());
        }
        row
    }

    /// Whether a process is in the cgroup or below. v1 does not say: its processes are looked
    /// for, the first one ends the search.
    fn is_populated(&self, index: usize, dir: &Arc<Dir>) -> bool {
        if self.hierarchy(index).version == Version::V2 {
            return dir.read("cgroup.events").is_ok_and(|text| text.contains("populated 1"));
        }
        has_process(dir)
    }
}

fn has_process(top: &Arc<Dir>) -> bool {
    let inhabited = |dir: &Dir| dir.read("cgroup.procs").is_ok_and(|text| !text.is_empty());
    inhabited(top) || Walk::below(Arc::clone(top)).any(|dir| inhabited(&dir))
}

/// Whether `names` or anything below it comes after the last row of the page before.
fn may_hold_later(names: &[String], after: &[String]) -> bool {
    after.starts_with(names) || *names > *after
}
