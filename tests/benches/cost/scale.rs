//! How much is measured: everything, or as much as shows within seconds that it works, here or
//! on an emulated processor.

use std::time::Duration;

/// Numbers of calls, cgroups and connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Repeats, of which the median counts.
    pub(crate) repeats: usize,
    /// In how many settings single calls are measured.
    pub(crate) settings: usize,
    /// Calls of one repeat.
    pub(crate) calls: usize,
    /// Processes started of each kind, connections made one after the other.
    pub(crate) starts: usize,
    /// Cgroups that another client removes meanwhile.
    pub(crate) removal: usize,
    /// How long another client moves processes one by one, or lists.
    pub(crate) disturbance: Duration,
    /// Cgroups that are there at the same time.
    pub(crate) siblings: usize,
    /// Idle connections.
    pub(crate) connections: usize,
}

const FULL: Scale = Scale {
    repeats: 7,
    settings: usize::MAX,
    calls: 400,
    starts: 200,
    removal: 10_000,
    disturbance: Duration::from_secs(4),
    siblings: 50_000,
    connections: 10_000,
};

const SMOKE: Scale = Scale {
    repeats: 3,
    settings: usize::MAX,
    calls: 50,
    starts: 20,
    removal: 500,
    disturbance: Duration::from_millis(500),
    siblings: 2_000,
    connections: 500,
};

const GLANCE: Scale = Scale {
    repeats: 1,
    settings: 3,
    calls: 4,
    starts: 2,
    removal: 20,
    disturbance: Duration::from_millis(100),
    siblings: 50,
    connections: 20,
};

impl Scale {
    /// `CGROUPD_BENCH=smoke` and `glance` for the small ones.
    pub(crate) fn from_environment() -> Result<Self, String> {
        match std::env::var("CGROUPD_BENCH").as_deref() {
            Err(_) | Ok("" | "full") => Ok(FULL),
            Ok("smoke") => Ok(SMOKE),
            Ok("glance") => Ok(GLANCE),
            Ok(other) => {
                Err(format!("CGROUPD_BENCH={other}: it is \"full\", \"smoke\" or \"glance\""))
            }
        }
    }
}
