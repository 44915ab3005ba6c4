//! Watch: one client is told what happens in a cgroup. Before each word everything is asked
//! again: who the client is, its scope, the way to the cgroup, and the right to read the file that
//! says it. Whoever has lost one of these is told nothing more.

mod gaze;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cgroupd_proto::{CgroupPath, ErrorName};
use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::request::has_file;
use super::target::{Cgroup, Wanted};
use super::{Request, Service};
use crate::accounting::{Charge, Resource};
use crate::caller::Caller;
use crate::cgroup::watch::{Event, Sight, Source};
use crate::cgroup::{Dir, Version};
use crate::{Error, Result};
use gaze::{File, Gaze, Watched};

/// Takes what happened to the client: the path in its view, the event, and the kernel's count.
pub(crate) type Tell = Box<dyn Fn(&Arc<str>, Event, u64) + Send + Sync>;

/// A watch; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    ended: Arc<AtomicBool>,
    _sight: Sight,
}

impl Watch {
    /// Whether anything can still be told: not after the cgroup's end or a refusal.
    pub(crate) fn goes_on(&self) -> bool {
        !self.ended.load(Ordering::SeqCst)
    }
}

/// What the events of a call are read from.
struct Plan {
    files: Vec<File>,
    removed: bool,
}

/// Begins to watch the cgroup at `path`.
///
/// # Errors
/// Those of reading the files; NotSupported for events that its hierarchies cannot tell;
/// QuotaExceeded for one watch too many.
pub(crate) fn watch(
    (service, caller): (&Arc<Service>, &Arc<Caller>),
    request: &Request<'_>,
    path: &CgroupPath,
    events: &[String],
    tell: Tell,
) -> Result<Watch> {
    let mut cgroups = request.existing(path, &Wanted::Implied)?;
    // v2's files are the better ones.
    cgroups.sort_by_key(|cgroup| request.hierarchy(cgroup.target.hierarchy).version == Version::V1);
    let plan = request.plan_watch(&cgroups, events)?;
    let charges = charge(request, cgroups.len() * Watched::DESCRIPTORS)?;
    let is_polled = plan.files.iter().any(|file| request.is_v1(&cgroups[file.cgroup]));
    let opened = request.to_open(&cgroups, &plan, is_polled)?;
    let watched = cgroups.into_iter().map(Watched::of).collect::<Result<Vec<_>>>()?;
    let gaze = Arc::new(Gaze::new((service, caller), path, watched, plan, (tell, charges)));
    let (files, parents) = &opened;
    let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    let parents: Vec<_> = parents.iter().map(AsFd::as_fd).collect();
    let sight =
        service.hub.open(Arc::clone(&gaze) as _, &files, &parents, (caller.account, is_polled));
    let sight = sight.map_err(not_watched)?;
    // What happens from here on is seen: the files are read after the kernel was asked.
    gaze.look_at_files(request, &gaze.here())?;
    Ok(Watch { ended: gaze.ended(), _sight: sight })
}

/// Each watch costs the kernel memory, and everybody's notices come through one instance of inotify.
fn charge(request: &Request<'_>, descriptors: usize) -> Result<[Charge; 2]> {
    let charge = |resource, amount| request.charge(resource, amount);
    let both = charge(Resource::Watches, 1).and_then(|watch| {
        charge(Resource::Descriptors, descriptors).map(|descriptors| [watch, descriptors])
    });
    both.map_err(|error| error.hint("end some with Unwatch, or close their connections"))
}

fn not_watched(errno: Errno) -> Error {
    match errno {
        // inotify_init(2) answers EMFILE at its own limit too.
        Errno::ENOSPC | Errno::EMFILE => {
            let text = "the kernel has no room for another watch";
            Error::new(ErrorName::QuotaExceeded, text)
                .hint("raise the sysctl fs.inotify.max_user_watches or max_user_instances")
        }
        errno => Error::kernel("watch it", errno),
    }
}

impl Request<'_> {
    fn is_v1(&self, cgroup: &Cgroup) -> bool {
        self.hierarchy(cgroup.target.hierarchy).version == Version::V1
    }

    /// Where each event is read; without names all that can be told here.
    fn plan_watch(&self, cgroups: &[Cgroup], names: &[String]) -> Result<Plan> {
        let events: Vec<Event> = names.iter().map(|name| parse(name)).collect::<Result<_>>()?;
        let implied = events.is_empty();
        let events = if implied { Event::all().collect() } else { events };
        let mut plan = Plan { files: Vec::new(), removed: false };
        for event in events {
            match self.source(cgroups, event) {
                Ok((cgroup, source)) => plan.add(cgroup, event, source),
                Err(error) if implied && error.name == ErrorName::NotSupported => {}
                Err(error) => return Err(error),
            }
        }
        Ok(plan)
    }

    /// The first of the cgroups that can tell an event.
    fn source(&self, cgroups: &[Cgroup], event: Event) -> Result<(usize, Source)> {
        let mut why = "no hierarchy here can tell it".to_owned();
        for (index, cgroup) in cgroups.iter().enumerate() {
            match event.source(self.hierarchy(cgroup.target.hierarchy).version) {
                Ok(source) => match source.file() {
                    Some(file) if !has_file(&cgroup.dir, file)? => {
                        why = format!("it has no {file}, which comes with the controller");
                    }
                    _ => return Ok((index, source)),
                },
                Err(reason) => reason.clone_into(&mut why),
            }
        }
        Err(Error::new(ErrorName::NotSupported, format!("{}: {why}", event.name()))
            .hint("without events named, all that can be told here are watched"))
    }

    /// Handles of what the kernel gives notices of: v2's files, and the directories above, which
    /// alone tell of a cgroup's end. Looking at v1 takes long: what happens beside a cgroup that is
    /// looked at from time to time is no reason to.
    fn to_open(
        &self,
        cgroups: &[Cgroup],
        plan: &Plan,
        is_polled: bool,
    ) -> Result<(Vec<OwnedFd>, Vec<Dir>)> {
        let (mut files, mut parents) = (Vec::new(), Vec::new());
        for file in &plan.files {
            let cgroup = &cgroups[file.cgroup];
            if !self.is_v1(cgroup) {
                let opened = cgroup.dir.open_file(file.name, OFlag::O_PATH);
                files.push(opened.map_err(|errno| Error::kernel(file.name, errno))?);
            }
        }
        if is_polled {
            return Ok((files, parents));
        }
        for cgroup in cgroups {
            if let Some((_, above)) = cgroup.target.names.split_last() {
                let parent = cgroup.target.scope.dir.open(above.join("/"));
                parents.push(parent.map_err(|errno| Error::kernel("open its parent", errno))?);
            }
        }
        Ok((files, parents))
    }
}

impl Plan {
    fn add(&mut self, cgroup: usize, event: Event, source: Source) {
        let Some(name) = source.file() else {
            self.removed = true;
            return;
        };
        let known = self.files.iter_mut().find(|file| (file.cgroup, file.name) == (cgroup, name));
        match known {
            Some(file) if file.events.contains(&(event, source)) => {}
            Some(file) => file.events.push((event, source)),
            None => self.files.push(File { cgroup, name, events: vec![(event, source)] }),
        }
    }
}

fn parse(name: &str) -> Result<Event> {
    Event::parse(name).ok_or_else(|| {
        let known: Vec<_> = Event::all().map(Event::name).collect();
        Error::new(ErrorName::InvalidArgument, format!("there is no event {name:?}"))
            .hint(format!("there are {}", known.join(", ")))
    })
}
