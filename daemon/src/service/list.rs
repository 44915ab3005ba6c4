//! List: the tree of cgroups below a path, all hierarchies merged, in pages.
//!
//! A page is found again by the last path of the one before: rows come in the order of a
//! depth-first walk with sorted names, so cgroups may come and go between pages.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use cgroupd_proto::{CgroupPath, ErrorName, escape_name};
use nix::errno::Errno;

use super::Request;
use super::request::node;
use super::target::{Wanted, shown};
use crate::cgroup::{self, Dir, Reach, Version, all_below};
use crate::policy::{Want, access};
use crate::{Error, Result};

/// How many cgroups are searched for processes for the rows of one page. When they are used up
/// rows do not say whether they are populated: the search begins anew for each of the levels
/// above a large empty tree.
const LOOKS: usize = 20_000;

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

/// A cgroup whose children are listed, in the hierarchies it exists in.
struct Parent {
    names: Vec<String>,
    dirs: Vec<(usize, Dir)>,
    level: u32,
}

/// A child that was seen. It is opened when its turn comes: there may be more siblings than
/// this process can have descriptors.
struct Child {
    parent: Rc<Parent>,
    name: OsString,
    /// In which of the parent's hierarchies, by their place in `dirs`.
    within: Vec<usize>,
}

impl Request<'_> {
    /// One page, and where the next one starts (empty: there is none).
    pub(crate) fn list(&self, path: &CgroupPath, page: &Page) -> Result<(Rows, String)> {
        let cgroups = self.existing(path, &Wanted::Implied)?;
        let after = CgroupPath::parse(&page.after)?;
        let after = after.components();
        let names = cgroups[0].target.names.clone();
        let dirs = cgroups.into_iter().map(|c| (c.target.hierarchy, c.dir)).collect();
        let top = Parent { names, dirs, level: 0 };
        let mut rest = Vec::new();
        if may_hold_later(&top.names, after) {
            self.push_children(top, after, &mut rest)?;
        }
        let (mut rows, mut looks) = (Rows::new(), LOOKS);
        while let Some(child) = rest.pop() {
            let Some(cgroup) = child.open()? else { continue };
            if cgroup.names[..] > *after {
                if rows.len() == page.limit {
                    let next = rows.last().map(|(path, _)| path.clone()).unwrap_or_default();
                    return Ok((rows, next));
                }
                rows.push((shown(&cgroup.names), self.row(&cgroup, page, &mut looks)?));
            }
            if page.depth == 0 || cgroup.level < page.depth {
                self.push_children(cgroup, after, &mut rest)?;
            }
        }
        Ok((rows, String::new()))
    }

    /// The names of a cgroup's children, in the kernel's order.
    pub(crate) fn children(&self, path: &CgroupPath) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for cgroup in self.existing(path, &Wanted::Implied)? {
            names.extend(
                self.list_one(&cgroup.dir)?.iter().map(|name| escape_name(name.as_bytes())),
            );
        }
        Ok(names)
    }

    /// Puts the children in all hierarchies on the stack, the first by name on top. What the
    /// caller may not list is empty, but for the path it asked about.
    fn push_children(&self, parent: Parent, after: &[String], rest: &mut Vec<Child>) -> Result<()> {
        // In the order of what is shown, in which pages are found again.
        let mut merged: BTreeMap<(String, OsString), Vec<usize>> = BTreeMap::new();
        for (at, (_, dir)) in parent.dirs.iter().enumerate() {
            // Most have none, and a look at the links is cheaper than one at the directory.
            if parent.level > 0 && dir.has_children() == Ok(false) {
                continue;
            }
            let names = match self.list_one(dir) {
                // What the caller may not list, or what has gone, has no rows.
                Err(error)
                    if parent.level > 0
                        && [ErrorName::Denied, ErrorName::NotFound].contains(&error.name) =>
                {
                    Vec::new()
                }
                listed => listed?,
            };
            for name in names {
                let shown = escape_name(name.as_bytes());
                merged.entry((shown, name)).or_default().push(at);
            }
        }
        let parent = Rc::new(parent);
        let child = |((_, name), within)| Child { parent: Rc::clone(&parent), name, within };
        let later = |child: &Child| may_hold_later(&child.names(), after);
        rest.extend(merged.into_iter().rev().map(child).filter(later));
        Ok(())
    }

    fn list_one(&self, dir: &Dir) -> Result<Vec<OsString>> {
        let kernel = |errno| Error::kernel("list its children", errno);
        let terms = access(self.subject(), node(dir.stat().map_err(kernel)?), Want::LIST)?;
        Ok(terms.actor.run(|| dir.entries()).map_err(kernel)?.children)
    }

    fn row(
        &self,
        cgroup: &Parent,
        page: &Page,
        looks: &mut usize,
    ) -> Result<HashMap<String, String>> {
        let (_, first) = &cgroup.dirs[0];
        let mut row = self.owner_row(first.stat().map_err(unread)?);
        let labels: Vec<&str> =
            cgroup.dirs.iter().map(|(index, _)| self.hierarchy(*index).label.as_str()).collect();
        row.insert("controllers".to_owned(), labels.join(","));
        if let Some(populated) = self.are_populated(&cgroup.dirs, looks)? {
            row.insert("populated".to_owned(), u8::from(populated).to_string());
        }
        if page.children {
            let mut count = 0;
            for (_, dir) in &cgroup.dirs {
                count = count.max(dir.stat().map_err(unread)?.st_nlink.saturating_sub(2));
            }
            row.insert("children".to_owned(), count.to_string());
        }
        Ok(row)
    }

    /// Whether a process is in the cgroup or below, in any of its hierarchies; `None` when that
    /// cannot be told of one of them, or is not the caller's to know.
    fn are_populated(&self, dirs: &[(usize, Dir)], looks: &mut usize) -> Result<Option<bool>> {
        let found = self.as_caller(|reach| {
            let (mut all_known, mut closed) = (true, false);
            for (index, dir) in dirs {
                match is_populated(reach, self.hierarchy(*index).version, dir, looks) {
                    Ok(Some(true)) => return Ok(Some(true)),
                    Ok(known) => all_known &= known.is_some(),
                    Err(Errno::EACCES) => closed = true,
                    Err(errno) => return Err(errno),
                }
            }
            if closed { Err(Errno::EACCES) } else { Ok(all_known.then_some(false)) }
        });
        match found {
            Err(Errno::EACCES) => Ok(None),
            found => found.map_err(unread),
        }
    }
}

