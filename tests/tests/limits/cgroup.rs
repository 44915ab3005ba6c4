//! Cgroups of the test's own, in every hierarchy, gone when dropped.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use cgroupd::accounting::{Account, Accounts, Bounds};
use cgroupd::cgroup::limits::{Ground, Plan, ReclaimThreads, Wire, read, read_set};
use cgroupd::cgroup::{Actor, Dir, Hierarchy, Layout, Version, inherit_cpuset};
use cgroupd::sys::creds::{CapSet, Identity};
use cgroupd::transport::Limits;
use cgroupd::{Error, Result};
use cgroupd_proto::limit::{LimitName, LimitSet};
use cgroupd_tests::need::patience;
use cgroupd_tests::place;
use nix::errno::Errno;

static LAYOUT: OnceLock<Layout> = OnceLock::new();

/// Whose threads reclaim memory.
pub(crate) const WHO: Account = Account::User(1000);

pub(crate) fn accounts() -> Arc<Accounts> {
    Accounts::new(Bounds::new(&Limits::default(), 100))
}

pub(crate) fn threads(accounts: &Arc<Accounts>) -> ReclaimThreads {
    ReclaimThreads::of(accounts, WHO)
}

fn root_name() -> String {
    format!("{}cgroupd-test-limits-{}", place::prefix(), std::process::id())
}

/// The hierarchies, with a managed root of our own.
pub(crate) fn layout() -> &'static Layout {
    LAYOUT.get_or_init(|| {
        let layout = Layout::detect(&root_name()).expect("hierarchies");
        for hierarchy in &layout.hierarchies {
            enable(hierarchy, &hierarchy.top.open(place::prefix()).expect("it was made"));
        }
        layout
    })
}

/// Gives the children of a v2 cgroup the controllers the tests are about. `hugetlb` is left to
/// the test that needs it to be absent first.
fn enable(hierarchy: &Hierarchy, dir: &Dir) {
    let wanted = ["cpu", "cpuset", "io", "memory", "pids"];
    for controller in hierarchy.controllers.iter().filter(|c| wanted.contains(&c.as_str())) {
        if hierarchy.version == Version::V2 {
            dir.write("cgroup.subtree_control", &format!("+{controller}")).expect("enable");
        }
    }
}

/// Removes the managed root, when there was one.
pub(crate) fn clean_up() {
    for hierarchy in LAYOUT.get().into_iter().flat_map(|layout| &layout.hierarchies) {
        remove(&hierarchy.top, &root_name());
    }
}

/// A process takes a moment to leave its cgroup after it was waited for.
fn remove(parent: &Dir, name: &str) {
    let end = Instant::now() + patience(Duration::from_secs(5));
    while parent.remove(name) == Err(Errno::EBUSY) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) struct Cgroup {
    names: Vec<String>,
    dirs: BTreeMap<usize, (Dir, Arc<Dir>)>,
    /// Whom the engine is to be.
    pub(crate) actor: Actor,
}

impl Cgroup {
    /// A cgroup below the managed root.
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("cgroupd-test-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        Self::make(vec![name], &Actor::Root, true)
    }

    /// A cgroup below this one.
    pub(crate) fn child(&self, name: &str) -> Self {
        Self::make([&self.names[..], &[name.to_owned()]].concat(), &self.actor, true)
    }

    /// A cgroup below this one whose v1 cpuset is empty.
    pub(crate) fn bare_child(&self, name: &str) -> Self {
        Self::make([&self.names[..], &[name.to_owned()]].concat(), &self.actor, false)
    }

    fn make(names: Vec<String>, actor: &Actor, inherit: bool) -> Self {
        let (name, above) = names.split_last().expect("a name");
        let make_in = |index: usize| {
            let hierarchy = &layout().hierarchies[index];
            let parent: Dir = hierarchy.root.open(above.join("/")).expect("the parent");
            enable(hierarchy, &parent);
            let child = actor.run(|| parent.make(name).and_then(|()| parent.open(name)));
            let child = child.expect("mkdir");
            if inherit && hierarchy.is_v1_of("cpuset") {
                actor.run(|| inherit_cpuset(&parent, &child)).expect("inherit");
            }
            (index, (parent, Arc::new(child)))
        };
        let dirs = (0..layout().hierarchies.len()).map(make_in).collect();
        Self { names, dirs, actor: actor.clone() }
    }

