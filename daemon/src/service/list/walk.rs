//! The walk of List: it keeps one cgroup of each level open, and the names of a few siblings.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use cgroupd_proto::{CgroupPath, ErrorName, escape_name};
use nix::errno::Errno;

use super::super::Request;
use super::super::target::shown;
use super::populated::LOOKS;
use super::{Facts, PAGE_BYTES, Page, Rows};
use crate::accounting::Charge;
use crate::cgroup::{Dir, Few, MOST_NAMES, is_after};
use crate::{Error, Result};

/// The fact that some of a cgroup's children have no row, and how many.
const LEFT_OUT: &str = "left-out";

/// A cgroup in the hierarchies it exists in.
pub(super) struct Place {
    pub(super) dirs: Vec<(usize, Dir)>,
    pub(super) _charge: Charge,
}

/// A cgroup whose children are listed.
struct Level {
    place: Place,
    /// How many names lead to it.
    depth: usize,
    /// The next children, the first one at the end, and in which of the directories they are.
    next: Vec<(OsString, Vec<usize>)>,
    /// The child that the walk is at, or was at last.
    at: Option<OsString>,
    /// Whether there may be more behind `next`.
    more: bool,
}

pub(super) struct Walk<'a> {
    request: &'a Request<'a>,
    page: &'a Page,
    after: &'a [String],
    levels: Vec<Level>,
    /// The names from the scope to the present cgroup.
    names: Vec<String>,
    looks: usize,
    pub(super) rows: Rows,
    bytes: usize,
}

impl<'a> Walk<'a> {
    /// A walk from the cgroup that has these names; rows begin after the names `after`.
    pub(super) fn new(
        request: &'a Request<'a>,
        page: &'a Page,
        after: &'a [String],
        names: Vec<String>,
    ) -> Self {
        let (levels, rows) = (Vec::new(), Rows::new());
        Self { request, page, after, levels, names, looks: LOOKS, rows, bytes: 0 }
    }

    /// Fills the page; whether it is the last.
    pub(super) fn run(&mut self, top: Place) -> Result<bool> {
        if !self.after.starts_with(&self.names) && self.names[..] <= *self.after {
            return Ok(true);
        }
        self.go_down(top)?;
        while let Some(cgroup) = self.next()? {
            if self.names[..] > *self.after {
                if self.rows.len() == self.page.limit || self.bytes > PAGE_BYTES {
                    return Ok(false);
                }
                let facts = self.request.row(&cgroup, self.page, &mut self.looks)?;
                self.add_row(facts);
            }
            if self.page.depth == 0 || self.levels.len() < self.page.depth as usize {
                self.go_down(cgroup)?;
            }
        }
        Ok(true)
    }

    /// The next cgroup of the walk that is still there; its names are the present ones then.
    fn next(&mut self) -> Result<Option<Place>> {
        while let Some(level) = self.levels.last_mut() {
            if let Some((name, within)) = level.next.pop() {
                self.names.truncate(level.depth);
                self.names.push(escape_name(name.as_bytes()));
                let dirs = level.open(&name, &within)?;
                level.at = Some(name);
                if !dirs.is_empty() {
                    return self.request.held(dirs).map(Some);
                }
            } else if level.more {
                self.list_more()?;
            } else {
                self.levels.pop();
            }
        }
        Ok(None)
    }

    fn add_row(&mut self, facts: Facts) {
        let path = shown(&self.names);
        let size = |(key, value): (&String, &String)| key.len() + value.len();
        self.bytes += path.len() + facts.iter().map(size).sum::<usize>();
        self.rows.push((path, facts));
    }

    /// Begins with the children of a cgroup.
    fn go_down(&mut self, place: Place) -> Result<()> {
        let depth = self.names.len();
        self.levels.push(Level { place, depth, next: Vec::new(), at: None, more: true });
        let left_out = self.list_more()?;
        if left_out > 0 {
            self.add_left_out(left_out);
        }
        Ok(())
    }

    /// Adds to the row of the present cgroup that some of its children have none. The cgroup that was
    /// asked about has a row for that alone.
    fn add_left_out(&mut self, left_out: usize) {
        let fact = (LEFT_OUT.to_owned(), left_out.to_string());
        let is_shown = self.names[..] > *self.after;
        match self.rows.last_mut() {
            Some((_, facts)) if is_shown && self.levels.len() > 1 => facts.extend([fact]),
            _ if self.levels.len() == 1 && self.page.after.is_empty() => {
                self.add_row(Facts::from([fact]));
            }
            _ => {}
        }
    }

