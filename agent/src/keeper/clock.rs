//! The one place where the keeper reads the clock.

use std::time::{SystemTime, UNIX_EPOCH};

use reverie_core::moment::Moment;

/// Now, as the system has it. A clock before 1970 reads as 1970.
pub fn now() -> Moment {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
