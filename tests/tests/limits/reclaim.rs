//! Less than is in use: refused, forced, and what takes longer than somebody wants to wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cgroupd::Error;
use cgroupd::cgroup::limits::Plan;
use cgroupd::cgroup::{Actor, Version};
use cgroupd_proto::ErrorName;
use cgroupd_proto::limit::LimitSet;
use cgroupd_tests::need::patience;
use libtest_mimic::Trial;

use crate::cgroup::{Cgroup, accounts, layout, threads, version_of};
use crate::victim::{FILES, Victim};
use crate::{Prerequisite, has, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("memory_below_use_is_busy", v1, busy),
        test("v1_forced_below_use_reclaims_what_it_can", v1_and_disk, reclaims),
        test("v1_forced_below_what_cannot_be_reclaimed_restores", v1, cannot_reclaim),
        test("the_thread_that_reclaims_is_the_caller", v1, acts_in_the_thread),
        test("what_cannot_be_restored_is_named", v1, not_restored),
        test("a_write_past_its_deadline_is_told_and_goes_on", v1, past_the_deadline),
        test("pids_below_use_succeed", pids, pids_below_use),
    ]
}

fn v1() -> Prerequisite {
    has("memory", Version::V1)
}

/// Files in memory alone cannot be reclaimed.
fn v1_and_disk() -> Prerequisite {
    use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};
    v1()?;
    let kind = statfs(FILES).map(|of| of.filesystem_type());
    match kind.is_ok_and(|kind| ![OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC].contains(&kind)) {
        true => Ok(()),
        false => Err(format!("needs a disk under {FILES}")),
    }
}

fn pids() -> Prerequisite {
    crate::root()?;
    match version_of("pids") {
        Some(_) => Ok(()),
        None => Err("needs the pids controller".to_owned()),
    }
}

const M: u64 = 1 << 20;

fn used(cgroup: &Cgroup) -> u64 {
    cgroup.raw("memory", "memory.usage_in_bytes").parse().expect("a number")
}

fn busy() {
    let cgroup = Cgroup::new();
    let _victim = Victim::new(cgroup.dir_of("memory"), "anon:64");
    assert!(used(&cgroup) > 60 * M);
    let error = cgroup.refused(&[("pids.max", "500"), ("memory.max", "16M")]);
    assert_eq!(error.name, ErrorName::Busy);
    assert!(error.text.starts_with("memory.max: 16777216 is below the "), "{error}");
    assert!(error.hint.as_ref().unwrap().starts_with("with force"), "{error}");
    assert_eq!((cgroup.get("memory.max"), cgroup.get("pids.max")), ("max".into(), "max".into()));
    cgroup.set(&[("memory.max", "128M")]).expect("the twin, above what is in use");
}

fn reclaims() {
    let cgroup = Cgroup::new();
    let _victim = Victim::new(cgroup.dir_of("memory"), "cache:64");
    assert!(used(&cgroup) > 60 * M, "{}", used(&cgroup));
    assert_eq!(cgroup.refused(&[("memory.max", "16M")]).name, ErrorName::Busy);
    let set = cgroup.force(&[("memory.max", "16M")]).expect("the page cache can go");
    assert_eq!(set["memory.max"], "16777216");
    assert!(used(&cgroup) <= 16 * M);
}

fn cannot_reclaim() {
    let cgroup = Cgroup::new();
    let _victim = Victim::new(cgroup.dir_of("memory"), "anon:64");
    cgroup.set(&[("memory.max", "128M"), ("pids.max", "50")]).unwrap();
    let error = cgroup.force(&[("memory.max", "16M"), ("pids.max", "60")]).expect_err("no swap");
    assert_eq!(error.name, ErrorName::Busy, "{error}");
    assert!(error.text.ends_with("; restored: pids.max; kept: memory.max"), "{error}");
    assert_eq!(cgroup.get("memory.max"), "134217728");
    assert_eq!(cgroup.get("pids.max"), "50");
}

