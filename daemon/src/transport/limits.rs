//! How much a peer may hold: everything a client can make the daemon keep is bounded.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::accounting::Bounds;

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
    /// Connections of one account.
    pub connections_per_key: usize,
    /// Connections of all accounts but host root's, which has as many as any account beyond them.
    pub connections: usize,
    /// Connections of one account that have not finished the handshake.
    pub half_open_per_key: usize,
    /// Seconds for the handshake.
    pub handshake_seconds: u64,
    /// Seconds for a peer to take a reply, or to send the rest of a message, before it is disconnected.
    pub write_seconds: u64,
    /// Seconds for a write that may reclaim memory, a freeze or a kill, before its caller is told
    /// TimedOut.
    pub change_seconds: u64,
    /// Calls of one account that run at the same time.
    pub changes_per_key: usize,
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

impl Bounds {
    /// What follows from the configuration.
    pub fn new(limits: &Limits, cgroups_per_account: usize) -> Self {
        Self {
            connections_per_account: limits.connections_per_key,
            connections: limits.connections,
            handshakes_per_account: limits.half_open_per_key,
            calls_per_account: limits.changes_per_key,
            cgroups_per_account,
            longest_message: limits.message_in.max(limits.message_out),
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
