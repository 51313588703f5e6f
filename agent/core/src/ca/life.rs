//! When a root is made, published, signs and retires; the same for the host's intermediate and the revocation lists.
//!
//! ```text
//! root A  |───────── signs ─────────|── trusted ──|
//! root B                 |─ trusted ─|───── signs ─────…
//!                      made     signs_from
//! ```
//! [`steps`] says what is due now; the keeper does it, records it, and asks again until nothing is due.
//!
//! The clock may be wrong for a while, ahead or behind. So nothing that is not valid yet is used, what ended is kept
//! aside rather than thrown away, and a list from the future is signed anew: once the clock is right again, so is all.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::membership::{Membership, Role};
use crate::moment::Moment;
use crate::renewal::Validity;

/// Lifetimes, from the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Life of a root.
    pub root_ttl: Duration,
    /// From publication to first signature.
    pub root_overlap: Duration,
    /// Life of an intermediate.
    pub intermediate_ttl: Duration,
    /// From `thisUpdate` to `nextUpdate`.
    pub crl_ttl: Duration,
}

/// A root of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// SHA-256 of the certificate, lower-case hex.
    pub fingerprint: String,
    /// Its life.
    pub validity: Validity,
    /// From when on it signs; published, and so trusted, before.
    pub signs_from: Moment,
    /// When its CRL must be replaced; `None` before the first, and while it lacks entries.
    pub crl_next_update: Option<Moment>,
    /// It has ended, by the clock of that time: out of the bundle.
    pub retired: bool,
}

/// An intermediate of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intermediate {
    /// SHA-256 of the certificate, lower-case hex.
    pub fingerprint: String,
    /// The root that signed it.
    pub root: String,
    /// Its life.
    pub validity: Validity,
    /// When its CRL must be replaced; `None` before the first, and while it lacks entries.
    pub crl_next_update: Option<Moment>,
    /// Revoked: signs no certificates any more.
    pub revoked: bool,
    /// It has ended, by the clock of that time.
    pub retired: bool,
}

/// How many retired roots, and how many intermediates, are kept aside.
const KEPT_ASIDE: usize = 8;

/// All roots and intermediates that still matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// In the order they were made.
    pub roots: Vec<Root>,
    /// In the order they were made.
    pub intermediates: Vec<Intermediate>,
    /// Kept apart from the rest.
    #[serde(skip)]
    pub membership: Membership,
}

/// One thing that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make a root that signs from then on.
    MakeRoot {
        /// At once for the first root, after the overlap for a successor.
        signs_from: Moment,
    },
    /// Make an intermediate, signed by that root.
    MakeIntermediate {
        /// Fingerprint.
        root: String,
    },
    /// Sign the revocation list of that root or intermediate.
    SignCrl {
        /// Fingerprint.
        issuer: String,
    },
    /// That root or intermediate has ended: use and publish it no more.
    Retire {
        /// Fingerprint.
        fingerprint: String,
    },
    /// It was retired by a clock that ran ahead.
    Reinstate {
        /// Fingerprint.
        fingerprint: String,
    },
    /// Ask an authority of the mesh for an intermediate. Stays due until there is one; always the last.
    RequestIntermediate,
}

impl Authority {
    /// True if `fingerprint` is that of a root.
    pub fn is_root(&self, fingerprint: &str) -> bool {
        self.roots.iter().any(|root| root.fingerprint == fingerprint)
    }

    /// Not retired: published, with a revocation list.
    pub fn is_published(&self, fingerprint: &str) -> bool {
        let root = self.roots.iter().find(|root| root.fingerprint == fingerprint).map(|root| root.retired);
        let retired = root.or_else(|| self.intermediates.iter().find(|i| i.fingerprint == fingerprint).map(|i| i.retired));
        retired == Some(false)
    }

    /// Does [`Step::Retire`] (true) or [`Step::Reinstate`] (false). Of what is retired only the newest are kept.
    pub fn set_retired(&mut self, fingerprint: &str, retired: bool) {
        self.roots.iter_mut().filter(|r| r.fingerprint == fingerprint).for_each(|r| r.retired = retired);
        self.intermediates.iter_mut().filter(|i| i.fingerprint == fingerprint).for_each(|i| i.retired = retired);
        let mut too_many = self.roots.iter().filter(|r| r.retired).count().saturating_sub(KEPT_ASIDE);
        let mut dropped = vec![];
        self.roots.retain(|root| {
            let drop = root.retired && take_one(&mut too_many);
            dropped.extend(drop.then(|| root.fingerprint.clone()));
            !drop
        });
        // An intermediate that a clock which jumps brings back must not outlive its root.
        self.intermediates.retain(|intermediate| !dropped.contains(&intermediate.root));
        let mut too_many = self.intermediates.iter().filter(|i| i.retired).count().saturating_sub(KEPT_ASIDE);
        self.intermediates.retain(|intermediate| !(intermediate.retired && take_one(&mut too_many)));
    }
}

