//! cgroupd: a root daemon that manages cgroups for those who cannot, or should not, write
//! cgroupfs themselves.
//!
//! A request goes one way:
//! `transport` turns a socket into a connection, `caller` a connection into a proven identity,
//! `api` a message into a call, `service` tells the verb's story (resolve, open, facts, decide,
//! act), `policy` decides on plain facts, `cgroup` is the mechanism, `sys` the system calls. What a
//! peer holds or causes is charged to its account in `accounting` first. `helper` is a process of its
//! own: what peers send along with their messages is received and closed there.

// The daemon changes its identity, pins processes and reads structures of the kernel by system
// calls, and the tests that show that it does so correctly run on x86_64 only. The numbers and
// layouts in `sys` are the same on aarch64 as far as is known, but "as far as is known" is not
// enough for what runs as root for others: whoever wants another architecture runs `.ci/run`
// there and adds it here. 32-bit targets (x32 has `target_arch = "x86_64"`, too) differ in the
// size of `long`, in which `sys` passes arguments. `cgctl` and `cgroupd-proto` build anywhere.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_pointer_width = "64")))]
compile_error!(
    "cgroupd is tested on 64-bit x86_64 Linux only; for another target run .ci/run there, and \
     then add it to the list in daemon/src/lib.rs"
);

pub mod accounting;
pub mod api;
pub mod caller;
pub mod cgroup;
pub mod cli;
pub mod config;
pub mod demo;
mod error;
pub mod helper;
pub mod log;
pub mod policy;
pub mod service;
pub mod startup;
pub mod sys;
pub mod transport;

pub use error::{Error, Result, is_out_of_resources, is_transient, known, words};
