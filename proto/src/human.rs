//! The kernel's numbers as people write them. Only for showing: the wire carries decimals.

const UNITS: [(u64, char); 4] = [(1 << 40, 'T'), (1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')];

/// A size in bytes, 1024-based: `512M`, `1.5G`, `9998336` when no unit fits exactly.
pub fn format_size(bytes: u64) -> String {
    for (unit, letter) in UNITS {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{}{letter}", bytes / unit);
        }
        if bytes >= unit && (bytes % unit * 10).is_multiple_of(unit) {
            return format!("{}.{}{letter}", bytes / unit, bytes % unit * 10 / unit);
        }
    }
    bytes.to_string()
}

/// A size in bytes as far as it matters, 1024-based: `3.3M`, `512`.
pub fn round_size(bytes: u64) -> String {
    match UNITS.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, letter)) => format!("{:.1}{letter}", bytes as f64 / unit as f64),
        None => bytes.to_string(),
    }
}

/// A `cpu.max` line (`150000 100000`) as a share of one CPU (`150%`); others as they are.
pub fn format_cpus(line: &str) -> String {
    let numbers: Vec<u64> = line.split(' ').filter_map(|n| n.parse().ok()).collect();
    match numbers[..] {
        [quota, period] if period > 0 && quota.saturating_mul(100).is_multiple_of(period) => {
            format!("{}%", quota * 100 / period)
        }
        _ if line.starts_with("max") => "max".to_owned(),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{format_cpus, format_size};

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0"),
            (512, "512"),
            (1 << 10, "1K"),
            (512 << 20, "512M"),
            (3 << 29, "1.5G"),
            (9_998_336, "9764K"),
            (9_998_337, "9998337"),
            (1 << 40, "1T"),
            (u64::MAX, "18446744073709551615"),
        ] {
            assert_eq!(format_size(bytes), text);
        }
    }

    #[test]
    fn cpus() {
        assert_eq!(format_cpus("150000 100000"), "150%");
        assert_eq!(format_cpus("max 100000"), "max");
        assert_eq!(format_cpus("1 3"), "1 3");
    }
}