/// A list whose `thisUpdate` lies further ahead than this was signed by a clock that ran ahead: verifiers refuse it.
const CRL_SLACK: Duration = Duration::from_secs(60);

fn take_one(left: &mut usize) -> bool {
    let any = *left > 0;
    *left = left.saturating_sub(1);
    any
}

/// When a root that is made at `now` signs: after the overlap, or at once where no other does.
pub fn successor_signs_from(authority: &Authority, overlap: Duration, now: Moment) -> Moment {
    match signing_root(authority, now) {
        Some(_) => now.after(overlap),
        None => now,
    }
}

fn usable(validity: &Validity, now: Moment) -> bool {
    validity.not_before <= now && now < validity.not_after
}

/// The root that signs at `now`: the newest whose time has come; where there is none, the one whose time comes first,
/// since a gap is worse than a root that some verifier does not know yet.
pub fn signing_root(authority: &Authority, now: Moment) -> Option<&Root> {
    let live = || authority.roots.iter().filter(|root| !root.retired && usable(&root.validity, now));
    let come = live().filter(|root| root.signs_from <= now).max_by_key(|root| root.signs_from);
    come.or_else(|| live().min_by_key(|root| root.signs_from))
}

/// The intermediate that signs at `now`: the newest that is valid and not revoked. Those of others are dated by other
/// clocks, so one of an own root that signs goes before.
pub fn issuing_intermediate(authority: &Authority, now: Moment) -> Option<&Intermediate> {
    let live = |i: &&Intermediate| !i.revoked && !i.retired && usable(&i.validity, now) && !authority.is_set_aside(i);
    let come = signing_root(authority, now).filter(|root| root.signs_from <= now).map(|root| &root.fingerprint);
    let rank = |i: &&Intermediate| {
        (!authority.membership.outdated.contains(&i.fingerprint), Some(&i.root) == come, i.validity.not_before)
    };
    authority.intermediates.iter().filter(live).max_by_key(rank)
}

/// What is due at `now`, in the order to do it.
pub fn steps(authority: &Authority, settings: &Settings, now: Moment) -> Vec<Step> {
    let lives = authority.intermediates.iter().map(|i| (&i.fingerprint, i.retired, &i.validity));
    let lives = lives.chain(authority.roots.iter().map(|r| (&r.fingerprint, r.retired, &r.validity)));
    let mut due: Vec<Step> = lives
        .filter_map(|(fingerprint, retired, validity)| match (retired, validity.not_after <= now) {
            (false, true) => Some(Step::Retire { fingerprint: fingerprint.clone() }),
            (true, false) => Some(Step::Reinstate { fingerprint: fingerprint.clone() }),
            _ => None,
        })
        .collect();
    let intermediate = issuing_intermediate(authority, now);
    let is_worn = |i: &Intermediate| now >= i.validity.half_life() || authority.membership.outdated.contains(&i.fingerprint);
    if authority.membership.role == Role::Member {
        due.extend(lists_due(authority, settings, now));
        due.extend(intermediate.is_none_or(is_worn).then_some(Step::RequestIntermediate));
        return due;
    }
    let foreign = intermediate.filter(|intermediate| !authority.is_root(&intermediate.root));
    let Some(root) = signing_root(authority, now) else {
        // A first root signs at once, and so does one that replaces a root that ended while the host was off. A new
        // authority of a mesh has time.
        due.push(Step::MakeRoot { signs_from: if foreign.is_some() { now.after(settings.root_overlap) } else { now } });
        return due;
    };
    // One that a clock running ahead has made is not valid yet, and no successor.
    let succeeds = |other: &Root| other.signs_from > root.signs_from && usable(&other.validity, now);
    if !authority.roots.iter().any(succeeds) && now >= successor_due(root, settings) {
        due.push(Step::MakeRoot { signs_from: now.after(settings.root_overlap) });
    }
    // Until the first root of a new authority signs, an intermediate that another has signed does.
    let waits = foreign.filter(|_| root.signs_from > now);
    if waits.is_none() && intermediate.is_none_or(|current| current.root != root.fingerprint || is_worn(current)) {
        due.push(Step::MakeIntermediate { root: root.fingerprint.clone() });
    }
    due.extend(lists_due(authority, settings, now));
    due.extend(waits.is_some_and(is_worn).then_some(Step::RequestIntermediate));
    due
}

