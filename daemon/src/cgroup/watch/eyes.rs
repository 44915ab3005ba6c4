//! The open eyes: whom a notice concerns, and who is told from time to time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::notices::{Notice, Notices, Token};
use super::rounds::Polled;
use crate::accounting::Account;

/// How many buffers of notices are taken at a time: what the kernel keeps by default, 16384, is
/// in fewer.
const BUFFERS: usize = 256;

/// Somebody who wants to look when something may have changed.
pub trait Eye: Send + Sync {
    /// Looks, without waiting for anybody.
    fn look(&self) -> Look;

    /// Its look has panicked: it is closed, and not asked again.
    fn failed(&self) {}
}

/// Runs a look. A panic in it, which is a bug of ours, ends this one watch and not the thread
/// that looks for all of them; it is logged.
pub(crate) fn look_safely(look: impl FnOnce() -> Look) -> Option<Look> {
    let looked = catch_unwind(AssertUnwindSafe(look));
    looked.inspect_err(|_| tracing::error!("a bug: a watch panicked, and has ended")).ok()
}

/// What comes of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It has seen enough.
    Over,
    /// It looks again when there is something new.
    Awake,
    /// It could not see, for want of descriptors or the like: it looks again soon.
    Again,
}

/// All that are open.
pub(super) struct Eyes {
    notices: Notices,
    eyes: HashMap<u64, Open>,
    by_token: HashMap<Token, Vec<u64>>,
    /// Those on v1, and those that could not see.
    polled: Polled<Account>,
    next: u64,
    /// Whether notices may have been taken that no eye was told of.
    lost: bool,
}

/// An open eye.
pub(super) struct Open {
    eye: Arc<dyn Eye>,
    tokens: Vec<Token>,
    lane: Account,
    /// It is on v1.
    polled: bool,
}

/// Eyes that have to look.
type Told = Vec<(u64, Arc<dyn Eye>)>;

impl Eyes {
    pub(super) fn new(notices: Notices) -> Self {
        let (eyes, by_token) = (HashMap::new(), HashMap::new());
        Self { notices, eyes, by_token, polled: BTreeMap::new(), next: 0, lost: false }
    }

    pub(super) fn len(&self) -> usize {
        self.eyes.len()
    }

    pub(super) fn get(&self, number: u64) -> Option<Arc<dyn Eye>> {
        self.eyes.get(&number).map(|open| Arc::clone(&open.eye))
    }

    pub(super) fn polled(&self) -> &Polled<Account> {
        &self.polled
    }

    /// # Errors
    /// Those of the kernel's notices.
    pub(super) fn add(
        &mut self,
        eye: Arc<dyn Eye>,
        files: &[BorrowedFd<'_>],
        directories: &[BorrowedFd<'_>],
        (lane, polled): (Account, bool),
    ) -> nix::Result<u64> {
        let mut tokens = Vec::new();
        let begun = files
            .iter()
            .map(|file| (file, false))
            .chain(directories.iter().map(|directory| (directory, true)))
            .try_for_each(|(fd, is_dir)| {
                let token = match is_dir {
                    false => self.notices.begin(*fd)?,
                    true => self.notices.begin_directory(*fd)?,
                };
                tokens.push(token);
                Ok(())
            });
        if let Err(errno) = begun {
            tokens.into_iter().for_each(|token| self.notices.end(token));
            return Err(errno);
        }
        let number = self.next;
        self.next += 1;
        for token in &tokens {
            self.by_token.entry(*token).or_default().push(number);
        }
        self.eyes.insert(number, Open { eye, tokens, lane, polled });
        self.poll(number, polled);
        Ok(number)
    }

    /// All eyes have to look: notices were lost.
    pub(super) fn lose(&mut self) {
        self.lost = true;
    }

    /// The eyes that have to look, each once, whatever number of notices waits for it: one that
    /// takes its time does not let others' notices queue up behind its own.
    pub(super) fn told(&mut self) -> Told {
        let (mut numbers, mut all) = (BTreeSet::new(), std::mem::take(&mut self.lost));
        for _ in 0..BUFFERS {
            let notices = self.notices.take().unwrap_or_else(|_| vec![Notice::Lost]);
            if notices.is_empty() {
                break;
            }
            for notice in notices {
                match notice {
                    Notice::Changed(token) | Notice::Gone(token) => {
                        numbers.extend(self.by_token.get(&token).into_iter().flatten());
                    }
                    Notice::Lost => all = true,
                }
            }
        }
        if all {
            // The others are looked at from time to time.
            let without_notice = self.eyes.iter().filter(|(_, open)| !open.polled);
            numbers.extend(without_notice.map(|(number, _)| number));
        }
        let told = |number| Some((number, Arc::clone(&self.eyes.get(&number)?.eye)));
        numbers.into_iter().filter_map(told).collect()
    }

    /// Whether an eye that is not on v1 is told from time to time, too.
    pub(super) fn poll(&mut self, number: u64, again: bool) {
        let Some(Open { lane, polled, .. }) = self.eyes.get(&number) else { return };
        if again || *polled {
            self.polled.entry(*lane).or_default().insert(number);
        } else {
            leave(&mut self.polled, *lane, number);
        }
    }

    pub(super) fn close(&mut self, number: u64) -> Option<Open> {
        let open = self.eyes.remove(&number)?;
        leave(&mut self.polled, open.lane, number);
        for token in &open.tokens {
            self.notices.end(*token);
            if let Some(numbers) = self.by_token.get_mut(token) {
                numbers.retain(|other| *other != number);
                if numbers.is_empty() {
                    self.by_token.remove(token);
                }
            }
        }
        Some(open)
    }
}

/// A lane without eyes is none.
fn leave(polled: &mut Polled<Account>, lane: Account, number: u64) {
    if let Some(eyes) = polled.get_mut(&lane) {
        eyes.remove(&number);
        if eyes.is_empty() {
            polled.remove(&lane);
        }
    }
}
