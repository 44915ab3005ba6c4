//! What the kernel writes into interface files, as values.

use cgroupd_proto::limit::Bound;

/// A number; `max`, `-1` and v1's huge numbers are no limit. `None` for any other text.
pub(super) fn bound(raw: &str) -> Option<Bound> {
    /// v1 shows no limit as a number near 2⁶³, rounded to the page in question.
    const NO_LIMIT: u64 = 1 << 62;
    match raw.trim() {
        "max" | "-1" => Some(Bound::Max),
        text => text.parse().ok().map(|number| match number {
            NO_LIMIT.. => Bound::Max,
            number => Bound::At(number),
        }),
    }
}

/// Whether a process is in the cgroup or below it, by the text of its `cgroup.events`.
pub(crate) fn is_populated(events: &str) -> bool {
    events.lines().any(|line| line == "populated 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_numbers() {
        for (raw, expected) in [
            ("max\n", Some(Bound::Max)),
            ("-1\n", Some(Bound::Max)),
            ("9223372036854771712\n", Some(Bound::Max)),
            ("9223372036852678656\n", Some(Bound::Max)),
            ("0\n", Some(Bound::At(0))),
            ("9998336\n", Some(Bound::At(9_998_336))),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(bound(raw), expected, "{raw}");
        }
    }

    #[test]
    fn a_cgroup_with_processes_is_populated() {
        assert!(is_populated("populated 1\nfrozen 0\n"));
        assert!(!is_populated("populated 0\nfrozen 1\n"));
        assert!(!is_populated(""));
    }
}
