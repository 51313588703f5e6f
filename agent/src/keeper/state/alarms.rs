//! What is wrong, for `agentctl status` and `doctor`.

use std::sync::{Mutex, PoisonError};

use reverie_core::api::admin::Alarm;
use reverie_core::moment::Moment;

/// No more than this many at once.
const MAX: usize = 64;

/// Things that are wrong, until they are cleared.
#[derive(Debug, Default)]
pub(super) struct Alarms(Mutex<Vec<Alarm>>);

impl Alarms {
    /// Says it once.
    pub(super) fn raise(&self, subject: &str, message: &str) {
        let mut alarms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if alarms.len() >= MAX || alarms.iter().any(|alarm| alarm.subject == subject && alarm.message == message) {
            return;
        }
        tracing::error!(subject, "{message}");
        alarms.push(Alarm { subject: subject.to_owned(), message: message.to_owned(), since: now() });
    }

    /// It is over.
    pub(super) fn clear(&self, subject: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|alarm| alarm.subject != subject);
    }

    pub(super) fn list(&self) -> Vec<Alarm> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The wall clock.
pub(super) fn now() -> Moment {
    time::OffsetDateTime::now_utc().into()
}
