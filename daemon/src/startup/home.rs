//! Where the daemon itself lives.
//!
//! On v2 a cgroup with processes cannot enable controllers for its children, the hierarchy's
//! root excepted. So in a managed root that is not that one nobody may stay, the daemon
//! included: it moves to a leaf. Anywhere else it stays where it was started.

use nix::errno::Errno;

use super::Failure;
use crate::cgroup::{Dir, Hierarchy, LEAF, Layout, Version};

/// Other processes are in the managed root.
#[derive(Debug, thiserror::Error)]
#[error(
    "the managed root {root} has {count} other processes in it (the first is {first}), and on \
     cgroup v2 no controller can be enabled below a cgroup with processes\n\
     hint: move them to a cgroup below it, or give cgroupd another one with --root"
)]
pub struct Crowded {
    root: String,
    count: usize,
    first: u32,
}

/// Leaves the managed root where it has to be empty.
pub(super) fn settle(layout: &Layout) -> Result<(), Failure> {
    for hierarchy in &layout.hierarchies {
        let root = hierarchy.mount.join(&hierarchy.root_path).display().to_string();
        let is_bound = must_be_empty(hierarchy);
        if is_bound.map_err(Failure::kernel(format!("look for {root}/cgroup.type")))? {
            vacate(&hierarchy.root, &root, std::process::id())?;
        }
    }
    Ok(())
}

/// The hierarchy's own root has no `cgroup.type`; that of a cgroup namespace does.
fn must_be_empty(hierarchy: &Hierarchy) -> nix::Result<bool> {
    Ok(hierarchy.version == Version::V2
        && !hierarchy.controllers.is_empty()
        && hierarchy.root.has_file("cgroup.type")?)
}

/// Moves `pid` out of `root` when it is there; nobody else may be.
fn vacate(root: &Dir, name: &str, pid: u32) -> Result<(), Failure> {
    let inside = processes(root).map_err(Failure::kernel(format!("read {name}/cgroup.procs")))?;
    let others: Vec<u32> = inside.iter().copied().filter(|other| *other != pid).collect();
    if let Some(first) = others.first().copied() {
        return Err(Crowded { root: name.to_owned(), count: others.len(), first }.into());
    }
    if inside.is_empty() {
        return Ok(());
    }
    root.put_in_leaf(LEAF, pid).map_err(Failure::kernel(format!("move to {name}/{LEAF}")))?;
    tracing::debug!("moved to {name}/{LEAF}, so that the managed root can have controllers");
    Ok(())
}

/// As the daemon's pid namespace counts them: 0 is a process it cannot see.
fn processes(cgroup: &Dir) -> nix::Result<Vec<u32>> {
    let text = cgroup.read("cgroup.procs")?;
    text.lines().map(|line| line.parse().map_err(|_| Errno::EBADMSG)).collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    /// A cgroup of cgroup2 with `sleep`s in it; both go when it is dropped.
    struct Crowd {
        top: Dir,
        name: String,
        people: Vec<Child>,
    }

    impl Crowd {
        fn new(name: &str, count: usize) -> Self {
            let layout = Layout::detect("/").unwrap();
            let v2 = layout.hierarchies.into_iter().find(|h| h.version == Version::V2);
            let top = v2.expect("cgroup2 is mounted").top;
            let name = format!("cgroupd-test-{name}-{}", std::process::id());
            top.make(&name).unwrap();
            let mut crowd = Self { top, name, people: Vec::new() };
            for _ in 0..count {
                let child = Command::new("sleep").arg("60").spawn().unwrap();
                crowd.dir().write("cgroup.procs", &child.id().to_string()).unwrap();
                crowd.people.push(child);
            }
            crowd
        }

        fn dir(&self) -> Dir {
            self.top.open(&self.name).unwrap()
        }
    }

    impl Drop for Crowd {
        fn drop(&mut self) {
            for child in &mut self.people {
                let _ = child.kill();
                let _ = child.wait();
            }
            let _ = self.dir().remove(LEAF);
            let _ = self.top.remove(&self.name);
        }
    }

    #[test]
    #[ignore = "needs root and a cgroup2 mount"]
    fn alone_in_the_managed_root_the_daemon_moves_to_its_leaf() {
        let crowd = Crowd::new("alone", 1);
        let pid = crowd.people[0].id();
        vacate(&crowd.dir(), "here", pid).unwrap();
        assert!(processes(&crowd.dir()).unwrap().is_empty());
        assert_eq!(processes(&crowd.dir().open(LEAF).unwrap()).unwrap(), [pid]);
        vacate(&crowd.dir(), "here", pid).unwrap();
    }

    #[test]
    #[ignore = "needs root and a cgroup2 mount"]
    fn with_others_in_the_managed_root_nothing_moves() {
        let crowd = Crowd::new("crowded", 2);
        let failure = vacate(&crowd.dir(), "here", crowd.people[0].id()).unwrap_err();
        assert!(matches!(failure, Failure::Crowded(_)), "{failure}");
        assert_eq!(processes(&crowd.dir()).unwrap().len(), 2);
        assert!(crowd.dir().open(LEAF).is_err(), "no leaf was made");
    }
}
