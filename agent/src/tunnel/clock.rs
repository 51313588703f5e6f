//! The clock of this role.

use std::time::{SystemTime, UNIX_EPOCH};

use reverie_core::moment::Moment;

/// Now.
pub(super) fn now() -> Moment {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
