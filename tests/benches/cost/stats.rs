//! From samples to the few numbers that are printed. Medians of several repeats: one repeat
//! that something else disturbed does not count.

use std::time::Duration;

/// What one repeat brought.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// How long each call took, in nanoseconds.
    pub(crate) samples: Vec<u64>,
    /// How long all of them took, with the connections side by side.
    pub(crate) elapsed: Duration,
    /// The CPU time the server took meanwhile.
    pub(crate) cpu: Duration,
}

/// A call's cost, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) cpu: f64,
    pub(crate) per_second: f64,
}

impl Cost {
    /// Medians over the repeats.
    pub(crate) fn of(repeats: &[Series]) -> Self {
        let over = |figure: fn(&Series) -> f64| median(repeats.iter().map(figure).collect());
        Self {
            p50: over(|series| micros(percentile(&series.samples, 50))),
            p99: over(|series| micros(percentile(&series.samples, 99))),
            cpu: over(|series| series.cpu.as_secs_f64() * 1e6 / series.samples.len() as f64),
            per_second: over(|series| series.samples.len() as f64 / series.elapsed.as_secs_f64()),
        }
    }
}

/// The sample that `percent` of all are not above.
pub(crate) fn percentile(samples: &[u64], percent: usize) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(at).copied().unwrap_or_default()
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

pub(crate) fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}
