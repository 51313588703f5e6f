//! Lines and heads of the chain.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::Event;
use crate::moment::Moment;

/// The SHA-256 that ends at a line. Lower-case hex in text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes.try_into().map_err(|_| serde::de::Error::custom("is not 64 hex digits"))?))
    }
}

impl schemars::JsonSchema for Hash {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Hash".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })
    }
}

/// Where a chain ends: the number and hash of its last event. Number 0 is the empty chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ChainHead {
    /// Number of the last event; the first is 1.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

impl ChainHead {
    /// Appends an event: its line, and the head after it.
    pub fn append(self, event: &Event) -> Result<(Self, Line), serde_json::Error> {
        let seq = self.seq + 1;
        let text = serde_json::to_string(&NumberedEvent { seq, event: event.clone() })?;
        let hash = chain_hash(self.hash, text.as_bytes());
        Ok((Self { seq, hash }, Line { hash, event: RawValue::from_string(text)? }))
    }
}

/// SHA-256 over the previous hash and the exact bytes of the event.
pub(super) fn chain_hash(previous: Hash, event: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update(previous.0).chain_update(event).finalize().into())
}

/// One line of the log. The event is kept as the very bytes that were hashed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// Hash of the chain up to and including this event.
    pub hash: Hash,
    /// The event, verbatim.
    pub event: Box<RawValue>,
}

/// An event with its number: what [`Line::event`] holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NumberedEvent {
    pub(super) seq: u64,
    #[serde(flatten)]
    pub(super) event: Event,
}

/// A line that is not one.
#[derive(Debug, thiserror::Error)]
#[error("not a line of an audit log")]
pub struct ParseLineError;

impl Line {
    /// Reads one line, without its newline. Only what [`Line::to_text`] writes is one: anything beside the hashed bytes
    /// would be vouched for by nothing.
    pub fn parse(text: &str) -> Result<Self, ParseLineError> {
        let line: Self = serde_json::from_str(text).map_err(|_| ParseLineError)?;
        if line.to_text() == text { Ok(line) } else { Err(ParseLineError) }
    }

    /// The line as it is written, without a newline.
    pub fn to_text(&self) -> String {
        format!("{{\"hash\":\"{}\",\"event\":{}}}", self.hash, self.event.get())
    }

    /// Number and content of the event.
    pub fn event(&self) -> Result<(u64, Event), ParseLineError> {
        let numbered: NumberedEvent = serde_json::from_str(self.event.get()).map_err(|_| ParseLineError)?;
        Ok((numbered.seq, numbered.event))
    }
}

/// A head with the host's signature: nothing before it can be rewritten unseen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SignedHead {
    /// What is vouched for.
    pub head: ChainHead,
    /// When it was signed.
    pub time: Moment,
    /// ECDSA P-256/SHA-256 over [`SignedHead::signed_bytes`], fixed 64 bytes, base64.
    pub signature: String,
}

impl SignedHead {
    /// The bytes a head's signature covers.
    pub fn signed_bytes(head: &ChainHead, time: Moment) -> Vec<u8> {
        let mut bytes = b"reverie-audit-head-v1".to_vec();
        bytes.extend(head.seq.to_be_bytes());
        bytes.extend(head.hash.0);
        bytes.extend(time.as_millis().to_be_bytes());
        bytes
    }
}
