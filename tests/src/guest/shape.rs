//! Which kernels and which layouts there are.

use std::fmt;
use std::str::FromStr;

/// A kernel of Debian 12, by its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// 6.1: all v1 controllers, neither `SO_PEERPIDFD` nor pidfs.
    V6_1,
    /// 6.12: `SO_PEERPIDFD`; memory and cpuset exist on v2 alone.
    V6_12,
}

/// A layout of cgroups, and who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// cgroup2 alone, on `/sys/fs/cgroup`.
    Unified,
    /// v1 alone; cpu with cpuacct and `net_cls` with `net_prio` in one hierarchy each.
    Legacy,
    /// As legacy, and cgroup2 on `/sys/fs/cgroup/unified` with what v1 left over.
    Hybrid,
    /// As unified, with systemd as pid 1.
    Systemd,
}

/// A name that nothing is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown(String);

impl Kernel {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::V6_1, Self::V6_12];

    /// Its version, as the command line says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    /// The metapackage that depends on its newest build.
    pub fn metapackage(self) -> &'static str {
        match self {
            Self::V6_1 => "linux-image-cloud-amd64",
            Self::V6_12 => "linux-image-6.12-cloud-amd64",
        }
    }
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unified, Self::Legacy, Self::Hybrid, Self::Systemd];

    /// As the command line says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unified => "unified",
            Self::Legacy => "legacy",
            Self::Hybrid => "hybrid",
            Self::Systemd => "systemd",
        }
    }

    /// What it adds to the kernel's command line.
    pub(crate) fn kernel_arguments(self) -> &'static str {
        match self {
            Self::Unified => "cgroup_no_v1=all",
            Self::Legacy | Self::Hybrid => "",
            Self::Systemd => {
                "cgroup_no_v1=all systemd.unit=guest.target systemd.show_status=no \
                 systemd.unified_cgroup_hierarchy=1"
            }
        }
    }
}

impl FromStr for Kernel {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        Self::ALL.into_iter().find(|kernel| kernel.name() == text).ok_or_else(|| unknown(text))
    }
}

impl FromStr for Mode {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        Self::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(|| unknown(text))
    }
}

fn unknown(text: &str) -> Unknown {
    Unknown(text.to_owned())
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kernels = Kernel::ALL.map(Kernel::name).join(", ");
        let modes = Mode::ALL.map(Mode::name).join(", ");
        write!(f, "{} is none of the kernels {kernels} or the modes {modes}", self.0)
    }
}

impl std::error::Error for Unknown {}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
