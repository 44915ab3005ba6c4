//! What an earlier daemon left to do, in the background: there may be many cgroups to look at.
//!
//! Freezes that it was killed in the middle of are undone: who asked for them has no answer, and
//! nobody may know that they were begun. What it promised to remove when empty is kept in mind.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::cgroup::freezer::thaw_abandoned;
use crate::cgroup::{Dir, Freezer, Hierarchy, below};
use crate::service::{Service, when_empty::Found};

/// How long the search may take in all: some 4 million cgroups.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the search.
pub(super) fn take_over(service: &Arc<Service>) {
    let service = Arc::clone(service);
    let thread = std::thread::Builder::new().name("take-over".to_owned());
    let started = thread.spawn(move || {
        let (end, mut promises) = (Instant::now() + PATIENCE, Found::default());
        service.layout.hierarchies.iter().for_each(|h| search(h, end, &mut promises));
        if !promises.keep(&service) {
            tracing::warn!("not all that is to be removed when empty can be kept in mind");
        }
    });
    if let Err(error) = started {
        tracing::warn!(%error, "cannot look for what an earlier daemon left to do");
    }
}

fn search(hierarchy: &Hierarchy, end: Instant, promises: &mut Found) {
    let has_freezer = Freezer::file(hierarchy).is_some();
    let walked = below(&hierarchy.root, |parent, name, dir| {
        if has_freezer {
            settle(hierarchy, dir, &name.to_string_lossy());
        }
        promises.look(hierarchy, (parent, name), dir)?;
        Ok(match Instant::now() < end {
            true => ControlFlow::Continue(()),
            false => {
                tracing::warn!(
                    hierarchy = hierarchy.label,
                    "too many cgroups to look at each for what an earlier daemon left to do"
                );
                ControlFlow::Break(())
            }
        })
    });
    if let Err(errno) = walked {
        tracing::warn!(
            hierarchy = hierarchy.label,
            %errno,
            "cannot look everywhere for what an earlier daemon left to do"
        );
    }
}

fn settle(hierarchy: &Hierarchy, dir: &Dir, name: &str) {
    let path = || dir.place().map_or_else(|_| name.to_owned(), |path| path.display().to_string());
    match thaw_abandoned(dir, hierarchy.version) {
        Ok(false) | Err(Errno::ENOENT | Errno::ENODEV) => {}
        Ok(true) => {
            tracing::warn!(path = path(), "thawed: an earlier daemon was killed while it froze it")
        }
        Err(errno) => {
            let path = path();
            tracing::error!(path, %errno, "half frozen by an earlier daemon, and cannot be thawed");
        }
    }
}
