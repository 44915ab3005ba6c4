//! What SetLimits promises, whatever the limit: all or nothing, every name accounted for, done
//! as the caller.

use std::sync::Arc;

use cgroupd::cgroup::limits::{Ground, Plan, check_new, needs};
use cgroupd::cgroup::{Actor, Dir, Version};
use cgroupd::{Error, Result};
use cgroupd_proto::ErrorName;
use cgroupd_proto::limit::LimitSet;
use libtest_mimic::Trial;

use crate::cgroup::{Cgroup, layout, user, version_of, wire};
use crate::{Prerequisite, has, root, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("case_33_a_bad_value_among_good_ones", pids, bad_value),
        test("case_33_what_the_kernel_refuses_is_restored_and_named", refusing_cpu, restored),
        test("what_is_set_is_read_back", pids, read_back),
        test("a_dry_run_writes_nothing", pids, dry_run),
        test("the_caller_sets_what_it_owns", pids, as_owner),
        test("the_caller_sets_nothing_else", pids, as_stranger),
        test("one_denied_file_and_nothing_is_written", pids, half_denied),
        test("a_removed_cgroup_is_not_found", pids, removed),
        test("a_hierarchy_without_the_cgroup_is_named", pids, elsewhere),
        test("the_root_of_a_hierarchy_has_no_limits", pids, at_the_root),
        test("what_no_kernel_has_is_not_supported_with_the_cause", root, absent),
        test("limits_are_checked_before_there_is_a_cgroup", pids, before_creating),
    ]
}

fn pids() -> Prerequisite {
    root()?;
    match version_of("pids") {
        Some(Version::V1) => Ok(()),
        _ => has("pids", Version::V2),
    }
}

/// v1 refuses a child more CPU time than its parent has.
fn refusing_cpu() -> Prerequisite {
    pids()?;
    has("cpu", Version::V1)
}

fn bad_value() {
    let cgroup = Cgroup::new();
    let error = cgroup.refused(&[("pids.max", "5"), ("memory.max", "64X")]);
    assert_eq!(error.name, ErrorName::InvalidLimit);
    assert_eq!(error.text, "memory.max: \"64X\" is not a size");
    assert_eq!(cgroup.get("pids.max"), "max");
    cgroup.set(&[("pids.max", "5")]).expect("the good one alone");
    assert_eq!(cgroup.get("pids.max"), "5");
}

fn restored() {
    let parent = Cgroup::new();
    parent.set(&[("cpu.max", "50%")]).unwrap();
    let child = parent.child("c");
    child.set(&[("pids.max", "7"), ("cpu.weight", "300")]).unwrap();
    let limits =
        [("pids.max", "9"), ("cpu.weight", "400"), ("cpu.max", "60%"), ("memory.max", "64M")];
    let error = child.refused(&limits);
    assert_eq!(error.name, ErrorName::InvalidLimit, "{error}");
    assert_eq!(
        error.text,
        "cpu.max: write \"60000\" to cpu.cfs_quota_us: invalid argument (EINVAL); \
         restored: cpu.weight, pids.max; kept: cpu.max, memory.max"
    );
    assert!(error.hint.unwrap().contains("its parent's share"));
    assert_eq!(child.get("pids.max"), "7");
    assert_eq!(child.get("cpu.weight"), "300");
    assert_eq!(child.get("cpu.max"), "max 100000");
    child.set(&[("pids.max", "9"), ("cpu.weight", "400"), ("cpu.max", "50%")]).expect("the twin");
    assert_eq!(child.get("pids.max"), "9");
}

fn read_back() {
    let cgroup = Cgroup::new();
    assert!(cgroup.all_set().is_empty(), "{:?}", cgroup.all_set());
    assert_eq!(cgroup.set(&[("pids.max", " 12 ")]).unwrap(), wire(&[("pids.max", "12")]));
    assert_eq!(
        cgroup.all_set().into_iter().collect::<Vec<_>>(),
        [("pids.max".to_owned(), "12".to_owned())]
    );
    assert_eq!(cgroup.set(&[("pids.max", "max")]).unwrap(), wire(&[("pids.max", "max")]));
    assert!(cgroup.all_set().is_empty());
}

fn dry_run() {
    let cgroup = Cgroup::new();
    let limits = [("pids.max", "12"), ("cpus", "1.5"), ("memory.max", "10000001")];
    let before = (cgroup.get("pids.max"), cgroup.get("cpu.max"), cgroup.get("memory.max"));
    let expected = cgroup.expected(&limits);
    assert_eq!(before, (cgroup.get("pids.max"), cgroup.get("cpu.max"), cgroup.get("memory.max")));
    assert_eq!(cgroup.set(&limits).unwrap(), expected);
    assert_eq!(expected["memory.max"], "9998336");
    assert_eq!(expected["cpu.max"], "150000 100000");
}

const SOMEBODY: u32 = 1000;

fn as_owner() {
    let mut home = Cgroup::new();
    home.give_to(SOMEBODY);
    let own = home.child("c");
    own.set(&[("pids.max", "5")]).expect("made by itself, all files are its own");
    assert_eq!(own.raw("pids", "pids.max"), "5");
    assert_eq!(own.dir_of("pids").stat_at("pids.max").unwrap().st_uid, SOMEBODY);
}

fn as_stranger() {
    let mut home = Cgroup::new();
    home.give_to(SOMEBODY);
    let error = home.refused(&[("pids.max", "5")]);
    assert_eq!(error.name, ErrorName::Denied);
    assert_eq!(error.text, "pids.max: open for writing pids.max: permission denied (EACCES)");
    assert_eq!(home.get("pids.max"), "max");
    let mut own = home.child("c");
    own.actor = user(SOMEBODY + 1);
    assert_eq!(own.refused(&[("pids.max", "5")]).name, ErrorName::Denied);
    own.actor = user(SOMEBODY);
    own.set(&[("pids.max", "5")]).expect("the twin");
}

