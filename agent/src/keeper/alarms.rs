//! What is wrong now, for `agentctl status`, `doctor` and the metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use reverie_core::api::admin::Alarm;

use super::clock;

/// Alarms by subject; raised again, one keeps its first time.
#[derive(Debug, Default)]
pub struct Alarms {
    standing: Mutex<BTreeMap<String, Alarm>>,
}

impl Alarms {
    /// Something is wrong with `subject`.
    pub fn raise(&self, subject: impl Into<String>, message: impl Into<String>) {
        let (subject, message) = (subject.into(), message.into());
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        match standing.get_mut(&subject) {
            Some(alarm) => alarm.message = message,
            None => {
                tracing::warn!(subject, message, "alarm");
                standing.insert(subject.clone(), Alarm { subject, message, since: clock::now() });
            }
        }
    }

    /// `subject` is well again.
    pub fn clear(&self, subject: &str) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if standing.remove(subject).is_some() {
            tracing::info!(subject, "alarm cleared");
        }
    }

    /// True if something is wrong with `subject`.
    pub fn stands(&self, subject: &str) -> bool {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).contains_key(subject)
    }

    /// What is wrong with `subject`.
    pub fn about(&self, subject: &str) -> Option<String> {
        let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        standing.get(subject).map(|alarm| alarm.message.clone())
    }

    /// Clears every alarm whose subject begins with `prefix` and is not in `keep`.
    pub fn clear_except(&self, prefix: &str, keep: &[String]) {
        let stale: Vec<String> = self.all().into_iter().map(|alarm| alarm.subject).collect();
        stale
            .iter()
            .filter(|subject| subject.starts_with(prefix) && !keep.contains(subject))
            .for_each(|subject| self.clear(subject));
    }

    /// All that stand, by subject.
    pub fn all(&self) -> Vec<Alarm> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
