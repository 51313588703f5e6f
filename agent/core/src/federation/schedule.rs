//! When a bundle is fetched again.

use std::time::Duration;

/// After the first failure.
pub const FIRST_RETRY: Duration = Duration::from_secs(10);
/// As SPIFFE Federation §4.1 recommends where the bundle does not say.
const DEFAULT_HINT: Duration = Duration::from_secs(300);
/// Whatever a bundle asks for, no more often than this, and no more rarely.
const BOUNDS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(86_400));

/// So long until the next fetch, after `failures` in a row; `hint` is what the newest bundle asks for.
pub fn next_fetch(hint: Option<Duration>, failures: u32) -> Duration {
    let regular = hint.unwrap_or(DEFAULT_HINT).clamp(BOUNDS.0, BOUNDS.1);
    match failures {
        0 => regular,
        _ => FIRST_RETRY.saturating_mul(1 << (failures - 1).min(10)).min(regular.max(DEFAULT_HINT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_says_how_often_within_bounds_and_failures_are_retried_ever_later() {
        let secs = Duration::from_secs;
        assert_eq!(next_fetch(None, 0), secs(300));
        assert_eq!(next_fetch(Some(secs(1)), 0), secs(30));
        assert_eq!(next_fetch(Some(secs(u64::MAX)), 0), secs(86_400));
        let retries: Vec<u64> = (1..8).map(|failures| next_fetch(None, failures).as_secs()).collect();
        assert_eq!(retries, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(next_fetch(Some(secs(30)), u32::MAX), secs(300));
    }
}
