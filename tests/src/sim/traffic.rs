//! Bytes on the wire. Messages are measured by encoding them; what carries them is counted by frame.

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
