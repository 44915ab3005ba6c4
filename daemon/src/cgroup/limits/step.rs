//! One write, and how to take it back.

use std::sync::Arc;

use cgroupd_proto::limit::{Bound, LimitName};

use super::table::File;
use crate::cgroup::{Actor, Dir, Version};

/// When a write happens: what loosens comes before what tightens, because limits lean on each
/// other; what the kernel may hold up, or kill for, comes when nothing else can fail any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Loosen,
    Neutral,
    Tighten,
    MayWait,
}

impl Rank {
    pub(super) fn of(old: Bound, new: Bound) -> Self {
        match new.cmp(&old) {
            std::cmp::Ordering::Greater => Self::Loosen,
            std::cmp::Ordering::Equal => Self::Neutral,
            std::cmp::Ordering::Less => Self::Tighten,
        }
    }
}

/// A planned write.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// The limit it belongs to.
    pub(super) name: LimitName,
    pub(super) dir: Arc<Dir>,
    pub(super) version: Version,
    pub(super) actor: Actor,
    pub(super) file: File,
    pub(super) text: String,
    pub(super) undo: Undo,
    pub(super) rank: Rank,
    /// When it is refused, it may work after the next one.
    pub(super) or_after_next: bool,
}

/// How a file's old content, read just before the write, is put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Undo {
    /// The content is one value.
    Whole,
    /// Writes change one row: the one that starts with `key`, or `unset` when there was none.
    Row { key: String, unset: Option<String> },
    /// `cpu.idle`: leaving idleness resets the weight in `weight`.
    Idle { weight: File },
}

/// A text for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) file: File,
    pub(super) text: String,
}

impl Step {
    /// The writes that put back what the file and its dependants hold now, in their order.
    pub(super) fn undo_now(&self) -> nix::Result<Vec<Write>> {
        let raw = self.dir.read(&self.file)?;
        let mut writes: Vec<Write> = self
            .undo
            .text(&raw)
            .map(|text| Write { file: self.file.clone(), text })
            .into_iter()
            .collect();
        if let Undo::Idle { weight } = &self.undo
            && raw.trim() == "0"
        {
            let text = self.dir.read(weight)?.trim().to_owned();
            writes.push(Write { file: weight.clone(), text });
        }
        Ok(writes)
    }

    /// Whether the caller's memory may have to be reclaimed to put the old value back.
    pub(super) fn undo_reclaims(&self) -> bool {
        self.rank == Rank::Loosen && self.file.starts_with("memory.")
    }
}

impl Undo {
    fn text(&self, raw: &str) -> Option<String> {
        match self {
            Self::Whole | Self::Idle { .. } => Some(line_or_newline(raw)),
            Self::Row { key, unset } => {
                let row = raw.lines().find(|row| row.split(' ').next() == Some(key));
                row.map(str::to_owned).or_else(|| unset.clone())
            }
        }
    }
}

/// Zero bytes would change nothing and still succeed: to clear a file, write an empty line.
pub(super) fn line_or_newline(text: &str) -> String {
    match text.trim() {
        "" => "\n".to_owned(),
        line => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cleared_is_an_empty_line() {
        assert_eq!(Undo::Whole.text("\n").as_deref(), Some("\n"));
        assert_eq!(Undo::Whole.text("").as_deref(), Some("\n"));
        assert_eq!(Undo::Whole.text("max 100000\n").as_deref(), Some("max 100000"));
    }

    #[test]
    fn rows_are_restored_one_by_one() {
        let undo = Undo::Row { key: "8:1".into(), unset: Some("8:1 rbps=max".into()) };
        let raw = "8:16 rbps=5 wbps=max\n8:1 rbps=7 wbps=max\n";
        assert_eq!(undo.text(raw).as_deref(), Some("8:1 rbps=7 wbps=max"));
        assert_eq!(undo.text("8:16 rbps=5\n").as_deref(), Some("8:1 rbps=max"));
        assert_eq!(undo.text("").as_deref(), Some("8:1 rbps=max"));
        let gone = Undo::Row { key: "mlx4_0".into(), unset: None };
        assert_eq!(gone.text("mlx4_1 hca_handle=max\n"), None);
    }

    #[test]
    fn ranks() {
        assert_eq!(Rank::of(Bound::At(5), Bound::Max), Rank::Loosen);
        assert_eq!(Rank::of(Bound::Max, Bound::Max), Rank::Neutral);
        assert_eq!(Rank::of(Bound::At(5), Bound::At(0)), Rank::Tighten);
        assert!(Rank::Loosen < Rank::Tighten && Rank::Tighten < Rank::MayWait);
    }
}
