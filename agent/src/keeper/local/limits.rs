//! How many requests one uid may make: what is over the limit is told so and shed.

use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use reverie_core::config::Limits;

/// Requests a second, by uid.
#[derive(Debug, Default)]
pub struct Rates(RwLock<Option<(u32, u32, Arc<DefaultKeyedRateLimiter<u32>>)>>);

impl Rates {
    /// True if `uid` may make one more request now.
    pub fn admit(&self, uid: u32, limits: &Limits) -> bool {
        let (Some(rate), Some(burst)) = (NonZeroU32::new(limits.requests_per_second), NonZeroU32::new(limits.burst.max(1)))
        else {
            return true;
        };
        self.limiter(rate, burst).check_key(&uid).is_ok()
    }

    /// The limiter for the settings in force; a change of settings begins anew.
    fn limiter(&self, rate: NonZeroU32, burst: NonZeroU32) -> Arc<DefaultKeyedRateLimiter<u32>> {
        let wanted = (rate.get(), burst.get());
        if let Some((r, b, limiter)) = self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref()
            && (*r, *b) == wanted
        {
            return Arc::clone(limiter);
        }
        let limiter = Arc::new(RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some((wanted.0, wanted.1, Arc::clone(&limiter)));
        limiter
    }

    /// Forgets uids that have been quiet, so that the table stays small.
    pub fn forget_quiet(&self) {
        if let Some((_, _, limiter)) = self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_over_its_rate_does_not_slow_another() {
        let rates = Rates::default();
        let limits = Limits { requests_per_second: 1, burst: 2, ..Limits::default() };
        assert_eq!((0..5).filter(|_| rates.admit(1, &limits)).count(), 2);
        assert!(rates.admit(2, &limits));
        assert!(rates.admit(1, &Limits { requests_per_second: 0, ..limits }));
    }
}
