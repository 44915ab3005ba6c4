//! Everything the checks look at, gathered once.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use super::{
    daemon::{self, Bus, Daemon},
    hierarchies::{self, Controller, Mount},
    own::{self, OwnCgroup},
};
use crate::{exit::Failure, session::Session};

/// What is known of this host.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The kernel's release, `6.1.0-37-amd64`.
    pub(crate) release: String,
    /// The name of pid 1; empty when it cannot be seen.
    pub(crate) init: String,
    /// Whether systemd runs the services here (`sd_booted(3)`).
    pub(crate) systemd: bool,
    /// Which namespaces are not the machine's first: user, pid, cgroup.
    pub(crate) namespaces: Vec<&'static str>,
    /// The cgroup mounts.
    pub(crate) mounts: Vec<Mount>,
    /// All controllers of the kernel.
    pub(crate) controllers: Vec<Controller>,
    /// Those that cgroup2 has at the top of what can be seen.
    pub(crate) on_v2: Vec<String>,
    /// The caller's cgroup on cgroup2.
    pub(crate) own: Option<OwnCgroup>,
    /// The daemon, or why it does not answer.
    pub(crate) daemon: Result<Daemon, Failure>,
    /// The daemon's address.
    pub(crate) address: String,
    /// Its name on the system bus.
    pub(crate) bus: Bus,
}

impl Facts {
    /// Major and minor version of the kernel; 0 when it cannot be read.
    pub(crate) fn version(&self) -> (u32, u32) {
        let mut numbers = self.release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// The mount of cgroup2, if there is one.
    pub(crate) fn v2(&self) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.v2)
    }

    /// The v1 mount of a controller.
    pub(crate) fn v1_of(&self, controller: &str) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.controllers.iter().any(|own| own == controller))
    }
}

/// Looks at the system, then asks the daemon. What cannot be read counts as not there.
pub(crate) fn gather(session: &mut Session) -> Facts {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mounts = hierarchies::mounts(&read("/proc/self/mountinfo"));
    let v2 = mounts.iter().find(|mount| mount.v2);
    let on_v2 = v2.map(|mount| read(&format!("{}/cgroup.controllers", mount.point)));
    let release = nix::sys::utsname::uname();
    Facts {
        release: release
            .map(|name| name.release().to_string_lossy().into_owned())
            .unwrap_or_default(),
        init: read("/proc/1/comm").trim().to_owned(),
        systemd: Path::new("/run/systemd/system").is_dir(),
        namespaces: namespaces(),
        own: v2.and_then(|mount| own::look(mount, &read("/proc/self/cgroup"))),
        on_v2: on_v2.unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect(),
        controllers: hierarchies::controllers(&read("/proc/cgroups")),
        daemon: daemon::ask(session),
        address: session.address().to_string(),
        bus: daemon::bus(),
        mounts,
    }
}

/// The numbers of the first namespaces are fixed, `include/uapi/linux/nsfs.h`.
fn namespaces() -> Vec<&'static str> {
    const FIRST: [(&str, u64); 3] =
        [("user", 0xEFFF_FFFD), ("pid", 0xEFFF_FFFC), ("cgroup", 0xEFFF_FFFB)];
    let differs = |(name, first): &(&'static str, u64)| {
        let number = fs::metadata(format!("/proc/self/ns/{name}")).map(|file| file.ino());
        number.is_ok_and(|number| number != *first)
    };
    FIRST.iter().filter(|entry| differs(entry)).map(|(name, _)| *name).collect()
}
