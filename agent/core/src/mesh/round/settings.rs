//! How often, and how long.

use serde::{Deserialize, Serialize};

/// Times of the gossip round, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundSettings {
    /// After the first change is pushed, further ones slide so long.
    pub slide_ms: u32,
    /// And no longer than this in all.
    pub slide_max_ms: u32,
    /// Between two looks at a random peer.
    pub anti_entropy_ms: u32,
    /// Everyone is told up to so many hosts; beyond, `⌈2 ln n⌉`.
    pub fan_out_all: u32,
    /// Longest pause after failures.
    pub back_off_max_ms: u32,
    /// Deadline for one exchange.
    pub exchange_ms: u32,
}
