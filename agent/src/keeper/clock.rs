//! The one place where the keeper reads the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use reverie_core::clock::{ClockWatch, Observation};
use reverie_core::moment::Moment;

use super::Keeper;
use super::identity::reconcile;

/// The subject of the alarm.
pub const SUBJECT: &str = "clock";

/// Now, as the system has it. A clock before 1970 reads as 1970.
pub fn now() -> Moment {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// Time since boot, sleep included: counts on whatever the clock is set to.
pub fn since_boot() -> Duration {
    // Linux has had it since 2.6.39; without it the clock is never seen to jump.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// Looks whether the clock was set; if so, says so, and has everything that was made by the wrong time made anew.
pub fn look(keeper: &Keeper, watch: &mut ClockWatch) {
    match watch.observe(now(), since_boot()) {
        Observation::Ran => return,
        Observation::Jumped { by, ahead } => {
            let direction = if ahead { "ahead" } else { "back" };
            keeper.alarms.raise(
                SUBJECT,
                format!("the clock was set {direction} by {by}; if that was wrong, set it right: certificates follow the clock"),
            );
        }
        Observation::Settled => keeper.alarms.clear(SUBJECT),
    }
    reconcile::after_the_clock_was_set(keeper);
}
