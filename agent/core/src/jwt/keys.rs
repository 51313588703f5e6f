//! The life of a host's token-signing keys: each published well before it signs, and until the last token under it has ended.

use std::time::Duration;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::mesh::crypto::Kid;
use crate::moment::Moment;

/// How long a key signs.
const SIGNS_FOR: Duration = Duration::from_secs(30 * 86_400);
/// How long before it signs a key is published: many times the interval at which other trust domains look (SPIFFE
/// Federation §4.1 wants 3 to 5 times).
const PUBLISHED_AHEAD: Duration = Duration::from_secs(3 * 86_400);
/// The longest life of a token, in seconds an hour; its key is trusted for so long after its last signature.
pub const MAX_TOKEN_TTL: Duration = Duration::from_secs(3600);
/// Clocks of hosts differ.
const SLACK: Duration = Duration::from_secs(300);
/// Keys kept for one purpose, whatever the clock did.
const MOST: usize = 8;

/// What a key signs. One key signs one kind of token, so that no token of one kind passes for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Encode, Decode)]
#[cbor(index_only)]
pub enum Purpose {
    /// JWT-SVIDs.
    #[n(0)]
    JwtSvid,
    /// WIT-SVIDs.
    #[n(1)]
    WitSvid,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::JwtSvid, Self::WitSvid];

    /// The `use` of its keys in a SPIFFE bundle (JWT-SVID §6.1, WIT-SVID §6.1).
    pub fn key_use(self) -> &'static str {
        match self {
            Self::JwtSvid => "jwt-svid",
            Self::WitSvid => "wit-svid",
        }
    }
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Its name, which is `kid` in tokens.
    pub kid: Kid,
    /// What it signs.
    pub purpose: Purpose,
    /// From when on.
    pub signs_from: Moment,
}

impl KeyRecord {
    /// When the last token that it signed has ended for everyone.
    pub fn trusted_until(&self) -> Moment {
        self.signs_from.after(SIGNS_FOR + MAX_TOKEN_TTL + SLACK)
    }