impl Child {
    /// `None` when it is gone. The parents were opened for listing as the caller, by a look-up of
    /// `.` in them: so it may look up the child too, and nobody has to act as it once more.
    fn open(&self) -> Result<Option<Parent>> {
        let mut dirs = Vec::with_capacity(self.within.len());
        for at in &self.within {
            let (index, parent) = &self.parent.dirs[*at];
            match parent.open(&self.name) {
                Ok(dir) => dirs.push((*index, dir)),
                Err(Errno::ENOENT | Errno::ENODEV) => {}
                Err(errno) => return Err(Error::kernel("open a child", errno)),
            }
        }
        let level = self.parent.level + 1;
        Ok((!dirs.is_empty()).then(|| Parent { names: self.names(), dirs, level }))
    }

    fn names(&self) -> Vec<String> {
        [&self.parent.names[..], &[escape_name(self.name.as_bytes())]].concat()
    }
}

/// v2 says it in a file. v1 does not: processes are looked for, and the first one ends the search.
/// `None` when no looks are left.
///
/// # Errors
/// EACCES where the caller may not look.
fn is_populated(
    reach: &dyn Reach,
    version: Version,
    dir: &Dir,
    looks: &mut usize,
) -> nix::Result<Option<bool>> {
    let found = match version {
        Version::V2 => reach.read(dir, "cgroup.events").map(|text| cgroup::is_populated(&text)),
        Version::V1 => has_process(reach, dir, looks),
    };
    match found {
        Ok(found) => Ok(Some(found)),
        // No looks are left; or it is too deep.
        Err(Errno::ENOSPC | Errno::ELOOP) => Ok(None),
        // A list of processes that is longer than any that is read.
        Err(Errno::EFBIG) => Ok(Some(true)),
        // It was removed meanwhile.
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(Some(false)),
        Err(errno) => Err(errno),
    }
}

/// # Errors
/// ENOSPC when `looks` are used up.
fn has_process(reach: &dyn Reach, dir: &Dir, looks: &mut usize) -> nix::Result<bool> {
    let mut found = !reach.read(dir, "cgroup.procs")?.is_empty();
    if found || !dir.has_children()? {
        return Ok(found);
    }
    // The walk comes to the deepest first: with no looks left it would go there in vain.
    if *looks == 0 {
        return Err(Errno::ENOSPC);
    }
    let walked = all_below(reach, dir, |_, _, dir| {
        *looks = looks.checked_sub(1).ok_or(Errno::ENOSPC)?;
        found = match reach.read(dir, "cgroup.procs") {
            Err(Errno::ENOENT | Errno::ENODEV) => false,
            text => !text?.is_empty(),
        };
        Ok(if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    if walked == Err(Errno::ELOOP) {
        // What was too deep for this walk would be for the next one, from a level above.
        *looks = 0;
    }
    walked.map(|()| found)
}

fn unread(errno: Errno) -> Error {
    Error::kernel("look whether a process is in it", errno)
}

/// Whether `names` or anything below it comes after the last row of the page before.
fn may_hold_later(names: &[String], after: &[String]) -> bool {
    after.starts_with(names) || *names > *after
}
