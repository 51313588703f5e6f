//! Connections from the network whose handshake is not done: so many in all. Who comes when every place is taken gets that of
//! whoever has most of them, so that few addresses keep nobody out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::ops::origin::Origin;

/// In all, for one tunnel.
const PLACES: usize = 4096;

/// See above.
#[derive(Debug, Default)]
pub(super) struct Unknown(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    next: u64,
    taken: usize,
    /// Of each address, the oldest first.
    by: BTreeMap<Origin, BTreeMap<u64, CancellationToken>>,
}

/// One of them, until this is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    unknown: Arc<Unknown>,
    origin: Origin,
    number: u64,
    /// Another has its place.
    pub(super) put_out: CancellationToken,
}

impl Unknown {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more; `None` if there is no place, and nobody who has clearly more.
    pub(super) fn enter(self: &Arc<Self>, origin: Origin) -> Option<Guest> {
        let mut places = self.places();
        if places.taken >= PLACES {
            let own = places.by.get(&origin).map_or(0, BTreeMap::len);
            let (most, held) = places.by.iter().max_by_key(|(_, held)| held.len())?;
            if held.len() <= own + 1 {
                return None;
            }
            let (most, oldest) = (*most, *held.first_key_value()?.0);
            places.take_from(most, oldest)?.cancel();
        }
        let (number, put_out) = (places.next, CancellationToken::new());
        places.next += 1;
        places.taken += 1;
        places.by.entry(origin).or_default().insert(number, put_out.clone());
        Some(Guest { unknown: Arc::clone(self), origin, number, put_out })
    }
}

impl Places {
    fn take_from(&mut self, origin: Origin, number: u64) -> Option<CancellationToken> {
        let held = self.by.get_mut(&origin)?;
        let one = held.remove(&number)?;
        if held.is_empty() {
            self.by.remove(&origin);
        }
        self.taken -= 1;
        Some(one)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.unknown.places().take_from(self.origin, self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn origin(number: u32) -> Origin {
        IpAddr::from(Ipv4Addr::from_bits(number)).into()
    }

    #[test]
    fn few_that_take_every_place_keep_nobody_out() {
        let unknown = Arc::new(Unknown::default());
        let greedy: Vec<Guest> = (0..2 * PLACES).filter_map(|turn| unknown.enter(origin(turn as u32 % 12))).collect();
        let out = |guests: &[Guest]| guests.iter().filter(|guest| guest.put_out.is_cancelled()).count();
        assert_eq!((unknown.places().taken, out(&greedy)), (PLACES, 0));
        let honest: Vec<Guest> = (0..100).map_while(|_| unknown.enter(origin(99))).collect();
        assert_eq!((honest.len(), out(&honest), out(&greedy), unknown.places().taken), (100, 0, 100, PLACES));
        // It is theirs that has to go, however often they come again.
        let _again: Vec<Guest> = (0..PLACES).filter_map(|turn| unknown.enter(origin(turn as u32 % 12))).collect();
        assert_eq!(out(&honest), 0);
        drop(greedy);
        drop(honest);
        assert!(unknown.places().taken <= 100);
    }

    #[test]
    fn who_has_no_less_than_all_others_is_put_off() {
        let unknown = Arc::new(Unknown::default());
        let each: Vec<Guest> = (0..PLACES as u32).map_while(|number| unknown.enter(origin(number))).collect();
        assert!(each.len() == PLACES && unknown.enter(origin(u32::MAX)).is_none());
        drop(each);
        assert!(unknown.places().by.is_empty());
    }
}