    fn signs_until(&self) -> Moment {
        self.signs_from.after(SIGNS_FOR)
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A new key that signs from then on.
    Make(Purpose, Moment),
    /// A key that nobody needs any more.
    Forget(Kid),
}

/// What is to be done now for these keys of a host. To be asked again after each step, and now and then.
pub fn steps(keys: &[KeyRecord], now: Moment) -> Vec<Step> {
    let mut steps = vec![];
    for purpose in Purpose::ALL {
        let mut own: Vec<&KeyRecord> = keys.iter().filter(|key| key.purpose == purpose).collect();
        own.sort_by_key(|key| key.signs_from);
        // One that signs only later than one made now would is of a clock that ran ahead.
        let latest = own.iter().rev().find(|key| key.signs_from <= now.after(PUBLISHED_AHEAD));
        match latest {
            None => steps.push(Step::Make(purpose, now)),
            Some(key) if key.signs_until() <= now => steps.push(Step::Make(purpose, now)),
            Some(key) if key.signs_until() <= now.after(PUBLISHED_AHEAD) => steps.push(Step::Make(purpose, key.signs_until())),
            Some(_) => {}
        }
        let signing = signing(keys, purpose, now).map(|key| key.kid);
        let is_over = |key: &&&KeyRecord| key.trusted_until() <= now && Some(key.kid) != signing;
        let over = own.iter().filter(is_over).map(|key| key.kid);
        let too_many = own.iter().filter(|key| Some(key.kid) != signing).map(|key| key.kid).take(own.len().saturating_sub(MOST));
        let mut gone: Vec<Kid> = over.chain(too_many).collect();
        gone.sort_unstable();
        gone.dedup();
        steps.extend(gone.into_iter().map(Step::Forget));
    }
    steps
}

/// The key that signs now: the newest that may. While the clock stands before all of them, the first.
pub fn signing(keys: &[KeyRecord], purpose: Purpose, now: Moment) -> Option<&KeyRecord> {
    let own = || keys.iter().filter(move |key| key.purpose == purpose);
    let begun = own().filter(|key| key.signs_from <= now).max_by_key(|key| key.signs_from);
    match begun {
        Some(key) if key.signs_until() > now => Some(key),
        Some(_) => None,
        None => own().min_by_key(|key| key.signs_from),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400;

    fn day(days: i64) -> Moment {
        Moment::from_secs(1_800_000_000 + days * DAY)
    }

    /// Takes every step there is, as the shell does.
    fn settle(keys: &mut Vec<KeyRecord>, now: Moment, made: &mut u8) {
        for _ in 0..10 {
            let steps = steps(keys, now);
            if steps.is_empty() {
                return;
            }
            for step in steps {
                match step {
                    Step::Make(purpose, signs_from) => {
                        *made += 1;
                        keys.push(KeyRecord { kid: Kid([*made; 20]), purpose, signs_from });
                    }
                    Step::Forget(kid) => keys.retain(|key| key.kid != kid),
                }
            }
        }
        panic!("it never comes to rest");
    }

    fn signs(keys: &[KeyRecord], now: Moment) -> u8 {
        signing(keys, Purpose::JwtSvid, now).unwrap().kid.0[0]
    }

    #[test]
    fn over_a_year_each_key_is_known_before_it_signs_and_after_its_last_token() {
        let (mut keys, mut made) = (vec![], 0);
        settle(&mut keys, day(0), &mut made);
        assert_eq!(keys.len(), 2, "one for each purpose");
        let mut before: Vec<(Moment, Vec<Kid>)> = vec![];
        for hour in 1..365 * 24 {
            let now = day(0).after(Duration::from_secs(hour * 3600));
            settle(&mut keys, now, &mut made);
            let known: Vec<Kid> = keys.iter().map(|key| key.kid).collect();
            let signing = signing(&keys, Purpose::JwtSvid, now).unwrap().kid;
            if hour > 72 {
                let (_, then) = before.iter().rev().find(|(at, _)| *at <= now.before(Duration::from_secs(2 * 86_400))).unwrap();
                assert!(then.contains(&signing), "hour {hour}: published for two days at least");
            }
            // Whatever signed an hour ago is known still.
            if let Some((at, _)) = before.last() {
                let last = super::signing(&keys, Purpose::JwtSvid, *at).unwrap();
                assert!(known.contains(&last.kid));
            }
            assert!(keys.len() <= 6);
            before.push((now, known));
        }
        assert!(made >= 24, "{made}");
    }

    #[test]
    fn a_clock_that_was_set_leaves_the_host_able_to_sign_and_makes_no_heap_of_keys() {
        let (mut keys, mut made) = (vec![], 0);
        settle(&mut keys, day(0), &mut made);
        let first = signs(&keys, day(0));
        settle(&mut keys, day(400), &mut made);
        assert_ne!(signs(&keys, day(400)), first);
        settle(&mut keys, day(1), &mut made);
        let after = signs(&keys, day(1));
        settle(&mut keys, day(2), &mut made);
        assert_eq!(signs(&keys, day(2)), after);
        for jump in 0..100 {
            settle(&mut keys, day((jump % 7) * 100), &mut made);
            assert!(keys.len() <= 2 * (MOST + 1), "{}", keys.len());
        }
    }

    #[test]
    fn after_a_long_time_off_there_is_a_new_key_at_once() {
        let (mut keys, mut made) = (vec![], 0);
        settle(&mut keys, day(0), &mut made);
        assert_eq!(signing(&keys, Purpose::JwtSvid, day(31)), None);
        settle(&mut keys, day(31), &mut made);
        assert_eq!(signing(&keys, Purpose::JwtSvid, day(31)).unwrap().signs_from, day(31));
    }

    proptest! {
        #[test]
        fn whatever_the_clock_does_a_key_signs_and_the_steps_end(days in proptest::collection::vec(0i64..2000, 1..40)) {
            let (mut keys, mut made) = (vec![], 0);
            for at in days {
                settle(&mut keys, day(at), &mut made);
                for purpose in Purpose::ALL {
                    prop_assert!(signing(&keys, purpose, day(at)).is_some());
                }
            }
        }
    }
}
