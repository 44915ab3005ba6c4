//! A process with memory of its own, to be put into a cgroup.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use cgroupd::cgroup::Dir;

/// With this in its environment, this program takes so many MiB when told to, until its input
/// ends: `anon:64` as memory, `cache:64` as a file that it has written.
pub(crate) const AS_VICTIM: &str = "CGROUPD_TEST_VICTIM";

/// Where it writes files.
pub(crate) const FILES: &str = "/var/tmp";

pub(crate) fn be_one(wish: &OsStr) {
    let wish = wish.to_str().expect("text");
    let (kind, size) = wish.split_once(':').expect("kind and size");
    let bytes = size.parse::<usize>().expect("a size") << 20;
    wait_for_a_byte();
    let _kept = match kind {
        "anon" => Kept::Memory(vec![1u8; bytes]),
        _ => Kept::File(written(bytes)),
    };
    std::io::stdout().write_all(b".").and_then(|()| std::io::stdout().flush()).expect("stdout");
    wait_for_a_byte();
}

/// What the process holds until it ends.
#[expect(dead_code, reason = "held, not read")]
enum Kept {
    Memory(Vec<u8>),
    File(tempfile::NamedTempFile),
}

fn wait_for_a_byte() {
    let _ = std::io::stdin().read(&mut [0]).expect("stdin");
}

/// A file that is on the disk and in the page cache.
fn written(bytes: usize) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new_in(FILES).expect("a file");
    file.write_all(&vec![1u8; bytes]).and_then(|()| file.as_file().sync_all()).expect("write");
    file
}

pub(crate) struct Victim(Child);

impl Victim {
    /// A process in `dir` that holds what `wish` says.
    pub(crate) fn new(dir: &Dir, wish: &str) -> Self {
        let mut victim = Self::idle(dir, wish);
        victim.0.stdin.as_mut().expect("stdin").write_all(b".").expect("a byte");
        let mut answer = [0];
        victim.0.stdout.as_mut().expect("stdout").read_exact(&mut answer).expect("it has it");
        victim
    }

    /// A process in `dir` that holds nothing yet.
    pub(crate) fn idle(dir: &Dir, wish: &str) -> Self {
        let child = Command::new(std::env::current_exe().expect("this program"))
            .env(AS_VICTIM, wish)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let victim = Self(child);
        dir.write("cgroup.procs", &victim.0.id().to_string()).expect("move");
        victim
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
