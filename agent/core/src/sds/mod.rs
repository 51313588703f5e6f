//! Envoy's secret discovery service (xDS): what a client has asked for, has been sent, and is to be sent next.
//!
//! [`World`] is the state-of-the-world variant, [`Delta`] the incremental one. Neither knows secrets: names and versions suffice.

mod delta;
mod name;
mod world;

pub use delta::{Delta, DeltaRequest, Difference};
pub use name::Wanted;
pub use world::{World, WorldRequest};

/// Names on one stream. Envoy asks on a stream of its own for each.
pub const MAX_NAMES: usize = 128;
/// Bytes of a name, and of what else a client makes us keep. SPIFFE IDs have at most 2048.
pub const MAX_NAME: usize = 2048;

/// Bytes of all of them on one stream: a user has many streams.
pub const MAX_BYTES: usize = 32 << 10;

/// The client asks for more than it may have of us; its stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "more than {MAX_NAMES} names on one stream, or one with more than {MAX_NAME} bytes, or more than {MAX_BYTES} bytes of them"
)]
pub struct Excess;

/// What came of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The present state is to be looked at: something may be due.
    pub look: bool,
    /// The client refused what it was sent last, and said this. It is not sent the same again.
    pub rejected: Option<String>,
}

fn check<'a>(count: usize, names: impl Iterator<Item = &'a String>) -> Result<(), Excess> {
    let mut room = MAX_BYTES;
    for name in names {
        room = room.checked_sub(name.len()).filter(|_| name.len() <= MAX_NAME).ok_or(Excess)?;
    }
    if count > MAX_NAMES { Err(Excess) } else { Ok(()) }
}
