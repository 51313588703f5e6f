//! One start of a unit, one generation: its credentials are fetched one after the other, and a rotation may come between.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reverie_core::id::IdentityName;

use crate::keeper::identity::store::Generation;

/// Longer than a unit takes to load its credentials, shorter than its process id takes to come round.
const KEPT: Duration = Duration::from_secs(10);
/// More than start at once.
const MOST: usize = 1024;

/// What each loading process was given first.
#[derive(Debug, Default)]
pub struct Pinned(Mutex<BTreeMap<(i32, IdentityName), (Instant, Arc<Generation>)>>);

impl Pinned {
    /// The generation for that process: what it had before if that is recent, else `current`.
    pub(super) fn take(&self, pid: i32, current: Arc<Generation>, now: Instant) -> Arc<Generation> {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        given.retain(|_, (since, _)| now.saturating_duration_since(*since) < KEPT);
        let key = (pid, current.identity.clone());
        if let Some((_, known)) = given.get(&key) {
            return Arc::clone(known);
        }
        if given.len() < MOST {
            given.insert(key, (now, Arc::clone(&current)));
        }
        current
    }
}

#[cfg(test)]
mod tests {
    use reverie_core::ca::Serial;
    use reverie_core::moment::Moment;
    use reverie_core::renewal::Validity;
    use zeroize::Zeroizing;

    use super::*;

    fn generation(number: u64) -> Arc<Generation> {
        let at = Moment::from_secs(100);
        Arc::new(Generation {
            identity: "web".parse().unwrap(),
            spiffe_id: "spiffe://example.org/svc/web".parse().unwrap(),
            serial: Serial::from_random([7; 16]),
            validity: Validity { not_before: at, not_after: at },
            renew_at: at,
            number,
            issuer: String::new(),
            chain_pem: String::new(),
            key_pem: Zeroizing::new(String::new()),
            made_from: String::new(),
            revoked: false,
            superseded: false,
        })
    }

    #[test]
    fn one_start_sees_one_generation_and_the_next_start_the_new_one() {
        let (pinned, begun) = (Pinned::default(), Instant::now());
        assert_eq!(pinned.take(7, generation(1), begun).number, 1);
        assert_eq!(pinned.take(7, generation(2), begun + Duration::from_secs(1)).number, 1, "rotated in between");
        assert_eq!(pinned.take(8, generation(2), begun + Duration::from_secs(1)).number, 2, "another start");
        assert_eq!(pinned.take(7, generation(2), begun + KEPT).number, 2, "that process id came round");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let pinned = Pinned::default();
        for pid in 0..5000 {
            pinned.take(pid, generation(1), Instant::now());
        }
        assert!(pinned.0.lock().unwrap().len() <= MOST);
    }
}
