//! The two clocks of this role.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use reverie_core::moment::Moment;

/// Now, as the system has it: what is written into messages.
pub fn now() -> Moment {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// The wall clock at the start, carried on by one that never goes back: what rounds are timed by.
#[derive(Debug, Clone, Copy)]
pub struct Steady {
    start: Moment,
    since: Duration,
}

impl Steady {
    /// From here on.
    pub fn start() -> Self {
        Self { start: now(), since: since_boot() }
    }

    /// Now.
    pub fn now(&self) -> Moment {
        self.start.after(since_boot().saturating_sub(self.since))
    }
}

/// Sleep included.
fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}
