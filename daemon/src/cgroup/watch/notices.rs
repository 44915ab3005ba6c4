//! One inotify instance for the whole daemon: the kernel allows root 128 of them in all, shared
//! by everybody who is root. It says which file to read again; nothing wakes up otherwise.
//!
//! The kernel gives one number for one file however often it is added, so that the files are
//! counted here. A file is added through its open descriptor, never by a path looked up again.
//!
//! A cgroup's end is not noticed by its files: measured on 6.18, rmdir says nothing to a watch on
//! `cgroup.events`, held open or not, nor to one on the directory; a watch on the parent directory
//! gets IN_DELETE, on v1 too.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

const NEWS: ReadFlags = ReadFlags::MODIFY.union(ReadFlags::DELETE).union(ReadFlags::MOVED_FROM);

/// A watched file or directory. The kernel hands the numbers out in turn and does not soon use one
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Token(i32);

/// What the kernel had to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// The file may say something new, or the directory has lost a child.
    Changed(Token),
    /// The kernel dropped the watch with the file; nothing more will come. rmdir of a cgroup does
    /// not reliably cause it.
    Gone(Token),
    /// Notices were lost: every file may say something new.
    Lost,
}

/// The inotify instance. Its descriptor is readable when notices wait.
#[derive(Debug)]
pub(super) struct Notices {
    inotify: Arc<OwnedFd>,
    uses: HashMap<i32, usize>,
}

impl Notices {
    /// Opens the instance.
    ///
    /// # Errors
    /// What `inotify_init1(2)` answers: EMFILE when root has too many.
    pub(super) fn new() -> nix::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC);
        Ok(Self { inotify: Arc::new(inotify.map_err(errno)?), uses: HashMap::new() })
    }

    /// The instance, to wait for: readable when notices wait.
    pub(super) fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.inotify)
    }

    /// Watches an open file until [`Self::end`] was called as often as this, or it is gone.
    ///
    /// # Errors
    /// What `inotify_add_watch(2)` answers: ENOSPC at the kernel's limit of watches.
    pub(super) fn begin(&mut self, file: BorrowedFd<'_>) -> nix::Result<Token> {
        self.add(file, WatchFlags::MODIFY)
    }

    /// Watches an open directory for children that go, or that v1 renames.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub(super) fn begin_directory(&mut self, directory: BorrowedFd<'_>) -> nix::Result<Token> {
        self.add(directory, WatchFlags::DELETE | WatchFlags::MOVED_FROM)
    }

    fn add(&mut self, node: BorrowedFd<'_>, kinds: WatchFlags) -> nix::Result<Token> {
        let path = format!("/proc/self/fd/{}", node.as_raw_fd());
        let number = inotify::add_watch(&self.inotify, path, kinds).map_err(errno)?;
        *self.uses.entry(number).or_default() += 1;
        Ok(Token(number))
    }

    /// Ends one use of a file. A file that is gone has no uses left, which is no error.
    pub(super) fn end(&mut self, token: Token) {
        let Some(uses) = self.uses.get_mut(&token.0) else { return };
        *uses -= 1;
        if *uses == 0 {
            self.uses.remove(&token.0);
            // EINVAL: the file went a moment ago.
            let _ = inotify::remove_watch(&self.inotify, token.0);
        }
    }

    /// The notices that wait, at most one buffer of them; a readable descriptor says that more do.
    ///
    /// # Errors
    /// What `read(2)` answers.
    pub(super) fn take(&mut self) -> nix::Result<Vec<Notice>> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&*self.inotify, &mut buffer);
        let mut notices = Vec::new();
        loop {
            let (number, what) = match reader.next() {
                Ok(event) => (event.wd(), event.events()),
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(notices),
                Err(error) => return Err(errno(error)),
            };
            let notice = match what {
                what if what.contains(ReadFlags::QUEUE_OVERFLOW) => Notice::Lost,
                // It comes as well after `end`, when nobody wants to know any more.
                what if what.contains(ReadFlags::IGNORED) => match self.uses.remove(&number) {
                    Some(_) => Notice::Gone(Token(number)),
                    None => continue,
                },
                // One may have waited when the last use ended.
                what if what.intersects(NEWS) && self.uses.contains_key(&number) => {
                    Notice::Changed(Token(number))
                }
                _ => continue,
            };
            if notices.last() != Some(&notice) {
                notices.push(notice);
            }
            if reader.is_buffer_empty() {
                return Ok(notices);
            }
        }
    }
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::AsFd;

    fn file() -> (tempfile::TempDir, File) {
        let place = tempfile::tempdir().unwrap();
        let file = File::create(place.path().join("events")).unwrap();
        (place, file)
    }

    #[test]
    fn a_file_that_changes_is_noticed_while_somebody_uses_it() {
        let (_place, mut file) = file();
        let mut notices = Notices::new().unwrap();
        let (one, two) =
            (notices.begin(file.as_fd()).unwrap(), notices.begin(file.as_fd()).unwrap());
        assert_eq!((one, notices.uses.len()), (two, 1));
        assert_eq!(notices.take().unwrap(), []);
        notices.end(one);
        file.write_all(b"1").unwrap();
        assert_eq!(notices.take().unwrap(), [Notice::Changed(two)]);
        notices.end(two);
        file.write_all(b"2").unwrap();
        assert_eq!((notices.take().unwrap(), notices.uses.len()), (vec![], 0));
        notices.end(two);
    }

    #[test]
    fn a_file_that_goes_is_noticed_once() {
        let (place, file) = file();
        let mut notices = Notices::new().unwrap();
        let token = notices.begin(file.as_fd()).unwrap();
        drop((file, place));
        assert_eq!(notices.take().unwrap(), [Notice::Gone(token)]);
        assert_eq!((notices.take().unwrap(), notices.uses.len()), (vec![], 0));
        notices.end(token);
    }
}
