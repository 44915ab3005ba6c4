//! How much a peer may hold: everything a client can make the daemon keep is bounded.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// The bounds of all transports, the `[limits]` of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// The longest message from a peer, in bytes.
    pub message_in: usize,
    /// The longest reply, in bytes.
    pub message_out: usize,
    /// The most items of an array argument.
    pub array_items: usize,
    /// The most descriptors of a message.
    pub descriptors: usize,
    /// Calls of one client that wait while another runs; then its reading stops.
    pub queued_calls: usize,
    /// Connections of one accounting key.
    pub connections_per_key: usize,
    /// Connections in all; host root keeps a share of [`Limits::ROOT_SHARE`] beyond it.
    pub connections: usize,
    /// Connections of one key that have not finished the handshake.
    pub half_open_per_key: usize,
    /// Seconds for the handshake.
    pub handshake_seconds: u64,
    /// Seconds for a peer to take a reply before it is disconnected.
    pub write_seconds: u64,
    /// Seconds for a write that may reclaim memory, a freeze or a kill, before its caller is told
    /// TimedOut.
    pub change_seconds: u64,
    /// Changes of one accounting key that run at the same time.
    pub changes_per_key: usize,
}

impl Limits {
    /// Connections kept for uid 0 of the host when everything else is taken.
    pub const ROOT_SHARE: usize = 16;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_in: 256 << 10,
            message_out: 1 << 20,
            array_items: 4096,
            descriptors: 16,
            queued_calls: 16,
            connections_per_key: 64,
            connections: 1024,
            half_open_per_key: 8,
            handshake_seconds: 5,
            write_seconds: 10,
            change_seconds: 10,
            changes_per_key: 8,
        }
    }
}

/// Enough for all connections and watches that the daemon takes on.
const OPEN_FILES: u64 = 65536;

/// Raises the number of files this process may have open as far as the kernel allows, and says
/// how many that is: each connection takes a handful. Whoever starts it may leave 4096, the
/// kernel's own hard limit; with CAP_SYS_RESOURCE that is no limit.
///
/// # Errors
/// When the kernel does not tell the present limit.
pub fn raise_open_files() -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let raise = |most| setrlimit(Resource::RLIMIT_NOFILE, most, most).is_ok();
    Ok([hard.max(OPEN_FILES), hard].into_iter().find(|most| raise(*most)).unwrap_or(soft))
}