fn half_denied() {
    let mut home = Cgroup::new();
    home.give_to(SOMEBODY);
    let own = home.child("c");
    let (uid, gid) = (Some(0.into()), Some(0.into()));
    let nofollow = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
    let file = if version_of("cpu") == Some(Version::V1) { "cpu.shares" } else { "cpu.weight" };
    nix::unistd::fchownat(own.dir_of("cpu"), file, uid, gid, nofollow).unwrap();
    let error = own.refused(&[("pids.max", "5"), ("cpu.weight", "50")]);
    assert_eq!(error.name, ErrorName::Denied);
    assert_eq!(own.get("pids.max"), "max");
    own.set(&[("pids.max", "5")]).expect("the twin");
}

fn removed() {
    let parent = Cgroup::new();
    let child = parent.child("c");
    parent.dir_of("pids").remove("c").unwrap();
    let error = child.refused(&[("pids.max", "5")]);
    assert_eq!(error.name, ErrorName::NotFound);
    assert_eq!(error.text, "pids.max: the cgroup was removed");
}

/// A ground that has something else for `pids`.
struct Elsewhere(Option<Arc<Dir>>);

impl Ground for Elsewhere {
    fn dir(&self, _: usize) -> Result<Option<Arc<Dir>>> {
        Ok(self.0.clone())
    }
    fn above(&self, _: usize) -> Result<Vec<Dir>> {
        Ok(Vec::new())
    }
    fn reader(&self, _: usize, _: &str) -> Result<Actor> {
        Ok(Actor::Root)
    }
    fn writer(&self, _: usize, _: &str) -> Result<Actor> {
        Ok(Actor::Root)
    }
}

fn refused_at(ground: &Elsewhere, limits: &[(&str, &str)]) -> Error {
    let set = LimitSet::parse(limits.iter().copied()).unwrap();
    Plan::new(&set, layout(), ground, false).expect_err("it is refused")
}

fn elsewhere() {
    let error = refused_at(&Elsewhere(None), &[("pids.max", "5")]);
    assert_eq!(error.name, ErrorName::NotFound);
    assert!(error.text.starts_with("pids.max: the cgroup does not exist in the "), "{error}");
}

fn at_the_root() {
    let top = &layout().hierarchies[layout().find("pids").unwrap()].top;
    let root = Elsewhere(Some(Arc::new(top.try_clone().unwrap())));
    let error = refused_at(&root, &[("pids.max", "5")]);
    assert_eq!(error.name, ErrorName::NotSupported);
    assert_eq!(error.text, "pids.max: the root of a hierarchy has no limits");
}

fn absent() {
    for (name, controller) in [("misc.max", "misc"), ("rdma.max", "rdma")] {
        if version_of(controller).is_some() {
            continue;
        }
        let error = Cgroup::new().refused(&[(name, "x 1")]);
        assert_eq!(error.name, ErrorName::NotSupported);
        assert!(error.text.starts_with(&format!("{name}: th")), "{error}");
        assert!(error.text.contains(&format!("{controller} controller")), "{error}");
    }
}

fn before_creating() {
    let parent = Cgroup::new();
    // What is to be made lies below `parent`: the same ground as that of a child.
    let child = parent.child("c");
    let ground = Below(&parent, &child);
    let check = |limits: &[(&str, &str)]| {
        let set = LimitSet::parse(limits.iter().copied()).unwrap();
        check_new(&set, layout(), &ground)
    };
    check(&[("pids.max", "5"), ("cpu.weight", "5"), ("memory.max", "50%")]).unwrap();
    let error = check(&[("pids.max", "5"), ("memory.max", "1")]).unwrap_err();
    assert_eq!(error.name, ErrorName::InvalidLimit);
    let error = check(&[("io.max", "/dev/null rbps=1")]).unwrap_err();
    assert_eq!(error.name, ErrorName::InvalidLimit);
    assert!(error.text.starts_with("io.max: /dev/null is not a block device"), "{error}");
    if version_of("memory") == Some(Version::V1) {
        let error = check(&[("memory.high", "5M")]).unwrap_err();
        assert_eq!(error.name, ErrorName::NotSupported);
        let error = check(&[("memory.swap.max", "5M")]).unwrap_err();
        assert_eq!(error.name, ErrorName::InvalidLimit);
    }
    let set = LimitSet::parse([("pids.max", "5"), ("cpus", "1")]).unwrap();
    let needed = needs(&set, layout()).unwrap();
    assert!(needed.contains_key(&layout().find("pids").unwrap()));
    assert!(needed.contains_key(&layout().find("cpu").unwrap()));
}

/// The ground before a cgroup is made: the parent, and what lies above the child.
struct Below<'a>(&'a Cgroup, &'a Cgroup);

impl Ground for Below<'_> {
    fn dir(&self, hierarchy: usize) -> Result<Option<Arc<Dir>>> {
        self.0.dir(hierarchy)
    }
    fn above(&self, hierarchy: usize) -> Result<Vec<Dir>> {
        self.1.above(hierarchy)
    }
    fn reader(&self, hierarchy: usize, file: &str) -> Result<Actor> {
        self.0.reader(hierarchy, file)
    }
    fn writer(&self, hierarchy: usize, file: &str) -> Result<Actor> {
        self.0.writer(hierarchy, file)
    }
}
