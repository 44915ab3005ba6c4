//! Guests: throw-away machines with a kernel and a layout of cgroups that this one does not have.
//!
//! A guest is QEMU with a kernel of Debian's (a [`Kit`]), a small initramfs whose `init.sh` lays
//! out the cgroups of a [`Mode`], and this machine's `/` as its root: shared read-only, with an
//! overlay in the guest's memory. What it runs are therefore the very files of this machine, and
//! nothing that it does stays. The way of a run:
//!
//! 1. [`Kit`]: kernel, modules and initramfs, downloaded and unpacked once, never installed
//! 2. [`script`](self): what this guest is to do, an archive of its own behind the initramfs
//! 3. [`share`](self): virtiofsd, with `/` read-only in a mount namespace of its own
//! 4. [`Guest::run`]: QEMU; output and exit status come back, a hang is ended
//!
//! No file is made on this machine: archives and disks are memory, pipes and sockets are
//! inherited or reached through `/proc`. Both processes are killed with the thread that started
//! them.

mod cpio;
mod kit;
mod machine;
pub mod matrix;
pub(crate) mod process;
mod script;
mod shape;
pub(crate) mod share;

pub use kit::{Kit, directory as kits};
pub use machine::{Ended, Failure, Guest, Sinks, missing};
pub use process::Cost;
pub use shape::{Kernel, Mode};