/// Permission is lost between the check and the write: only the kernel can notice. So near to
/// what is in use the write is one for a thread of its own.
fn acts_in_the_thread() {
    let mut home = Cgroup::new();
    home.give_to(1000);
    let mut own = home.child("c");
    let _victim = Victim::new(own.dir_of("memory"), "anon:64");
    let set = LimitSet::parse([("memory.max", "80M")]).unwrap();
    let plan = Plan::new(&set, layout(), &own, false).expect("it is the caller's");
    let (uid, gid) = (Some(0.into()), Some(0.into()));
    let nofollow = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
    let file = "memory.limit_in_bytes";
    nix::unistd::fchownat(own.dir_of("memory"), file, uid, gid, nofollow).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let error = plan.apply(&threads(&accounts()), deadline).expect_err("not any more");
    assert_eq!(error.name, ErrorName::Denied, "{error}");
    assert_eq!(own.get("memory.max"), "max");
    own.actor = Actor::Root;
    own.set(&[("memory.max", "80M")]).expect("the twin");
}

/// While the kernel looks for memory to reclaim, the caller loses a file it has just written.
/// The kernel gives up after a moment, so this takes a few tries.
fn not_restored() {
    let mut home = Cgroup::new();
    home.give_to(1000);
    let own = home.child("c");
    let _victim = Victim::new(own.dir_of("memory"), "anon:64");
    let end = "; kept: memory.max; could not be restored: pids.max (permission denied (EACCES))";
    let mut tries = std::iter::repeat_with(|| loses_its_file_meanwhile(&own)).take(200);
    assert!(tries.any(|error| error.text.ends_with(end)));
}

fn loses_its_file_meanwhile(own: &Cgroup) -> Error {
    let owner = |uid: u32| {
        let (uid, gid) = (Some(uid.into()), Some(uid.into()));
        let nofollow = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
        nix::unistd::fchownat(own.dir_of("pids"), "pids.max", uid, gid, nofollow).expect("chown");
    };
    let over = AtomicBool::new(false);
    let error = std::thread::scope(|threads| {
        let taker = threads.spawn(|| {
            while own.raw("pids", "pids.max") != "60" && !over.load(Ordering::Relaxed) {}
            owner(0);
        });
        let error = own.force(&[("memory.max", "16M"), ("pids.max", "60")]).expect_err("no swap");
        over.store(true, Ordering::Relaxed);
        taker.join().expect("the file is taken");
        error
    });
    let stuck = own.raw("pids", "pids.max") == "60";
    assert_eq!(stuck, error.text.contains("could not be restored: pids.max"), "{error}");
    owner(1000);
    own.set(&[("pids.max", "max")]).expect("the file is back");
    error
}

/// The deadline has passed when the write begins; the kernel may still be faster.
fn past_the_deadline() {
    let cgroup = Cgroup::new();
    let _victim = Victim::new(cgroup.dir_of("memory"), "anon:64");
    let accounts = accounts();
    let limits = [("pids.max", "50"), ("memory.max", "16M")];
    let again = || {
        cgroup.set(&[("pids.max", "max")]).expect("back");
        cgroup
            .set_with(&limits, true, Instant::now(), &threads(&accounts))
            .expect_err("no time, or no memory")
    };
    let mut tries = std::iter::repeat_with(again).take(200);
    let error = tries.find(|error| error.name == ErrorName::TimedOut).expect("not in time, once");
    assert!(error.text.starts_with("memory.max: the write of \"16777216\""), "{error}");
    assert!(error.text.contains("is still under way"), "{error}");
    assert!(error.text.ends_with("; written: pids.max"), "{error}");
    assert_eq!(cgroup.get("pids.max"), "50");
    let end = Instant::now() + patience(Duration::from_secs(20));
    while !accounts.is_empty() {
        assert!(Instant::now() < end, "the thread ends with its write");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(cgroup.get("memory.max"), "max", "the kernel refused it in the end");
}

fn pids_below_use() {
    let cgroup = Cgroup::new();
    let _victim = Victim::idle(cgroup.dir_of("pids"), "anon:0");
    assert_eq!(cgroup.raw("pids", "pids.current"), "1");
    assert_eq!(cgroup.set(&[("pids.max", "0")]).unwrap()["pids.max"], "0");
}
