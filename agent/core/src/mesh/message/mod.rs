//! What is in an envelope: zstd of CBOR, byte by byte in `docs/protocol/mesh.md`.
//!
//! Sender, recipient and mesh are inside, since the outer signature can be taken off and replaced: whoever reads a message
//! says whom it expects, and gets nothing of one that is not by and for them.

mod encoding;
mod packing;
mod replay;

pub use packing::MAX_PLAINTEXT;
pub use replay::ReplayWindow;

use std::ops::RangeInclusive;
use std::time::Duration;

use zeroize::Zeroizing;

use super::vector::VersionVector;
use crate::id::NodeId;
use crate::moment::Moment;

/// The wire versions this program speaks: the current one and the one before.
pub const WIRE: RangeInclusive<u16> = 1..=2;
/// From this version on a vector that would stand in a message twice is written once.
const ONE_VECTOR: u16 = 2;
/// A message is refused that was issued longer ago.
pub const MAX_AGE: Duration = Duration::from_secs(300);
/// A message is refused whose sender's clock is further ahead of ours.
pub const MAX_SKEW: Duration = Duration::from_secs(30);
/// Records in one message.
pub const MAX_RECORDS: usize = 16_384;

/// Tells messages apart, and ties an answer to its request. Random.
pub type Nonce = [u8; 16];

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Wire version it is, or is to be, written in.
    pub version: u16,
    /// Which mesh.
    pub mesh: [u8; 16],
    /// Who says it.
    pub sender: NodeId,
    /// To whom.
    pub recipient: NodeId,
    /// The sender's epoch.
    pub epoch: u64,
    /// Its own.
    pub nonce: Nonce,
    /// Nonce of the message this answers.
    pub in_reply_to: Option<Nonce>,
    /// By the sender's clock.
    pub issued_at: Moment,
    /// The rest.
    pub content: Content,
}

/// What a message is for. The numbers are on the wire.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// 1: records, and what the sender has.
    Sync(Sync),
    /// 2: the cluster wrapping key for one that asked for it, CBOR.
    WrappingKey(Zeroizing<Vec<u8>>),
    /// 3: a host joins, or is answered, CBOR.
    Join(Zeroizing<Vec<u8>>),
    /// 4: a member asks for its intermediate, or is answered, CBOR.
    Renewal(Zeroizing<Vec<u8>>),
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sync(sync) => sync.fmt(f),
            // The others carry keys.
            Self::WrappingKey(_) => f.write_str("WrappingKey"),
            Self::Join(_) => f.write_str("Join"),
            Self::Renewal(_) => f.write_str("Renewal"),
        }
    }
}

/// An exchange of records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sync {
    /// What the answer is to leave out: what the sender has. `None` asks for everything.
    pub request_delta_since: Option<VersionVector>,
    /// What the sender has.
    pub vector: VersionVector,
    /// Another page follows.
    pub more: bool,
    /// CBOR of `mesh::record::Record`, one each, as their authors signed them.
    pub records: Vec<Vec<u8>>,
}

/// Whom a message must be by and for.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The mesh; `None` while joining one whose id is not known yet.
    pub mesh: Option<&'a [u8; 16]>,
    /// The host whose pinned key the envelope was verified with; `None` while joining, where only the key is known.
    pub sender: Option<&'a NodeId>,
    /// This host.
    pub recipient: &'a NodeId,
    /// For an answer: the request's nonce. `None` for a request, which must not be an answer.
    pub in_reply_to: Option<&'a Nonce>,
    /// The newest wire version that this host speaks, of [`WIRE`].
    pub newest_wire: u16,
}

/// Why a message is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not a message, or not by or for whom it must be: one error, and the same text as for an envelope that does not open.
    #[error("the message cannot be opened with this host's key")]
    Unopenable,
    /// Written in a version that this host does not speak.
    #[error("the message is in wire version {theirs}, this host speaks {} to {}: upgrade the older of the two", ours.start(), ours.end())]
    Version {
        /// The message's.
        theirs: u16,
        /// What we speak.
        ours: RangeInclusive<u16>,
    },
    /// It is by and for whom it must be, and its content breaks the rules.
    #[error("the message breaks the protocol: {0}")]
    Malformed(&'static str),
    /// Issued too long ago.
    #[error("the message was issued {} s ago, more than {} s: look at both hosts' clocks", .0.as_secs(), MAX_AGE.as_secs())]
    Stale(Duration),
    /// Issued in the future.
    #[error("the message was issued {} s in the future, more than {} s: look at both hosts' clocks", .0.as_secs(), MAX_SKEW.as_secs())]
    Ahead(Duration),
    /// Seen before, or older than what is remembered of its sender.
    #[error("the message was seen before, or is older than what is remembered of its sender: send a new one")]
    Replayed,
    /// It answers another request, or none, or is an answer where a request belongs.
    #[error("the message does not answer this request")]
    NotTheAnswer,
}

impl MessageError {
    /// HTTP status for the peer.
    pub fn status(&self) -> u16 {
        match self {
            Self::Unopenable | Self::Version { .. } | Self::Malformed(_) | Self::NotTheAnswer => 400,
            Self::Stale(_) | Self::Ahead(_) | Self::Replayed => 409,
        }
    }
}

impl Message {
    /// CBOR, compressed: the plaintext of an envelope.
    pub fn pack(&self) -> Result<Zeroizing<Vec<u8>>, MessageError> {
        packing::compress(&encoding::encode(self)?)
    }

    /// Reads the plaintext of an envelope, as far as it is what is expected. A request then goes to [`ReplayWindow::take`].
    pub fn unpack(plaintext: &[u8], expected: &Expected<'_>, now: Moment) -> Result<Self, MessageError> {
        let message = encoding::decode(&packing::decompress(plaintext)?, Some(expected))?;
        message.check(expected, now)?;
        Ok(message)
    }

    /// Reads a plaintext whoever it is by and for, and of whatever age: for tools that show it to people.
    pub fn read(plaintext: &[u8]) -> Result<Self, MessageError> {
        encoding::decode(&packing::decompress(plaintext)?, None)
    }

    /// Its age, and whether it is the answer; whom it is by and for was seen when it was read.
    fn check(&self, expected: &Expected<'_>, now: Moment) -> Result<(), MessageError> {
        let (age, ahead) = (now.since(self.issued_at), self.issued_at.since(now));
        if age > MAX_AGE {
            return Err(MessageError::Stale(age));
        }
        if ahead > MAX_SKEW {
            return Err(MessageError::Ahead(ahead));
        }
        if self.in_reply_to.as_ref() != expected.in_reply_to {
            return Err(MessageError::NotTheAnswer);
        }
        Ok(())
    }
}
