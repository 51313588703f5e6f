//! What counts as one address, and how many requests it may make.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// What counts as one address: an IPv6 host has a whole /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(IpAddr);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
            v4 => v4,
        })
    }
}

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
    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_host_with_a_whole_ipv6_network_is_one_address() {
        assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:1"));
        assert_ne!(origin("2001:db8::1"), origin("2001:db8:0:1::1"));
        assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
    }

    #[test]
    fn an_address_over_its_rate_does_not_slow_another() {
        let rates = Rates::default();
        let (a, b) = (origin("192.0.2.1"), origin("192.0.2.2"));
        assert!((0..10).filter(|_| rates.admit(a, 1)).count() <= 3);
        assert!(rates.admit(b, 1));
    }
}
