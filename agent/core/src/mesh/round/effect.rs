//! What the round machine wants done, and what it is told of how that went.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// Names one exchange, so that a late answer to one that was given up is not taken for the answer to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub u64);

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// One exchange by CMS: a page of what the peer lacks goes there with our vector **as it is when it is sent**, a page of
    /// what we lack comes back. Answered by [`super::Round::handle_exchange`].
    Push {
        /// Whom.
        to: NodeId,
        /// To be repeated with the outcome.
        exchange: ExchangeId,
    },
    /// Compare digests only. Answered by [`super::Round::handle_exchange`] with [`Outcome::Equal`], [`Outcome::Differs`]
    /// or [`Outcome::Failed`]. After `Differs` the machine asks for a push.
    Probe {
        /// Whom.
        to: NodeId,
        /// To be repeated with the outcome.
        exchange: ExchangeId,
    },
    /// The deadline of that exchange has passed: drop the request. The failure is booked already; an outcome that still
    /// comes is ignored.
    Abandon {
        /// Whom.
        to: NodeId,
        /// Which.
        exchange: ExchangeId,
    },
    /// A datagram of the membership protocol. It may be lost: no answer, no retry. If it is for the peer whose datagram was
    /// just handled, it may travel in the answer to that request, which halves the traffic.
    Datagram {
        /// Whom.
        to: NodeId,
        /// At most [`super::MAX_DATAGRAM`] bytes.
        bytes: Vec<u8>,
    },
    /// A peer's state changed. For people and metrics; the machine draws its own conclusions.
    State {
        /// Who.
        node: NodeId,
        /// Now.
        state: Liveness,
    },
}

/// How an exchange went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Probe: the digests are equal.
    Equal,
    /// Probe: they are not.
    Differs,
    /// Push: request and answer were merged.
    Synced(Synced),
    /// It did not come to an answer: no connection, refused, malformed.
    Failed,
}

/// What an exchange by CMS brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Synced {
    /// Records new to us in the answer. More than none: it is forwarded as [`super::Round::handle_merged`] does.
    pub taken: u32,
    /// Either side has a further page for the other. The machine asks for the next at once, as long as pages bring something.
    pub more: bool,
    /// Something moved: we took a record, or the peer's vector is further than before.
    pub progressed: bool,
    /// Afterwards the peer has what we have: its vector is ours.
    pub equal: bool,
}

/// A message that a peer began, after its records were merged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inbound {
    /// Records new to us.
    pub taken: u32,
    /// With our answer the peer has what we have: its vector is ours. What was to be pushed there need not be.
    pub equal: bool,
    /// We want something of the peer that only a message of ours can ask for.
    pub asks: bool,
}

/// A peer by the membership protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Liveness {
    /// Nothing was heard of it yet.
    #[default]
    Unknown,
    /// It answers, or answers somebody.
    Alive,
    /// It did not answer anybody lately.
    Suspect,
    /// It is taken for dead, and tried rarely.
    Down,
}

impl Liveness {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Alive, Self::Suspect, Self::Down];

    /// As people are told.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