    /// Lists the next few children of the last level. Answers how many of all its children have a name
    /// that no path can have, in the hierarchy with the most of them. What the caller may not list is
    /// empty, but for the path it asked about.
    fn list_more(&mut self) -> Result<usize> {
        let is_top = self.levels.len() == 1;
        let Some(level) = self.levels.last_mut() else { return Ok(0) };
        let names = Names::new(&self.names[..level.depth], self.after);
        let (mut found, mut left_out) = (Found::default(), 0);
        for (index, (_, dir)) in level.place.dirs.iter().enumerate() {
            // Most have none, and a look at the links is cheaper than one at the directory.
            if !is_top && dir.has_children() == Ok(false) {
                continue;
            }
            let mut unnamed = 0;
            let listed = self.request.list_one(dir, |name| {
                is_after(name, level.at.as_deref()) && names.wants(name, &mut unnamed)
            });
            match listed {
                // What the caller may not list, or what has gone, has no rows.
                Err(error) if !is_top && is_closed(&error) => {}
                listed => found.add(index, listed?),
            }
            left_out = left_out.max(unnamed);
        }
        let (next, more, alike) = found.first(level.at.as_deref());
        (level.next, level.more) = (next, more);
        Ok(left_out + alike)
    }
}

fn is_closed(error: &Error) -> bool {
    [ErrorName::Denied, ErrorName::NotFound].contains(&error.name)
}

impl Level {
    /// Where it exists. The parents were opened for listing as the caller, by a look-up of `.` in
    /// them: so it may look up the child too, and nobody has to act as it once more.
    fn open(&self, name: &OsStr, within: &[usize]) -> Result<Vec<(usize, Dir)>> {
        let mut dirs = Vec::with_capacity(within.len());
        for at in within {
            let (hierarchy, parent) = &self.place.dirs[*at];
            match parent.open(name) {
                Ok(dir) => dirs.push((*hierarchy, dir)),
                Err(Errno::ENOENT | Errno::ENODEV) => {}
                Err(errno) => return Err(Error::kernel("open a child", errno)),
            }
        }
        Ok(dirs)
    }
}

/// Which children of a cgroup are wanted.
struct Names<'a> {
    /// The names before this one were listed on the page before, with all that is below them.
    least: Option<&'a str>,
    /// What is left of the longest path, and of the levels that it may have.
    bytes: usize,
    levels: usize,
}

impl<'a> Names<'a> {
    fn new(above: &[String], after: &'a [String]) -> Self {
        let used: usize = above.iter().map(|name| name.len() + 1).sum();
        Self {
            least: after.strip_prefix(above).and_then(<[String]>::first).map(String::as_str),
            bytes: CgroupPath::MAX_BYTES.saturating_sub(used + 1),
            levels: CgroupPath::MAX_DEPTH.saturating_sub(above.len()),
        }
    }

    fn wants(&self, name: &OsStr, unnamed: &mut usize) -> bool {
        let name = escape_name(name.as_bytes());
        if self.levels == 0 || name.len() > self.bytes.min(CgroupPath::MAX_NAME) {
            *unnamed += 1;
            return false;
        }
        self.least.is_none_or(|least| &*name >= least)
    }
}

/// Children that were found in several hierarchies.
#[derive(Default)]
struct Found {
    by_name: BTreeMap<(String, OsString), Vec<usize>>,
    /// Where the first of those lists ends that are not complete.
    end: Option<(String, OsString)>,
}

impl Found {
    fn add(&mut self, index: usize, few: Few) {
        let key = |name: OsString| (escape_name(name.as_bytes()), name);
        if few.more
            && let Some(last) = few.names.last().cloned().map(key)
            && self.end.as_ref().is_none_or(|end| last < *end)
        {
            self.end = Some(last);
        }
        for name in few.names {
            self.by_name.entry(key(name)).or_default().push(index);
        }
    }

    /// The first of them, the very first at the end; whether there are more; and how many are shown as
    /// the one before them is (`\xff` as a name, and that byte as a name): no path means them.
    fn first(self, at: Option<&OsStr>) -> (Vec<(OsString, Vec<usize>)>, bool, usize) {
        let Self { by_name, end } = self;
        let all = by_name.len();
        let known =
            by_name.into_iter().take_while(|(key, _)| end.as_ref().is_none_or(|e| key <= e));
        let (mut first, mut taken) = (Vec::new(), 0);
        let mut before = at.map(|at| escape_name(at.as_bytes()));
        for ((shown, name), within) in known.take(MOST_NAMES) {
            taken += 1;
            if before.as_ref() != Some(&shown) {
                first.push((name, within));
            }
            before = Some(shown);
        }
        first.reverse();
        let alike = taken - first.len();
        (first, end.is_some() || taken < all, alike)
    }
}
