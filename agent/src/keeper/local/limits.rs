//! How many connections and requests one uid may have: what is over the limit is told so and shed.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use reverie_core::config::Limits;

/// Counts what each uid has of something: connections, bytes.
#[derive(Debug, Default)]
pub struct Shares {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: u32,
    by_uid: BTreeMap<u32, u32>,
}

/// A part that is counted until this is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    uid: u32,
    amount: u32,
}

impl Shares {
    /// Counts `amount` more; `None` if that is too much for `uid` or for all.
    pub fn take(self: &Arc<Self>, uid: u32, amount: u32, total: u32, per_uid: u32) -> Option<Share> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let own = counts.by_uid.get(&uid).copied().unwrap_or(0).checked_add(amount).filter(|own| *own <= per_uid)?;
        counts.total = counts.total.checked_add(amount).filter(|all| *all <= total)?;
        counts.by_uid.insert(uid, own);
        Some(Share { shares: Arc::clone(self), uid, amount })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.shares.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total = counts.total.saturating_sub(self.amount);
        match counts.by_uid.get_mut(&self.uid) {
            Some(own) if *own > self.amount => *own -= self.amount,
            _ => {
                counts.by_uid.remove(&self.uid);
            }
        }
    }
}

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
    fn one_uid_cannot_take_everything() {
        let connections = Arc::new(Shares::default());
        let held: Vec<_> = (0..3).map_while(|_| connections.take(1, 1, 10, 2)).collect();
        assert_eq!(held.len(), 2);
        assert!(connections.take(2, 1, 10, 2).is_some());
        drop(held);
        assert!(connections.take(1, 3, 10, 2).is_none());
        let whole = connections.take(1, 2, 10, 2).unwrap();
        assert!(connections.take(2, 9, 10, 10).is_none(), "all together have too much");
        drop(whole);
        assert!(connections.take(2, 9, 10, 10).is_some());
    }

    #[test]
    fn a_uid_over_its_rate_does_not_slow_another() {
        let rates = Rates::default();
        let limits = Limits { requests_per_second: 1, burst: 2, ..Limits::default() };
        assert_eq!((0..5).filter(|_| rates.admit(1, &limits)).count(), 2);
        assert!(rates.admit(2, &limits));
        assert!(rates.admit(1, &Limits { requests_per_second: 0, ..limits }));
    }
}
