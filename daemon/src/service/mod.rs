//! One short function per verb, each the verb's story: resolve the path, open the cgroup,
//! collect facts from that handle, ask the policy, act on the same handle.

use crate::caller::Host;
use crate::cgroup::Layout;

/// What all requests share.
#[derive(Debug)]
pub struct Service {
    /// The hierarchies.
    pub layout: Layout,
    /// The daemon's own namespaces.
    pub host: Host,
}
