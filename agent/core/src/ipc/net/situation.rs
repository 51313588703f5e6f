//! What net works from: who we are, whom we may speak with, what is to be done.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{Digest, Task};
use crate::id::NodeId;
use crate::mesh::crypto::{KemPublicKey, Kid, SigningPublicKey};
use crate::mesh::round::RoundSettings;
use crate::mesh::vector::{Position, VersionVector};

/// Everything net works from. Numbered; a new number for every change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Situation {
    /// Its number.
    pub number: u64,
    /// The mesh, once there is one.
    pub mesh: Option<MeshIdentity>,
    /// The configuration of `[gossip]` that net needs.
    pub settings: NetSettings,
    /// Those whom we may speak with: in the view, not evicted, and on the allowlist.
    pub peers: Vec<Peer>,
    /// Hosts that are refused though their keys are known.
    pub refused: Vec<RefusedHost>,
    /// Digest of our set.
    pub digest: Digest,
    /// What we have.
    pub vector: VersionVector,
    /// Our own newest position: a local change raises it.
    pub own: Position,
    /// Things to do, each once; reported by number.
    pub tasks: Vec<Task>,
}

/// A host that we do not speak with, so that a refusal can say why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedHost {
    /// Its keys.
    pub kids: Vec<Kid>,
    /// Why.
    pub why: String,
}

/// Who we are in the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshIdentity {
    /// Names the mesh: inside every envelope.
    pub mesh: [u8; 16],
    /// This host.
    pub node: NodeId,
    /// Its signing key: in TLS, CMS and records.
    pub signing_key: SigningPublicKey,
    /// Its KEM key.
    pub kem_key: KemPublicKey,
    /// The certificate over the signing key, then its issuers, DER; for those who know a root and not the key.
    pub certificate_chain: Vec<Vec<u8>>,
    /// Whether our own `nodes` record exists.
    pub registered: bool,
    /// Our epoch.
    pub epoch: u64,
}

/// A peer we may speak with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Who.
    pub node: NodeId,
    /// `host:port`s.
    pub addresses: Vec<String>,
    /// The keys it may sign with: the current one first.
    pub signing_keys: Vec<SigningPublicKey>,
    /// The key to encrypt to; none before it has registered one.
    pub kem_key: Option<KemPublicKey>,
    /// The wire version to use with it.
    pub wire: u16,
}

/// What net needs of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetSettings {
    /// Where to listen; none: only outgoing.
    pub listen: Vec<SocketAddr>,
    /// Largest body of `sync`, bytes.
    pub max_message: u32,
    /// Newest wire version to speak.
    pub newest_wire: u16,
    /// `stats` for everyone.
    pub public_stats: bool,
    /// Connections kept to peers.
    pub max_connections: u32,
    /// Waiters of `await-client`.
    pub max_waiters: Waiters,
    /// Longest `timeout_ms`.
    pub max_wait_ms: u32,
    /// Unauthenticated requests a second for one address.
    pub rate_per_second: u32,
    /// The static list, `None` if none is configured, for `stats`.
    pub allowed: Option<Vec<NodeId>>,
    /// Where the directory is, if the topology is to be asked for.
    pub topology: Option<TopologySettings>,
    /// `[log] level`.
    pub log_level: String,
    /// Times of the round.
    pub round: RoundSettings,
}

/// How many callers may wait for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiters {
    /// In all.
    pub total: u32,
    /// From one address.
    pub per_address: u32,
}

/// Where the topology comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologySettings {
    /// `ldap://` (then StartTLS), `ldaps://` or `ldapi://`.
    pub uris: Vec<String>,
    /// The suffix, e.g. `dc=example,dc=org`.
    pub suffix: String,
    /// Certificates that the server's must chain to, PEM; none: the system's.
    pub ca_pem: Option<String>,
    /// Bind name and password; none: anonymous.
    pub bind: Option<(String, String)>,
    /// Seconds between two looks.
    pub interval_s: u32,
}
