//! A user namespace's map of ids, as `/proc/PID/uid_map` shows it (`user_namespaces(7)`).

/// The id that stands for "not mapped here".
pub const OVERFLOW_ID: u32 = 65534;

/// Ranges of ids: inside, outside (the daemon's), length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMap(Vec<(u32, u32, u32)>);

impl IdMap {
    /// The map of somebody in the daemon's own user namespace.
    pub fn identity() -> Self {
        Self(vec![(0, 0, u32::MAX)])
    }

    /// Parses the kernel's file. Empty for a namespace that has no map yet.
    ///
    /// `None` when a line is not three numbers: then nothing is known and the caller refused.
    pub fn parse(text: &str) -> Option<Self> {
        text.lines().map(parse_line).collect::<Option<Vec<_>>>().map(Self)
    }

    /// Whether nothing is mapped: the map was not written yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What an outside id is called inside.
    pub fn inside(&self, id: u32) -> Option<u32> {
        self.0.iter().find_map(|(inner, outer, length)| shift(id, *outer, *inner, *length))
    }

    /// What an inside id is outside.
    pub fn outside(&self, id: u32) -> Option<u32> {
        self.0.iter().find_map(|(inner, outer, length)| shift(id, *inner, *outer, *length))
    }

    /// Whether an outside id has a name inside.
    pub fn maps(&self, id: u32) -> bool {
        self.inside(id).is_some()
    }

    /// What to show for an outside id: the inside one, or the overflow id.
    pub fn shown(&self, id: u32) -> u32 {
        self.inside(id).unwrap_or(OVERFLOW_ID)
    }
}

fn parse_line(line: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = line.split_ascii_whitespace().map(str::parse);
    let range = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    numbers.next().is_none().then_some(range)
}

/// `id` moved from a range that starts at `from` to one that starts at `to`.
fn shift(id: u32, from: u32, to: u32, length: u32) -> Option<u32> {
    let offset = id.checked_sub(from)?;
    (offset < length && id != u32::MAX).then(|| to.checked_add(offset)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        let map =
            IdMap::parse("         0     100000      65536\n     70000       1000          1\n");
        let map = map.unwrap();
        for (outside, inside) in [
            (100_000, Some(0)),
            (165_535, Some(65_535)),
            (165_536, None),
            (1000, Some(70_000)),
            (0, None),
        ] {
            assert_eq!(map.inside(outside), inside);
            assert!(inside.is_none_or(|inside| map.outside(inside) == Some(outside)));
        }
        assert_eq!(map.shown(5), OVERFLOW_ID);
        assert_eq!(map.outside(65_536), None);
    }

    #[test]
    fn minus_one_is_nobody_in_any_map() {
        assert_eq!(IdMap::identity().inside(u32::MAX), None);
        assert_eq!(IdMap::identity().outside(u32::MAX - 1), Some(u32::MAX - 1));
    }

    #[test]
    fn what_is_not_understood_is_unknown() {
        assert_eq!(IdMap::parse("0 0\n"), None);
        assert_eq!(IdMap::parse("0 -1 5\n"), None);
        assert_eq!(IdMap::parse("0 0 1 1\n"), None);
        assert!(IdMap::parse("").unwrap().is_empty());
    }
}