    /// Makes the directory, and nothing in it, somebody else's.
    pub(crate) fn give_to(&mut self, uid: u32) {
        for (_, dir) in self.dirs.values() {
            let (uid, gid) = (Some(uid.into()), Some(uid.into()));
            let empty = nix::fcntl::AtFlags::AT_EMPTY_PATH;
            nix::unistd::fchownat(&**dir, "", uid, gid, empty).expect("chown");
        }
        self.actor = user(uid);
    }

    pub(crate) fn dir_of(&self, controller: &str) -> &Dir {
        let index = layout().find(controller).expect("the controller");
        &self.dirs[&index].1
    }

    /// A file's content, by itself.
    pub(crate) fn raw(&self, controller: &str, file: &str) -> String {
        self.dir_of(controller).read(file).expect(file).trim().to_owned()
    }

    /// Sets limits as SetLimits would.
    pub(crate) fn set(&self, limits: &[(&str, &str)]) -> Result<Wire> {
        self.set_with(
            limits,
            false,
            Instant::now() + patience(Duration::from_secs(20)),
            &threads(&accounts()),
        )
    }

    pub(crate) fn force(&self, limits: &[(&str, &str)]) -> Result<Wire> {
        self.set_with(
            limits,
            true,
            Instant::now() + patience(Duration::from_secs(20)),
            &threads(&accounts()),
        )
    }

    pub(crate) fn set_with(
        &self,
        limits: &[(&str, &str)],
        force: bool,
        deadline: Instant,
        threads: &ReclaimThreads,
    ) -> Result<Wire> {
        let set = LimitSet::parse(limits.iter().copied())?;
        Plan::new(&set, layout(), self, force)?.apply(threads, deadline)
    }

    /// The error of limits that cannot be set.
    pub(crate) fn refused(&self, limits: &[(&str, &str)]) -> Error {
        self.set(limits).expect_err("it is refused")
    }

    /// What a dry run answers.
    pub(crate) fn expected(&self, limits: &[(&str, &str)]) -> Wire {
        let set = LimitSet::parse(limits.iter().copied()).expect("limits");
        Plan::new(&set, layout(), self, false).expect("a plan").expected().clone()
    }

    /// One limit, read back.
    pub(crate) fn get(&self, name: &str) -> String {
        let known = LimitName::parse(name).expect("a name");
        read(&[known], layout(), self).expect("it can be read").remove(name).expect("it is there")
    }

    pub(crate) fn all_set(&self) -> HashMap<String, String> {
        read_set(layout(), self).expect("they can be read").into_iter().collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for (parent, _) in self.dirs.values() {
            remove(parent, self.names.last().expect("a name"));
        }
    }
}

impl Ground for Cgroup {
    fn dir(&self, hierarchy: usize) -> Result<Option<Arc<Dir>>> {
        Ok(self.dirs.get(&hierarchy).map(|(_, dir)| Arc::clone(dir)))
    }

    fn above(&self, hierarchy: usize) -> Result<Vec<Dir>> {
        let root = &layout().hierarchies[hierarchy].root;
        let depths = (0..self.names.len()).rev();
        let dirs = depths.map(|depth| root.open(self.names[..depth].join("/")));
        dirs.collect::<nix::Result<_>>().map_err(|errno| Error::kernel("open", errno))
    }

    fn reader(&self, _: usize, _: &str) -> Result<Actor> {
        Ok(self.actor.clone())
    }

    fn writer(&self, _: usize, _: &str) -> Result<Actor> {
        Ok(self.actor.clone())
    }
}

/// Somebody without capabilities.
pub(crate) fn user(uid: u32) -> Actor {
    Actor::As(Identity { uid, gid: uid, groups: [].into(), caps: CapSet::EMPTY })
}

/// The version of the hierarchy that has the controller.
pub(crate) fn version_of(controller: &str) -> Option<Version> {
    layout().find(controller).map(|index| layout().hierarchies[index].version)
}

/// A map for comparing.
pub(crate) fn wire(limits: &[(&str, &str)]) -> Wire {
    limits.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
