//! List: the tree of cgroups below a path, all hierarchies merged, in pages.
//!
//! A page is found again by the last path of the one before: rows come in the order of a
//! depth-first walk with sorted names, so cgroups may come and go between pages. A page is bounded
//! in rows and in bytes. What no path of the API can name has no row: the row of its parent says how
//! many these are.

mod populated;
mod walk;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use cgroupd_proto::{CgroupPath, ErrorName, escape_name};

use super::Request;
use super::request::node;
use super::target::Wanted;
use crate::accounting::Resource;
use crate::cgroup::{Dir, Few, is_after};
use crate::policy::{Want, access};
use crate::{Error, Result};
use walk::{Place, Walk};

/// The bytes of a page's paths and facts, after which it ends.
const PAGE_BYTES: usize = 256 << 10;

/// One cgroup: its path in the caller's view and what is known of it.
pub(crate) type Row = (String, Facts);
/// The rows of one answer.
pub(crate) type Rows = Vec<Row>;
/// What is known of a cgroup.
type Facts = HashMap<String, String>;

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

impl Request<'_> {
    /// One page, and where the next one starts (empty: there is none).
    ///
    /// # Errors
    /// NotFound, Denied; QuotaExceeded when the caller's calls have too many cgroups open.
    pub(crate) fn list(&self, path: &CgroupPath, page: &Page) -> Result<(Rows, String)> {
        let cgroups = self.existing(path, &Wanted::Implied)?;
        let after = CgroupPath::parse(&page.after)?;
        let names = cgroups[0].target.names.clone();
        let dirs = cgroups.into_iter().map(|c| (c.target.hierarchy, c.dir)).collect();
        let mut walk = Walk::new(self, page, after.components(), names);
        let is_last = walk.run(self.held(dirs)?)?;
        let last = walk.rows.last().map(|(path, _)| path.clone());
        let next = last.filter(|_| !is_last).unwrap_or_default();
        Ok((walk.rows, next))
    }

    /// The names of a cgroup's children, sorted within each hierarchy.
    ///
    /// # Errors
    /// QuotaExceeded for more than a reply can hold.
    pub(crate) fn children(&self, path: &CgroupPath) -> Result<Vec<String>> {
        let (mut names, mut bytes) = (Vec::new(), 0);
        for cgroup in self.existing(path, &Wanted::Implied)? {
            let mut last: Option<OsString> = None;
            let mut more = true;
            while more {
                let few = self.list_one(&cgroup.dir, |name| is_after(name, last.as_deref()))?;
                bytes += few.names.iter().map(|name| name.len()).sum::<usize>();
                if bytes > PAGE_BYTES {
                    let text = "the names of its children are more than a reply can hold";
                    return Err(Error::new(ErrorName::QuotaExceeded, text).hint("use List"));
                }
                names.extend(few.names.iter().map(|name| escape_name(name.as_bytes())));
                (last, more) = (few.names.last().cloned(), few.more);
            }
        }
        Ok(names)
    }

    /// The first few of a cgroup's children that are wanted.
    fn list_one(&self, dir: &Dir, wanted: impl FnMut(&OsStr) -> bool) -> Result<Few> {
        let kernel = |errno| Error::kernel("list its children", errno);
        let terms = access(self.subject(), node(dir.stat().map_err(kernel)?), Want::LIST)?;
        terms.actor.run(|| dir.few_children(wanted)).map_err(kernel)
    }

    /// Open directories, charged to the caller.
    fn held(&self, dirs: Vec<(usize, Dir)>) -> Result<Place> {
        let charge = self.charge(Resource::Descriptors, dirs.len());
        let charge = charge.map_err(|error| error.hint("wait for the calls that are under way"))?;
        Ok(Place { dirs, _charge: charge })
    }

    fn row(&self, cgroup: &Place, page: &Page, looks: &mut usize) -> Result<Facts> {
        let (_, first) = &cgroup.dirs[0];
        let mut row = self.owner_row(first.stat().map_err(populated::unread)?);
        let labels: Vec<&str> =
            cgroup.dirs.iter().map(|(index, _)| self.hierarchy(*index).label.as_str()).collect();
        row.insert("controllers".to_owned(), labels.join(","));
        if let Some(populated) = self.are_populated(&cgroup.dirs, looks)? {
            row.insert("populated".to_owned(), u8::from(populated).to_string());
        }
        if page.children {
            let mut count = 0;
            for (_, dir) in &cgroup.dirs {
                count =
                    count.max(dir.stat().map_err(populated::unread)?.st_nlink.saturating_sub(2));
            }
            row.insert("children".to_owned(), count.to_string());
        }
        Ok(row)
    }
}
