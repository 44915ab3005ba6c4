//! Writing an archive as the kernel unpacks it: `newc` of
//! `Documentation/driver-api/early-userspace/buffer-format.rst`.

/// An archive being written. Several, one after the other, are unpacked over each other.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const DIRECTORY: u32 = 0o04_0755;
const FILE: u32 = 0o10_0755;

impl Archive {
    /// A directory, whose parent came before.
    pub(crate) fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY, &[]);
    }

    /// An executable file, whose parent came before.
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, FILE, content);
    }

    /// The finished archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let length = |length: usize| u32::try_from(length).expect("files are small");
        let mut header = "070701".to_owned();
        // Inode, mode, uid, gid, links, time, size, device twice two, name's size, checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, length(content.len()), 0, 0, 0, 0];
        for field in fields.into_iter().chain([length(path.len() + 1), 0]) {
            header.push_str(&format!("{field:08X}"));
        }
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    /// Names and contents begin at multiples of four.
    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn entries_are_aligned_and_end_with_the_trailer() {
        let mut archive = Archive::default();
        archive.directory("a");
        archive.file("a/b", b"hello");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).expect("all of it is text");
        assert_eq!(text.matches("070701").count(), 3);
        assert!(text.contains("00000005"), "the size of the content");
        assert!(text.trim_end_matches('\0').ends_with("TRAILER!!!"));
    }
}
