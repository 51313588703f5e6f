//! How many requests one address may make.

use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::ops::origin::Origin;

/// Requests a second, by address, of those who have not shown a known key.
#[derive(Debug, Default)]
pub struct Rates(RwLock<Option<(u32, Arc<DefaultKeyedRateLimiter<Origin>>)>>);

impl Rates {
    /// True if `origin` may do one more thing now. Twice the rate may come at once.
    pub fn admit(&self, origin: Origin, per_second: u32) -> bool {
        let rate = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        self.limiter(rate).check_key(&origin).is_ok()
    }

    fn limiter(&self, rate: NonZeroU32) -> Arc<DefaultKeyedRateLimiter<Origin>> {
        if let Some((of, limiter)) = self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref()
            && *of == rate.get()
        {
            return Arc::clone(limiter);
        }
        let burst = rate.saturating_add(rate.get());
        let limiter = Arc::new(RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some((rate.get(), Arc::clone(&limiter)));
        limiter
    }

    /// Forgets addresses that have been quiet, so that the table stays small.
    pub fn forget_quiet(&self) {
        if let Some((_, limiter)) = self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn an_address_over_its_rate_does_not_slow_another() {
        let rates = Rates::default();
        let (a, b) = (origin("192.0.2.1"), origin("192.0.2.2"));
        assert!((0..10).filter(|_| rates.admit(a, 1)).count() <= 3);
        assert!(rates.admit(b, 1));
    }
}
