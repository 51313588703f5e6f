//! Gossip rounds: when to talk to whom. Sans-IO: it is told what happened and when, and says what to do.
//!
//! # Calling order
//!
//! One [`Round`] lives as long as the `net` role is in a mesh. The shell loops:
//!
//! 1. Something happened: call **one** `handle_…`, or [`Round::handle_timer`] when [`Round::wake`] has come.
//! 2. Call [`Round::poll`] until it returns `None`, and do each [`Effect`], in that order, none of them awaited here.
//! 3. Sleep until the next event or [`Round::wake`].
//!
//! | event | call |
//! |---|---|
//! | the situation has other peers (first of all: the machine knows nobody) | [`Round::handle_peers`] |
//! | the situation has a higher `own` position | [`Round::handle_local_change`] |
//! | a peer's `sync` was merged (also if it brought nothing) | [`Round::handle_merged`] |
//! | an exchange that the machine asked for ended | [`Round::handle_exchange`] |
//! | a membership datagram came, or came in the answer to ours | [`Round::handle_membership`] |
//! | a task `RetryNow`; the network came back | [`Round::retry_now`] |
//! | the agent stops | [`Round::leave`], then the effects once more |
//!
//! A push is **one** request with one page and one answer with one page. Further pages are further pushes that the machine
//! asks for. The page sent is what the peer lacks by the newest vector it told us, by whatever message; for a peer that told
//! none yet it is empty, and the answer tells. The vector that says what *we* have is read when the message is written.
//!
//! `now` is the wall clock at the start of the process, carried on by a clock that never goes back (CLOCK_BOOTTIME).
//! Randomness comes from the seed alone, nothing iterates in an undefined order: the same calls give the same effects.

mod chance;
mod effect;
mod machine;
mod membership;
mod peer;
mod settings;
mod slide;
#[cfg(test)]
mod tests;

pub use effect::{Effect, ExchangeId, Inbound, Liveness, Outcome, Synced};
pub use machine::{MAX_IN_FLIGHT, PeerView, Round};
pub use settings::RoundSettings;

/// Bytes of a membership datagram; a longer one is refused unread.
pub const MAX_DATAGRAM: usize = 1200;
