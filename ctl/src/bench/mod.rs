//! Benchmarks: the agent against a bare counterpart, in the same run, in turns.

mod bare;
mod echo;
mod figures;
mod issue;
mod load;
mod whoami;

pub(crate) use echo::serve as serve_echo;
pub(crate) use issue::{Plan, run as issue};
pub(crate) use whoami::run as whoami;

use std::time::Duration;

/// Length of one turn. Long enough for a steady rate, short enough that noise hits both sides alike.
const TURN: Duration = Duration::from_millis(500);

/// How many turns each side has: two sides share the time, at least three turns each.
fn turns(seconds: u64, sides: u32) -> u32 {
    let turns = Duration::from_secs(seconds).as_millis() / (TURN.as_millis() * u128::from(sides));
    u32::try_from(turns).unwrap_or(u32::MAX).max(3)
}

/// A fraction for people and JSON: three digits.
fn rounded(ratio: f64) -> f64 {
    (ratio * 1000.0).round() / 1000.0
}
