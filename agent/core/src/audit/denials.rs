//! Which refusals become events of their own. Anyone can be refused, as often as he likes, and every event costs disk:
//! so each uid has a small budget, and what exceeds it is counted and becomes one event later.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Actor, Event};
use crate::moment::Moment;

/// Events in a burst, and the time in which one more is earned.
#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: u32,
    one_each: Duration,
}

/// For one uid.
const PER_UID: Rate = Rate { burst: 20, one_each: Duration::from_secs(1) };
/// For all together: an ordinary user may have 65,536 uids below his own.
const TOGETHER: Rate = Rate { burst: 200, one_each: Duration::from_millis(200) };
/// Uids whose refusals are counted apart; those of more are counted together.
const MAX_COUNTED: usize = 64;

/// The budgets, and what exceeded them. The clock is the caller's.
#[derive(Debug, Default)]
pub struct Denials {
    by_uid: BTreeMap<u32, Spent>,
    together: Spent,
    withheld: BTreeMap<u32, Withheld>,
    withheld_of_more: Option<Withheld>,
}

/// Until when a budget is spent.
#[derive(Debug, Clone, Copy)]
struct Spent(Moment);

impl Default for Spent {
    fn default() -> Self {
        Self(Moment::from_millis(i64::MIN))
    }
}

impl Spent {
    /// The debt after one more event; `None` if that is too much.
    fn after_one_more(self, now: Moment, rate: Rate) -> Option<Self> {
        let limit = now.after(rate.one_each * rate.burst);
        // More than is ever owed: the clock was set back.
        let owed = if self.0 > limit { now } else { self.0.max(now) };
        let spent = owed.after(rate.one_each);
        (spent <= limit).then_some(Self(spent))
    }
}

#[derive(Debug)]
struct Withheld {
    count: u64,
    since: Moment,
    last: Event,
}

impl Denials {
    /// The event, if it is to be recorded now; else it is counted.
    pub fn admit(&mut self, uid: u32, event: Event) -> Option<Event> {
        let own = self.by_uid.get(&uid).copied().unwrap_or_default().after_one_more(event.time, PER_UID);
        let together = self.together.after_one_more(event.time, TOGETHER);
        let (Some(own), Some(together)) = (own, together) else {
            self.withhold(uid, event);
            return None;
        };
        self.by_uid.insert(uid, own);
        self.together = together;
        Some(event)
    }

    /// Counts an event that is not recorded by itself, or could not be.
    pub fn withhold(&mut self, uid: u32, event: Event) {
        let withheld = match self.withheld.len() < MAX_COUNTED || self.withheld.contains_key(&uid) {
            true => self.withheld.remove(&uid),
            false => self.withheld_of_more.take(),
        };
        let (count, since) = withheld.map_or((0, event.time), |before| (before.count, before.since));
        let withheld = Withheld { count: count + 1, since, last: event };
        match self.withheld.len() < MAX_COUNTED {
            true => drop(self.withheld.insert(uid, withheld)),
            false => self.withheld_of_more = Some(withheld),
        }
    }

    /// One event for each uid that exceeded its budget. Forgets them, and the uids that have been quiet.
    pub fn take_withheld(&mut self, now: Moment) -> Vec<Event> {
        self.by_uid.retain(|_, spent| spent.0 > now);
        let each = std::mem::take(&mut self.withheld).into_iter().map(|(uid, withheld)| withheld.summary(Some(uid), now));
        each.chain(self.withheld_of_more.take().map(|withheld| withheld.summary(None, now))).collect()
    }
}

impl Withheld {
    fn summary(self, uid: Option<u32>, now: Moment) -> Event {
        let Self { count, since, last } = self;
        // No uid: other hosts, counted as one user.
        let whose = match uid {
            Some(u32::MAX) => "other hosts".to_owned(),
            Some(uid) => format!("uid {uid}"),
            None => "further users".to_owned(),
        };
        let why = last.reason.as_deref().unwrap_or("refused");
        let reason = format!("{count} more denied to {whose} since {since}, not recorded one by one; the last: {why}");
        let actor = match uid {
            Some(_) => last.actor,
            None => Actor::Agent,
        };
        Event { time: now, reason: Some(reason), actor, ..last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Kind, Outcome, Subject};

    fn denial(at_millis: i64) -> Event {
        Event {
            time: Moment::from_millis(at_millis),
            kind: Kind::RequestDenied,
            outcome: Outcome::Denied,
            actor: Actor::Agent,
            subject: Subject::default(),
            reason: Some("no rule".into()),
        }
    }

    fn admitted(denials: &mut Denials, uid: u32, times: impl Iterator<Item = i64>) -> usize {
        times.filter(|&at| denials.admit(uid, denial(at)).is_some()).count()
    }

    #[test]
    fn a_thousand_refusals_a_second_become_one_event_a_second_and_a_count() {
        let mut denials = Denials::default();
        // Ten seconds of them.
        let recorded = admitted(&mut denials, 7, 0..10_000);
        assert!((20..=30).contains(&recorded), "{recorded}");
        let summaries = denials.take_withheld(Moment::from_secs(10));
        assert_eq!(summaries.len(), 1);
        let reason = summaries[0].reason.as_deref().unwrap();
        assert!(reason.starts_with(&format!("{} more denied to uid 7 since 1970", 10_000 - recorded)), "{reason}");
        assert!(denials.take_withheld(Moment::from_secs(10)).is_empty(), "said once");
        assert_eq!(admitted(&mut denials, 7, 60_000..60_100), 20, "earned again");
    }

    #[test]
    fn one_uid_does_not_spend_anothers_budget_and_all_together_have_one_too() {
        let mut denials = Denials::default();
        assert_eq!(admitted(&mut denials, 1, 0..100), 20);
        assert_eq!(admitted(&mut denials, 2, 0..100), 20);
        let many: usize = (1000..3000).map(|uid| admitted(&mut denials, uid, 100..110)).sum();
        assert_eq!(many, 200 - 40);
        let summaries = denials.take_withheld(Moment::from_secs(1));
        assert_eq!(summaries.len(), MAX_COUNTED + 1);
        assert!(summaries[MAX_COUNTED].reason.as_deref().unwrap().contains("further users"));
        let counted = |event: &Event| -> u64 { event.reason.as_deref().unwrap().split(' ').next().unwrap().parse().unwrap() };
        assert_eq!(summaries.iter().map(counted).sum::<u64>(), 200 + 20_000 - 200);
    }

    #[test]
    fn a_clock_set_back_does_not_silence_a_uid() {
        let mut denials = Denials::default();
        assert_eq!(admitted(&mut denials, 1, 1_000_000..1_000_001), 1);
        assert_eq!(admitted(&mut denials, 1, [0, 1000, 2000, 3000].into_iter()), 4);
    }
}
