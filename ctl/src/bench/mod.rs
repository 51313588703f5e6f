//! Benchmarks: the agent against a bare counterpart, in the same run, in turns.

mod bare;
mod converge;
mod echo;
mod envelope;
mod figures;
mod issue;
mod load;
mod merge;
mod whoami;

pub(crate) use converge::{Plan as ConvergePlan, run as converge};
pub(crate) use echo::serve as serve_echo;
pub(crate) use envelope::run as envelope;
pub(crate) use issue::{Plan, run as issue};
pub(crate) use merge::run as merge;
pub(crate) use whoami::run as whoami;

use std::time::Duration;

use crate::cli::Session;

/// The longest turn: enough for a steady rate, short enough that noise hits both sides alike.
const TURN: Duration = Duration::from_millis(500);

/// How many turns each side has, and how long one is: the sides share the time, at least three turns each.
fn turns(seconds: u64, sides: u32) -> (u32, Duration) {
    let each = Duration::from_secs(seconds) / sides;
    let turn = TURN.min(each / 3);
    (u32::try_from(each.as_millis() / turn.as_millis().max(1)).unwrap_or(u32::MAX), turn)
}

/// Said before a benchmark begins.
fn announce(session: &Session, count: u32, turn: Duration) {
    session.screen.note(format_args!("{count} turns of {} ms for each side …", turn.as_millis()));
    if cfg!(debug_assertions) {
        session.screen.note("This agentctl is a debug build: its bare side is slow, and the ratios flatter the agent.");
    }
}

/// A fraction for people and JSON: three digits.
fn rounded(ratio: f64) -> f64 {
    (ratio * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sides_share_the_time_in_at_least_three_turns() {
        assert_eq!(turns(10, 2), (10, TURN));
        assert_eq!(turns(1, 2).0, 3);
        assert!(turns(1, 3).1 < TURN);
    }
}
