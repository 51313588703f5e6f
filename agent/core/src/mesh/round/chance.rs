//! Chance, from a seed.

use std::fmt;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Not shown by `Debug`: who knows it knows whom we talk to next.
pub(super) struct Chance(ChaCha8Rng);

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chance")
    }
}

impl Chance {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(seed))
    }

    /// Another, independent one.
    pub(super) fn stream(seed: [u8; 32], stream: u64) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::from_seed(seed);
        rng.set_stream(stream);
        rng
    }

    /// Below `bound`; zero if that is zero. Even enough: the bounds are small against 2^64.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let product = u128::from(self.0.next_u64()) * bound as u128;
        (product >> 64) as usize
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// From `low` percent of `span` to `high` percent of it.
    pub(super) fn around(&mut self, span: Duration, low: u32, high: u32) -> Duration {
        let percent = low as usize * 1000 + self.below((high.saturating_sub(low)) as usize * 1000 + 1);
        Duration::from_millis((span.as_millis() * percent as u128 / 100_000) as u64)
    }

    /// `count` of `from` in random order, without repetition.
    pub(super) fn pick(&mut self, mut from: Vec<usize>, count: usize) -> Vec<usize> {
        for at in 0..count.min(from.len()) {
            let other = at + self.below(from.len() - at);
            from.swap(at, other);
        }
        from.truncate(count);
        from
    }
}