fn lists_due(authority: &Authority, settings: &Settings, now: Moment) -> Vec<Step> {
    let roots = authority.roots.iter().filter(|r| !r.retired).map(|r| (&r.fingerprint, r.crl_next_update));
    let intermediates = authority.intermediates.iter().filter(|i| !i.retired).map(|i| (&i.fingerprint, i.crl_next_update));
    let from_the_future = |next_update: Moment| next_update > now.after(settings.crl_ttl + CRL_SLACK);
    let is_due = |next_update: Moment| now >= crl_due(next_update, settings) || from_the_future(next_update);
    let due = roots.chain(intermediates).filter(|(_, next_update)| next_update.is_none_or(is_due));
    due.map(|(issuer, _)| Step::SignCrl { issuer: issuer.clone() }).collect()
}

/// When to ask [`steps`] again, at the latest.
pub fn next_wake(authority: &Authority, settings: &Settings, now: Moment) -> Moment {
    let mut moments: Vec<Moment> = vec![];
    for root in authority.roots.iter().filter(|root| !root.retired) {
        moments.extend([root.signs_from, root.validity.not_after, successor_due(root, settings)]);
        moments.extend(root.crl_next_update.map(|next_update| crl_due(next_update, settings)));
    }
    for intermediate in authority.intermediates.iter().filter(|intermediate| !intermediate.retired) {
        moments.extend([intermediate.validity.half_life(), intermediate.validity.not_after]);
        moments.extend(intermediate.crl_next_update.map(|next_update| crl_due(next_update, settings)));
    }
    moments.into_iter().filter(|moment| *moment > now).min().unwrap_or(now.after(Duration::from_secs(3600)))
}

/// A successor is made so early that, when it begins to sign, an intermediate signed by the old root the moment
/// before still fits into the old root's life; but not in the first half of that life.
fn successor_due(root: &Root, settings: &Settings) -> Moment {
    let wanted = root.validity.not_after.before(settings.root_overlap + settings.intermediate_ttl);
    let latest = root.validity.not_after.before(settings.root_overlap);
    wanted.max(root.validity.half_life()).min(latest)
}

