//! Does the wall clock run, or was it set? Judged against one that only counts (CLOCK_BOOTTIME).

use std::time::Duration;

use crate::moment::{Moment, Span};

/// What is less is slewing, a leap second, or nothing: certificates are backdated by as much.
const TOLERANCE: Duration = Duration::from_secs(60);
/// A clock that was set and has run for so long since then is taken at its word.
const SETTLES_AFTER: Duration = Duration::from_secs(3600);

/// The wall clock as it was seen last.
#[derive(Debug, Clone, Copy)]
pub struct ClockWatch {
    believed: (Moment, Duration),
    seen: (Moment, Duration),
    jumped: Option<Duration>,
}

/// What the clock did since it was looked at before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// It ran.
    Ran,
    /// It was set: by how much it stands ahead of, or behind, where it would be. It may be set again soon.
    Jumped {
        /// How far.
        by: Span,
        /// True if ahead.
        ahead: bool,
    },
    /// It is back where it would be, or has run for an hour since it was set.
    Settled,
}

impl ClockWatch {
    /// Believes the clock as it is.
    pub fn new(wall: Moment, counted: Duration) -> Self {
        Self { believed: (wall, counted), seen: (wall, counted), jumped: None }
    }

    /// Looks again. [`Observation::Jumped`] comes once for each time the clock is set.
    pub fn observe(&mut self, wall: Moment, counted: Duration) -> Observation {
        let since_seen = away(self.seen, (wall, counted));
        self.seen = (wall, counted);
        let (by, ahead) = away(self.believed, (wall, counted));
        if by <= TOLERANCE {
            return match self.jumped.take() {
                Some(_) => Observation::Settled,
                None => Observation::Ran,
            };
        }
        match self.jumped {
            Some(at) if since_seen.0 <= TOLERANCE => {
                if counted.saturating_sub(at) < SETTLES_AFTER {
                    return Observation::Ran;
                }
                *self = Self::new(wall, counted);
                Observation::Settled
            }
            _ => {
                self.jumped = Some(counted);
                Observation::Jumped { by: Span(by), ahead }
            }
        }
    }
}

/// How far the wall clock went beyond what was counted, and whether ahead.
fn away((wall, counted): (Moment, Duration), (later, later_counted): (Moment, Duration)) -> (Duration, bool) {
    let expected = wall.after(later_counted.saturating_sub(counted));
    match later >= expected {
        true => (later.since(expected), true),
        false => (expected.since(later), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: u64, counted: u64) -> (Moment, Duration) {
        (Moment::from_secs(i64::try_from(wall).unwrap()), Duration::from_secs(counted))
    }

    fn observe(watch: &mut ClockWatch, (wall, counted): (Moment, Duration)) -> Observation {
        watch.observe(wall, counted)
    }

    #[test]
    fn a_clock_that_runs_or_a_machine_that_slept_is_no_jump() {
        let mut watch = ClockWatch::new(at(1000, 10).0, at(1000, 10).1);
        assert_eq!(observe(&mut watch, at(1010, 20)), Observation::Ran);
        assert_eq!(observe(&mut watch, at(87_410, 86_420)), Observation::Ran);
        assert_eq!(observe(&mut watch, at(87_450, 86_430)), Observation::Ran, "half a minute is within the tolerance");
    }

    #[test]
    fn a_jump_is_told_once_and_so_is_the_way_back() {
        let mut watch = ClockWatch::new(at(1_000_000, 0).0, Duration::ZERO);
        let ahead = Observation::Jumped { by: Span::days(16), ahead: true };
        assert_eq!(observe(&mut watch, at(1_000_010 + 16 * 86_400, 10)), ahead);
        assert_eq!(observe(&mut watch, at(1_000_020 + 16 * 86_400, 20)), Observation::Ran);
        assert_eq!(observe(&mut watch, at(1_000_030, 30)), Observation::Settled);
        let behind = Observation::Jumped { by: Span::days(1), ahead: false };
        assert_eq!(observe(&mut watch, at(1_000_040 - 86_400, 40)), behind);
        let further = Observation::Jumped { by: Span::days(2), ahead: false };
        assert_eq!(observe(&mut watch, at(1_000_050 - 2 * 86_400, 50)), further);
    }

    #[test]
    fn a_clock_that_stays_set_is_believed_after_an_hour() {
        let mut watch = ClockWatch::new(at(1000, 0).0, Duration::ZERO);
        assert!(matches!(observe(&mut watch, at(9000, 10)), Observation::Jumped { ahead: true, .. }));
        assert_eq!(observe(&mut watch, at(9000 + 3599, 10 + 3599)), Observation::Ran);
        assert_eq!(observe(&mut watch, at(9000 + 3600, 10 + 3600)), Observation::Settled);
        assert_eq!(observe(&mut watch, at(9000 + 3700, 10 + 3700)), Observation::Ran);
    }
}
