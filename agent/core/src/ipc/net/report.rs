//! What net tells of itself and of others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::mesh::round::Liveness;
use crate::mesh::vector::{Position, VersionVector};
use crate::moment::Moment;

/// What the directory says of the topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// When it was asked.
    pub at: Moment,
    /// Host names, or why there are none.
    pub nodes: Result<Vec<String>, String>,
}

/// A peer as net sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerState {
    /// Who.
    pub node: NodeId,
    /// By the membership protocol.
    pub state: Liveness,
    /// The address in use.
    pub address: Option<String>,
    /// Last exchange with it, either way.
    pub last_sync: Option<Moment>,
    /// Last inbound one.
    pub last_inbound: Option<Moment>,
    /// Its clock minus ours, by the last envelope.
    pub offset_ms: Option<i64>,
    /// Round trip of the last exchange.
    pub round_trip_ms: Option<u32>,
    /// Attempts that failed since the last that did not.
    pub failures: u32,
    /// Why the last one failed.
    pub last_error: Option<String>,
    /// By its word, over a connection with its pinned key, this host takes no part in the mesh; and why.
    pub refuses: Option<String>,
    /// How far it has this host's own records, by its word; none before it said anything.
    pub acknowledged: Option<Position>,
    /// By its word it has all that we have.
    pub in_sync: bool,
    /// By its word it has something that we lack.
    pub is_ahead: bool,
    /// Our epoch in which its digest was found equal to ours last.
    pub agreed_in: Option<u64>,
}

impl PeerState {
    /// Of a peer that nothing is known of.
    pub const fn new(node: NodeId) -> Self {
        Self {
            node,
            state: Liveness::Unknown,
            address: None,
            last_sync: None,
            last_inbound: None,
            offset_ms: None,
            round_trip_ms: None,
            failures: 0,
            last_error: None,
            refuses: None,
            acknowledged: None,
            in_sync: false,
            is_ahead: false,
            agreed_in: None,
        }
    }

    /// Compares what it has, by its word, with what we have.
    pub fn compare(&mut self, theirs: &VersionVector, us: &NodeId, ours: &VersionVector) {
        self.acknowledged = Some(theirs.get(us));
        (self.in_sync, self.is_ahead) = (theirs.covers(ours), !ours.covers(theirs));
    }
}

/// What net counts since its start; and how many there are of something now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    /// Requests answered.
    pub requests: Vec<RequestCount>,
    /// Open connections from others, now.
    pub connections: u32,
    /// Kept connections to peers, now.
    pub peer_connections: u32,
    /// Callers that wait for a client, now.
    pub waiters: u32,
    /// Connections closed at once, since there were too many.
    pub shed: u64,
    /// Handshakes that failed or took too long.
    pub handshakes_failed: u64,
    /// Exchanges of records that we began and that went well.
    pub exchanges: u64,
    /// Those that did not.
    pub exchanges_failed: u64,
    /// Comparisons of digests that we began and that went well.
    pub probes: u64,
    /// Datagrams of the membership protocol, sent.
    pub datagrams: u64,
    /// Records sent, in requests and answers.
    pub records_sent: u64,
    /// Records taken that were new.
    pub records_taken: u64,
    /// Bytes of envelopes sent.
    pub bytes_sent: u64,
    /// Bytes of envelopes received.
    pub bytes_received: u64,
}

/// How often an endpoint answered with a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCount {
    /// The endpoint, as in the last part of its path.
    pub endpoint: String,
    /// HTTP status.
    pub status: u16,
    /// How often.
    pub count: u64,
}

/// For `stats`, as the seed names the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Changes merged by this host.
    pub crdt_generation: u64,
    /// Live entries for each collection.
    pub counts: BTreeMap<String, u64>,
    /// This host's token-signing key.
    pub active_signing_kid: Option<String>,
    /// This host has a KEM key in the view.
    pub kem_enrolled: bool,
    /// This host has a signing key in the view.
    pub gossip_signing_enrolled: bool,
    /// Failures to make a merge durable.
    pub persist_errors: u64,
    /// Failures to pull the wrapping key.
    pub wrapping_key_pull_errors: u64,
}
