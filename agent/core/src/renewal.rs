//! When a certificate is renewed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::moment::Moment;

/// From when to when a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Validity {
    /// First moment.
    pub not_before: Moment,
    /// Last moment.
    pub not_after: Moment,
}

impl Validity {
    /// True at `now`, both ends included.
    pub fn contains(&self, now: Moment) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// The moment to renew: half of the life, then up to a tenth of it later by `jitter` (0 to `u16::MAX`), so that
/// a thousand hosts started together do not renew together. A clock that jumped past the end yields a moment in
/// the past, which means now.
pub fn renew_at(validity: Validity, jitter: u16) -> Moment {
    let life = validity.not_after.since(validity.not_before);
    let spread = life.mul_f64(0.1 * f64::from(jitter) / f64::from(u16::MAX));
    validity.not_before.after(life / 2 + spread)
}

/// How long to wait after the `failures`-th failure in a row: 1 s, doubling, never past a tenth of what is left,
/// nor above 5 minutes.
pub fn retry_after(failures: u32, remaining: Duration) -> Duration {
    let doubled = Duration::from_secs(1 << failures.saturating_sub(1).min(9));
    doubled.min(Duration::from_secs(300)).min((remaining / 10).max(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_falls_between_half_and_six_tenths_of_the_life() {
        let validity = Validity { not_before: Moment::from_secs(0), not_after: Moment::from_secs(1000) };
        assert_eq!(renew_at(validity, 0), Moment::from_secs(500));
        assert_eq!(renew_at(validity, u16::MAX), Moment::from_secs(600));
    }

    #[test]
    fn retries_back_off_but_never_past_the_end() {
        let day = Duration::from_secs(86_400);
        assert_eq!(retry_after(1, day), Duration::from_secs(1));
        assert_eq!(retry_after(4, day), Duration::from_secs(8));
        assert_eq!(retry_after(100, day), Duration::from_secs(300));
        assert_eq!(retry_after(100, Duration::from_secs(60)), Duration::from_secs(6));
    }
}
