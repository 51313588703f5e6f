//! How many new records of one author are taken in a time. Shares bound what it can make others keep, not how often it says that
//! anew; each time costs every host a signature, a write and an exchange. What exceeds the budget is not looked at, and comes again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reverie_core::id::NodeId;

/// At once: more than all the shares of an author together, since a host that comes in hears everything at once.
const AT_ONCE: i64 = 200_000;
/// And from then on, a second. A busy host says a few.
const PER_SECOND: i64 = 50;
/// What the subjects of the alarms begin with.
pub(super) const SUBJECT: &str = "mesh, flood by ";

/// What each author has left.
#[derive(Debug)]
pub(super) struct Budgets {
    at_once: i64,
    per_second: i64,
    spent: BTreeMap<NodeId, Spent>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self::of(AT_ONCE, PER_SECOND)
    }
}

/// Of an author that has not everything left.
#[derive(Debug, Clone, Copy)]
struct Spent {
    /// Below zero after a message that went beyond.
    left: i64,
    since: Instant,
    /// Something was put off since an eighth was left.
    over: bool,
}

impl Budgets {
    pub(super) const fn of(at_once: i64, per_second: i64) -> Self {
        Self { at_once, per_second, spent: BTreeMap::new() }
    }

    /// Whether something of `author` is taken now; if not, that is remembered for the alarm.
    pub(super) fn admits(&mut self, author: &NodeId, now: Instant) -> bool {
        self.refill(author, now);
        let Some(spent) = self.spent.get_mut(author) else { return true };
        spent.over |= spent.left <= 0;
        spent.left > 0
    }

    /// So many records of `author` were taken, each truly its own: nobody uses up another's by forgeries.
    pub(super) fn spend(&mut self, author: &NodeId, records: usize, now: Instant) {
        self.refill(author, now);
        let full = Spent { left: self.at_once, since: now, over: false };
        let spent = self.spent.entry(author.clone()).or_insert(full);
        spent.left = spent.left.saturating_sub(i64::try_from(records).unwrap_or(i64::MAX));
    }

    /// Alarms on authors whose records are being put off.
    pub(super) fn alarms(&mut self, now: Instant) -> Vec<(String, String)> {
        let authors: Vec<NodeId> = self.spent.keys().cloned().collect();
        authors.iter().for_each(|author| self.refill(author, now));
        let over = self.spent.iter().filter(|(_, spent)| spent.over).map(|(author, _)| author);
        let why = |author| {
            format!(
                "{author} says more than {} records a second, for long: what exceeds that is put off; look at that host, and if its key \
                 may be in other hands: agentctl mesh evict {author}",
                self.per_second
            )
        };
        over.map(|author| (format!("{SUBJECT}{author}"), why(author))).collect()
    }

    fn refill(&mut self, author: &NodeId, now: Instant) {
        let Some(spent) = self.spent.get_mut(author) else { return };
        let passed = now.saturating_duration_since(spent.since).as_millis();
        let more = i64::try_from(passed).unwrap_or(i64::MAX).saturating_mul(self.per_second) / 1000;
        if more == 0 {
            return;
        }
        spent.left = spent.left.saturating_add(more);
        spent.since += Duration::from_millis(u64::try_from(more.saturating_mul(1000) / self.per_second).unwrap_or(0));
        spent.over &= spent.left < self.at_once / 8;
        if spent.left >= self.at_once {
            self.spent.remove(author);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_used_up_and_comes_back_and_the_alarm_ends_later_than_the_shortage() {
        let mut budgets = Budgets::of(800, 50);
        let (author, other): (NodeId, NodeId) = ("a.example.org".parse().unwrap(), "b.example.org".parse().unwrap());
        let now = Instant::now();
        let at = |millis: u64| now + Duration::from_millis(millis);
        budgets.spend(&author, 900, now);
        assert!(!budgets.admits(&author, at(1000)) && budgets.admits(&other, now), "each has its own");
        assert!(budgets.admits(&author, at(2100)));
        assert_eq!(budgets.alarms(at(2200)).len(), 1);
        assert_eq!(budgets.alarms(at(5000)).len(), 0);
        // Many looks lose nothing of what comes back.
        budgets.spend(&author, 1000, at(5000));
        let again = (5000..30_000).find(|millis| budgets.admits(&author, at(*millis)));
        assert!(again.is_some_and(|millis| (21_900..22_100).contains(&millis)), "{again:?}");
        budgets.alarms(at(100_000));
        assert!(budgets.spent.is_empty());
    }
}
