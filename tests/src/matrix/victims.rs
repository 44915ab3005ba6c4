//! The processes that rows move.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::identity::Identity;
use super::peer::Peer;
use super::rows::{INSIDE, OTHER, Who};
use super::wire::{Part, Start};
use crate::hierarchies::{Hierarchy, Version};

/// Started when first needed, and shared by all rows that mean the same process.
#[derive(Debug, Default)]
pub(super) struct Victims(HashMap<(&'static str, Option<[u32; 3]>), Peer>);

/// A process's two numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Victim {
    pub(super) outside: i32,
    /// As the caller calls it.
    pub(super) inside: u32,
}

impl Victims {
    /// The victim that `who` means to an identity, whose oracle is the process `anchor`.
    pub(super) fn get(
        &mut self,
        identity: &'static Identity,
        who: Who,
        anchor: i32,
        cgroups: &[PathBuf],
    ) -> Victim {
        let (of, uids) = whose(identity, who);
        let victim = self.0.entry((of, uids)).or_insert_with(|| {
            Peer::start(&Start {
                identity: of.to_owned(),
                part: Part::Victim(uids),
                join: (of == identity.name).then_some(anchor),
                cgroups: cgroups.to_vec(),
                inside: false,
            })
        });
        Victim { outside: victim.outside, inside: victim.inside }
    }
}

/// In whose namespaces a victim lives, and its uids there where they are not the identity's.
fn whose(identity: &Identity, who: Who) -> (&'static str, Option<[u32; 3]>) {
    const HOST: &str = "host-root";
    let base = identity.user_ns.map_or(0, |ns| ns.uids.1);
    match who {
        Who::Own => (identity.name, None),
        Who::Other if identity.own_pid_ns => (identity.name, Some([OTHER; 3])),
        Who::Other => (HOST, Some([OTHER; 3])),
        Who::Root => (HOST, Some([0; 3])),
        Who::Daemon => unreachable!("it is running already"),
        Who::Inside => (identity.name, Some([INSIDE - base; 3])),
        Who::SameNumber => (HOST, Some([INSIDE; 3])),
        Who::SetUid => (HOST, Some([identity.uid, 0, 0])),
        Who::EffectiveOnly => (HOST, Some([0, identity.uid, 0])),
    }
}

/// The cgroup a process is in.
pub(super) fn place(pid: i32, hierarchy: &Hierarchy) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it lives");
    let label = if hierarchy.version == Version::V2 { "" } else { &hierarchy.label };
    let path = text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        (controllers == label).then(|| path.trim_start_matches('/'))
    });
    hierarchy.mount.join(path.expect("every process is in every hierarchy"))
}

/// Puts a process into a cgroup as root, unless it is there: a move takes milliseconds.
pub(super) fn put(pid: i32, cgroup: &Path, hierarchy: &Hierarchy) {
    if place(pid, hierarchy) != cgroup {
        let result = fs::write(cgroup.join("cgroup.procs"), pid.to_string());
        result.unwrap_or_else(|error| panic!("put {pid} into {}: {error}", cgroup.display()));
    }
}
