//! Times of one side, and what they come to.

use std::time::Duration;

use serde::Serialize;

use super::rounded;

/// No more times than this are kept for each side; later ones only count.
const MAX_TIMES: usize = 4_000_000;

/// The times of one side, turn after turn.
#[derive(Debug, Default)]
pub(super) struct Times {
    all: Vec<u64>,
    count: u64,
    elapsed: Duration,
    /// Median of each turn, ns.
    medians: Vec<u64>,
}

/// One side in figures.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    pub(super) count: u64,
    pub(super) per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

impl Times {
    /// Adds a turn: its times in nanoseconds and how long it took.
    pub(super) fn add(&mut self, mut turn: Vec<u64>, elapsed: Duration) {
        self.count += turn.len() as u64;
        self.elapsed += elapsed;
        turn.sort_unstable();
        self.medians.push(percentile(&turn, 50));
        turn.truncate(MAX_TIMES.saturating_sub(self.all.len()));
        self.all.extend(turn);
    }

    pub(super) fn figures(&self) -> Figures {
        let mut all = self.all.clone();
        all.sort_unstable();
        let per_second = self.count as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON);
        let micros = |nanos: u64| rounded(nanos as f64 / 1000.0);
        let (p50_us, p99_us) = (micros(percentile(&all, 50)), micros(percentile(&all, 99)));
        Figures { count: self.count, per_second: per_second.round(), p50_us, p99_us }
    }

    /// Smallest and largest ratio of medians, turn by turn.
    pub(super) fn spread(&self, other: &Self) -> [f64; 2] {
        let ratios = self.medians.iter().zip(&other.medians).map(|(a, b)| rounded(*a as f64 / (*b).max(1) as f64));
        ratios.fold([f64::MAX, 0.0], |[low, high], ratio| [low.min(ratio), high.max(ratio)])
    }
}

/// Of sorted times; 0 for none.
pub(super) fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied().unwrap_or(0)
}

impl Figures {
    pub(super) fn row(&self, name: &str) -> [String; 5] {
        let Self { count, per_second, p50_us, p99_us } = self;
        [name.to_owned(), count.to_string(), format!("{per_second:.0}"), format!("{p50_us:.1} µs"), format!("{p99_us:.1} µs")]
    }
}

/// Headings for [`Figures::row`].
pub(super) const HEADINGS: [&str; 5] = ["", "COUNT", "PER SECOND", "P50", "P99"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_spread_are_what_they_say() {
        assert_eq!((percentile(&[], 50), percentile(&[1, 2, 3], 50), percentile(&(1..=100).collect::<Vec<_>>(), 99)), (0, 2, 99));
        let (mut a, mut b) = (Times::default(), Times::default());
        for (one, two) in [(2000, 1000), (3000, 1000)] {
            a.add(vec![one; 10], Duration::from_secs(1));
            b.add(vec![two; 10], Duration::from_secs(1));
        }
        assert_eq!(a.spread(&b), [2.0, 3.0]);
        assert_eq!((a.figures().count, a.figures().per_second, a.figures().p50_us), (20, 10.0, 2.0));
    }
}
