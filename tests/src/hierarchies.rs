//! The cgroup hierarchies of this machine, read from mountinfo without the daemon's code: what
//! the tests compare the daemon with must not share its mistakes.

use std::path::PathBuf;
use std::sync::OnceLock;

use cgroupd_proto::CONTROLLERS;

/// The interface generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// cgroup v1.
    V1,
    /// cgroup v2.
    V2,
}

/// A mounted hierarchy.
#[derive(Clone, Debug)]
pub struct Hierarchy {
    /// v1 or v2.
    pub version: Version,
    /// As in `/proc/PID/cgroup`; `unified` for v2.
    pub label: String,
    /// Its v1 controllers.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
}

impl Hierarchy {
    /// Whether a call that names no controllers means it too.
    pub fn is_implied(&self) -> bool {
        self.version == Version::V2 || !self.controllers.is_empty()
    }

    /// Whether it is the v1 hierarchy of `controller`.
    pub fn is_v1_of(&self, controller: &str) -> bool {
        self.version == Version::V1 && self.controllers.iter().any(|own| own == controller)
    }
}

/// Those that cgroupd manages on this machine.
pub fn all() -> &'static [Hierarchy] {
    static ALL: OnceLock<Vec<Hierarchy>> = OnceLock::new();
    ALL.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut found: Vec<Hierarchy> = Vec::new();
        for hierarchy in text.lines().filter_map(parse) {
            if !found.iter().any(|known| known.label == hierarchy.label) {
                found.push(hierarchy);
            }
        }
        leave_to_systemd(found)
    })
}

/// Those that calls without a list of controllers mean.
pub fn implied() -> impl Iterator<Item = &'static Hierarchy> {
    all().iter().filter(|hierarchy| hierarchy.is_implied())
}

/// The hierarchy of this label.
///
/// # Panics
/// When there is none.
pub fn labelled(label: &str) -> &'static Hierarchy {
    let found = all().iter().find(|hierarchy| hierarchy.label == label);
    found.unwrap_or_else(|| panic!("no hierarchy is called {label}"))
}

/// The v1 hierarchy with this controller, where there is one.
pub fn v1_of(controller: &str) -> Option<&'static Hierarchy> {
    all().iter().find(|hierarchy| hierarchy.is_v1_of(controller))
}

/// The hierarchy with this controller, v1 or v2.
pub fn of(controller: &str) -> Option<&'static Hierarchy> {
    let offers = |v2: &&Hierarchy| {
        let file = v2.mount.join("cgroup.controllers");
        let list = std::fs::read_to_string(file).unwrap_or_default();
        list.split_ascii_whitespace().any(|offered| offered == controller)
    };
    v1_of(controller).or_else(|| v2().filter(offers))
}

/// The cgroup2 mount, where there is one.
pub fn v2() -> Option<&'static Hierarchy> {
    all().iter().find(|hierarchy| hierarchy.version == Version::V2)
}

/// `ID PARENT DEVICE ROOT POINT OPTIONS [TAGS] - TYPE SOURCE SUPER-OPTIONS`, `proc(5)`.
fn parse(line: &str) -> Option<Hierarchy> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ').skip(3);
    let (root, mount) = (fields.next()?, PathBuf::from(fields.next()?));
    let mut fields = after.split(' ');
    let (kind, options) = (fields.next()?, fields.nth(1)?);
    if root != "/" {
        return None;
    }
    match kind {
        "cgroup2" => {
            let (label, controllers) = ("unified".to_owned(), Vec::new());
            Some(Hierarchy { version: Version::V2, label, controllers, mount })
        }
        "cgroup" => {
            let options: Vec<&str> = options.split(',').collect();
            let known = options.iter().filter(|option| CONTROLLERS.contains(option));
            let controllers: Vec<String> = known.map(|option| (*option).to_owned()).collect();
            let named = options.iter().find(|option| option.starts_with("name="));
            let label = named.map_or_else(|| controllers.join(","), |name| (*name).to_owned());
            Some(Hierarchy { version: Version::V1, label, controllers, mount })
        }
        _ => None,
    }
}

/// systemd is the only writer of its named hierarchy, and of cgroup2 beside v1.
fn leave_to_systemd(found: Vec<Hierarchy>) -> Vec<Hierarchy> {
    if !std::path::Path::new("/run/systemd/system").is_dir() {
        return found;
    }
    let v1 = found.iter().any(|hierarchy| hierarchy.version == Version::V1);
    let mine = |hierarchy: &Hierarchy| match hierarchy.version {
        Version::V1 => !hierarchy.controllers.is_empty(),
        Version::V2 => !v1,
    };
    found.into_iter().filter(mine).collect()
}
