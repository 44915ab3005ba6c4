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
use crate::service::{Service, when_empty};

/// How long each search may take: some 2 million cgroups.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts the search.
pub(super) fn take_over(service: &Arc<Service>) {
    let service = Arc::clone(service);
    let thread = std::thread::Builder::new().name("take-over".to_owned());
    let started = thread.spawn(move || {
        let end = Instant::now() + PATIENCE;
        let hierarchies = &service.layout.hierarchies;
        hierarchies.iter().filter(|h| Freezer::file(h).is_some()).for_each(|h| search(h, end));
        if !when_empty::take_over(&service, Instant::now() + PATIENCE) {
            tracing::warn!(
                "not every cgroup that is to be removed when empty could be found again"
            );
        }
    });
    if let Err(error) = started {
        tracing::warn!(%error, "cannot look for what an earlier daemon left to do");
    }
}

fn search(hierarchy: &Hierarchy, end: Instant) {
    let walked = below(&hierarchy.root, |_, name, dir| {
        settle(hierarchy, dir, &name.to_string_lossy());
        Ok(match Instant::now() < end {
            true => ControlFlow::Continue(()),
            false => {
                tracing::warn!(
                    hierarchy = hierarchy.label,
                    "too many cgroups to look at each for a freeze that an earlier daemon left \
                     unfinished"
                );
                ControlFlow::Break(())
            }
        })
    });
    if let Err(errno) = walked {
        tracing::warn!(hierarchy = hierarchy.label, %errno, "cannot look for unfinished freezes");
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