/// A list is replaced at half its life.
fn crl_due(next_update: Moment, settings: &Settings) -> Moment {
    next_update.before(settings.crl_ttl / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn settings() -> Settings {
        Settings { root_ttl: 365 * DAY, root_overlap: 30 * DAY, intermediate_ttl: 60 * DAY, crl_ttl: 30 * DAY }
    }

    /// Does every step as the keeper would; returns what was done.
    fn run(authority: &mut Authority, now: Moment, names: &mut u32) -> Vec<Step> {
        let mut done = vec![];
        loop {
            let due = steps(authority, &settings(), now);
            let Some(step) = due.into_iter().next() else { return done };
            *names += 1;
            let name = names.to_string();
            match &step {
                Step::MakeRoot { signs_from } => authority.roots.push(Root {
                    fingerprint: name,
                    validity: Validity { not_before: now, not_after: now.after(settings().root_ttl) },
                    signs_from: *signs_from,
                    crl_next_update: None,
                    retired: false,
                }),
                Step::MakeIntermediate { root } => {
                    let end = authority.roots.iter().find(|r| r.fingerprint == *root).unwrap().validity.not_after;
                    authority.intermediates.push(Intermediate {
                        fingerprint: name,
                        root: root.clone(),
                        validity: Validity { not_before: now, not_after: now.after(settings().intermediate_ttl).min(end) },
                        crl_next_update: None,
                        revoked: false,
                        retired: false,
                    });
                }
                Step::SignCrl { issuer } => {
                    let next = Some(now.after(settings().crl_ttl));
                    authority.roots.iter_mut().filter(|r| r.fingerprint == *issuer).for_each(|r| r.crl_next_update = next);
                    authority
                        .intermediates
                        .iter_mut()
                        .filter(|i| i.fingerprint == *issuer)
                        .for_each(|i| i.crl_next_update = next);
                }
                Step::Retire { fingerprint } => authority.set_retired(fingerprint, true),
                Step::Reinstate { fingerprint } => authority.set_retired(fingerprint, false),
                Step::RequestIntermediate => return done,
            }
            done.push(step);
            assert!(done.len() < 50, "the plan does not settle: {done:?}");
        }
    }

    #[test]
    fn a_new_host_makes_a_root_an_intermediate_and_their_lists() {
        let (mut authority, mut names) = (Authority::default(), 0);
        let done = run(&mut authority, Moment::from_secs(0), &mut names);
        assert!(matches!(done[0], Step::MakeRoot { .. }) && matches!(done[1], Step::MakeIntermediate { .. }));
        assert_eq!(done.len(), 4);
        assert_eq!(run(&mut authority, Moment::from_secs(1), &mut names), []);
    }

    #[test]
    fn over_ten_years_every_leaf_chains_to_a_root_that_was_published_a_month_before() {
        let (mut authority, mut names) = (Authority::default(), 0);
        let mut now = Moment::from_secs(0);
        let mut published: Vec<(String, Moment)> = vec![];
        while now < Moment::from_secs(0).after(3650 * DAY) {
            run(&mut authority, now, &mut names);
            for root in &authority.roots {
                if !published.iter().any(|(name, _)| *name == root.fingerprint) {
                    published.push((root.fingerprint.clone(), now));
                }
            }
            let issuer = issuing_intermediate(&authority, now).expect("always an issuer");
            assert!(issuer.validity.not_after.since(now) >= 29 * DAY, "a leaf of 30 days nearly fits, always");
            let root = authority.roots.iter().find(|r| r.fingerprint == issuer.root).expect("its root is in the bundle");
            assert!(issuer.validity.not_after <= root.validity.not_after);
            let since = published.iter().find(|(name, _)| *name == root.fingerprint).unwrap().1;
            assert!(root.fingerprint == "1" || now.since(since) >= 29 * DAY, "verifiers had a month to learn of it");
            now = next_wake(&authority, &settings(), now).min(now.after(DAY)).max(now.after(Duration::from_secs(1)));
        }
        assert!(published.len() > 10);
    }

    #[test]
    fn a_host_that_was_off_past_the_end_of_everything_begins_anew() {
        let (mut authority, mut names) = (Authority::default(), 0);
        run(&mut authority, Moment::from_secs(0), &mut names);
        let later = Moment::from_secs(0).after(800 * DAY);
        run(&mut authority, later, &mut names);
        assert!(issuing_intermediate(&authority, later).is_some());
        assert_eq!(authority.roots.iter().filter(|root| !root.retired).count(), 1);
    }

    /// What must hold after every run: an issuer that verifiers accept now, and lists that they accept now.
    fn is_in_order(authority: &Authority, now: Moment) {
        let issuer = issuing_intermediate(authority, now).expect("an issuer");
        let root = authority.roots.iter().find(|root| root.fingerprint == issuer.root).expect("its root");
        assert!(!root.retired && usable(&root.validity, now), "{root:?} at {now}");
        let published = authority.roots.iter().filter(|r| !r.retired).map(|r| r.crl_next_update);
        let published = published.chain(authority.intermediates.iter().filter(|i| !i.retired).map(|i| i.crl_next_update));
        for next_update in published {
            let next_update = next_update.expect("a list");
            assert!(next_update > now && next_update <= now.after(settings().crl_ttl + CRL_SLACK), "{next_update} at {now}");
        }
    }

    #[test]
    fn a_clock_that_ran_ahead_for_a_while_leaves_no_trace_once_it_is_right_again() {
        for days in [1, 16, 45, 400, 4000] {
            let (mut authority, mut names) = (Authority::default(), 0);
            run(&mut authority, Moment::from_secs(0), &mut names);
            let right = Moment::from_secs(0).after(20 * DAY);
            run(&mut authority, right, &mut names);
            let before = issuing_intermediate(&authority, right).unwrap().clone();
            let wrong = right.after(days * DAY);
            run(&mut authority, wrong, &mut names);
            is_in_order(&authority, wrong);
            run(&mut authority, right, &mut names);
            is_in_order(&authority, right);
            assert_eq!(issuing_intermediate(&authority, right).unwrap().fingerprint, before.fingerprint, "{days} days");
            assert_eq!(run(&mut authority, right, &mut names), []);
        }
    }

    proptest::proptest! {
        #[test]
        fn however_the_clock_is_set_it_ends_in_order_and_the_record_stays_small(
            jumps in proptest::collection::vec(-500_i64..500, 1..40)
        ) {
            let (mut authority, mut names) = (Authority::default(), 0);
            let start = Moment::from_secs(0).after(1000 * DAY);
            run(&mut authority, start, &mut names);
            let mut now = start;
            for days in jumps {
                let span = u32::try_from(days.unsigned_abs()).unwrap() * DAY;
                now = if days < 0 { now.before(span) } else { now.after(span) }.max(start);
                run(&mut authority, now, &mut names);
                is_in_order(&authority, now);
            }
            proptest::prop_assert!(authority.roots.len() < 60, "{} roots", authority.roots.len());
        }
    }

    #[test]
    fn a_revoked_intermediate_is_replaced_at_once() {
        let (mut authority, mut names) = (Authority::default(), 0);
        run(&mut authority, Moment::from_secs(0), &mut names);
        authority.intermediates[0].revoked = true;
        let done = run(&mut authority, Moment::from_secs(10), &mut names);
        assert!(matches!(done[0], Step::MakeIntermediate { .. }));
    }
}
