//! Which writes the kernel may hold up: they do not run where somebody else would wait with them.

/// Files whose write returns only when the kernel has reclaimed memory, or has moved it to other
/// nodes.
const MAY_WAIT: &[&str] = &[
    "memory.reclaim",
    "memory.max",
    "memory.high",
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.kmem.tcp.limit_in_bytes",
    "cpuset.mems",
    "cpuset.memory_migrate",
];

/// Whether a write to the interface file of this name may take seconds. Whether it is the caller's to
/// write is judged by the kernel when the file is opened, so the write itself can run elsewhere.
pub fn may_wait(file: &str) -> bool {
    MAY_WAIT.contains(&file)
}
