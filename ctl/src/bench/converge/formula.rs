//! What others' model promises, to stand beside what was measured.

use std::time::Duration;

/// Serf on a LAN: a round every 200 ms, three peers in each.
const ROUND: Duration = Duration::from_millis(200);
const FANOUT: f64 = 3.0;
/// Convergence is when so many of ten thousand have it.
const MISSING: f64 = 1e-4;

/// The logistic curve that Serf's convergence simulator draws: after `t` rounds `n / (1 + (n + 1)·e^(-t·fanout·(1 - loss)/2))`
/// of `n` hosts have it. Solved for `t`, in whole rounds.
pub(super) fn serf(hosts: usize, loss: f64) -> Duration {
    let odds = (hosts as f64 + 1.0) / MISSING;
    let rounds = (odds.ln() / (0.5 * FANOUT * (1.0 - loss))).ceil();
    ROUND.mul_f64(rounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_gives_the_published_figures() {
        assert_eq!(serf(100, 0.0), Duration::from_millis(2_000));
        assert_eq!(serf(1_000, 0.0), Duration::from_millis(2_200));
        assert_eq!(serf(1_000, 0.25), Duration::from_millis(3_000));
        assert_eq!(serf(10, 0.0), Duration::from_millis(1_600));
    }
}
