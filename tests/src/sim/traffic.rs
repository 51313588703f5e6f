//! Bytes on the wire. Messages are measured by encoding them; what carries them is counted by frame.

use std::collections::HashMap;

use reverie_core::id::NodeId;
use reverie_core::mesh::message::{Content, Message, Sync, WIRE};
use reverie_core::mesh::vector::{Position, VersionVector};
use reverie_core::moment::Moment;

use super::chance::Chance;
use super::world::{BEGIN, name};

/// Kinds that are told apart in tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Sync,
    Digest,
    Membership,
}

/// HTTP/2 HEADERS (indexed fields after the first request, RFC 7541), HEADERS and DATA frame heads.
const REQUEST: u64 = 9 + 40 + 9;
const RESPONSE: u64 = 9 + 10 + 9;
/// TLS 1.3 record: head 5, content type 1, tag 16.
const RECORD: u64 = 22;
/// IPv4 20, TCP 20, timestamps 12.
const SEGMENT: u64 = 52;
const SEGMENT_PAYLOAD: u64 = 1448;

/// What the sender of a message sends, and what the receiver sends back to acknowledge it.
pub fn on_the_wire(payload: usize, is_answer: bool) -> (u64, u64) {
    let bytes = payload as u64 + if is_answer { RESPONSE } else { REQUEST } + RECORD;
    let segments = bytes.div_ceil(SEGMENT_PAYLOAD);
    (bytes + segments * SEGMENT, segments.div_ceil(2) * SEGMENT)
}

/// For one host.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traffic {
    pub sent: [u64; 3],
    pub received: [u64; 3],
    pub messages: [u64; 3],
}

impl Traffic {
    pub fn total(&self) -> u64 {
        self.sent.iter().chain(&self.received).sum()
    }
}

/// What an envelope adds to its message: signatures, key encapsulation, names, padding (docs/protocol/mesh.md).
const ENVELOPE: usize = 1_580;

/// Sizes of sealed messages, found by writing one of each kind.
#[derive(Debug, Default)]
pub struct Sizes(HashMap<usize, usize>);

impl Sizes {
    /// With so many authors in its vectors, and so many bytes of records, which hardly compress: they are signed.
    pub fn sealed(&mut self, authors: usize, records: usize) -> usize {
        let empty = *self.0.entry(authors).or_insert_with(|| ENVELOPE + packed(authors));
        empty + records
    }
}

fn packed(authors: usize) -> usize {
    let mut chance = Chance::new(authors as u64);
    let mut position = || Position { epoch: BEGIN as u64 - chance.between(0, 1 << 32), seq: chance.between(1, 1 << 12) };
    let vector = VersionVector((0..authors).map(|author| (name(author), position())).collect());
    let node = |host: usize| -> NodeId { name(host) };
    let sync = Sync { request_delta_since: Some(vector.clone()), vector, ..Sync::default() };
    let message = Message {
        version: *WIRE.end(),
        mesh: [7; 16],
        sender: node(0),
        recipient: node(1),
        epoch: BEGIN as u64,
        nonce: [9; 16],
        in_reply_to: None,
        issued_at: Moment::from_millis(BEGIN),
        content: Content::Sync(sync),
    };
    message.pack().unwrap().len()
}
